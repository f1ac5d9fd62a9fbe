"""Breadth-first search for paths over the cells of a MiniGrid that an agent has seen.

Cells that were not seen are assumed free, so a plan is the shortest one that the agent's observations allow.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import count
from typing import Any

import numpy as np

from trainers.tasks.parts.grids import FORWARD, LEFT, RIGHT, TOGGLE, Environment

Cell = tuple[int, int]
State = tuple[int, int, int]  # column, row, direction
HEADINGS: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))


class Scout:
    """An agent's memory of the cells that it saw, and shortest ways over them.

    Args:
        env: where the agent is; only what it has seen is read from the grid.
    """

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.seen = np.zeros((env.width, env.height), dtype=bool)
        self._things: dict[Cell, Any] = {}
        self.restrict()

    def restrict(
        self, avoid: Collection[Cell] = (), may_open: Callable[[Any], bool] = lambda door: True
    ) -> None:
        """Set the cells that ways avoid, and the closed doors that they may pass."""
        self._avoid, self._may_open = avoid, may_open
        self._ways: list[tuple[State, int]] = []  # states in the order of their distance, with a first action
        self._known: set[State] = set()
        self._grown = 0

    @property
    def state(self) -> State:
        """Place and heading of the agent."""
        column, row = self.env.agent_pos
        return int(column), int(row), int(self.env.agent_dir)

    @property
    def carried(self) -> Any:
        """The carried object; None if there is none."""
        return self.env.carrying

    def look(self) -> None:
        """Add the cells in view to the memory."""
        _, mask = self.env.gen_obs_grid()
        column, row, direction = self.state
        (ahead_x, ahead_y), (right_x, right_y) = HEADINGS[direction], HEADINGS[(direction + 1) % 4]
        across, back = np.nonzero(mask)
        right, ahead = across - mask.shape[0] // 2, mask.shape[1] - 1 - back
        columns = column + right * right_x + ahead * ahead_x
        rows = row + right * right_y + ahead * ahead_y
        inside = (columns >= 0) & (columns < self.env.width) & (rows >= 0) & (rows < self.env.height)
        self.seen[columns[inside], rows[inside]] = True
        cells = self.env.grid.grid  # row by row
        places = np.flatnonzero(self.seen.T).tolist()
        width = self.env.width
        self._things = {(i % width, i // width): cells[i] for i in places if cells[i] is not None}
        self.restrict()

    def find(self, kind: str, colour: str | None = None) -> dict[Cell, Any]:
        """The objects seen of a kind, and of a colour if one is given: cell -> object."""
        return {
            cell: thing
            for cell, thing in self._things.items()
            if thing.type == kind and colour in (None, thing.color)
        }

    def empty(self) -> set[Cell]:
        """The cells that were seen to be empty."""
        seen = {(column, row) for column, row in np.argwhere(self.seen).tolist()}
        return seen - self._things.keys()

    def stand(self, cell: Cell) -> int | None:
        """The next action on the way onto a cell; None if there is no way or the agent is there."""
        return self._route(lambda state: state[:2] == cell)

    def face(self, cells: Collection[Cell], then: int) -> int | None:
        """The next action on the way to face one of the cells; `then` on arrival."""
        return self._reach(lambda state: ahead_of(state) in cells, then) if cells else None

    def beside(self, cell: Cell, then: int) -> int | None:
        """The next action on the way next to a cell, with any heading; `then` on arrival."""
        return self._reach(lambda state: abs(state[0] - cell[0]) + abs(state[1] - cell[1]) == 1, then)

    def explore(self) -> int | None:
        """The next action on the way to the nearest unseen cell; None if none can be reached.

        The cell straight ahead is always visible, and so are the cells left and right of it.
        """
        step = self._route(lambda state: self._unseen(ahead_of(state)))
        if step is None:
            step = self._route(lambda state: any(map(self._unseen, _beside_ahead(state))))
        return step

    def passable(self, cell: Cell) -> bool:
        """Whether the agent may walk there, as far as it knows; doors that it may open count as open."""
        if cell in self._avoid:
            return False
        thing = self._things.get(cell)
        if thing is None or thing.type in ("goal", "floor"):
            return True
        return thing.type == "door" and (thing.is_open or (not thing.is_locked and self._may_open(thing)))

    def _inside(self, cell: Cell) -> bool:
        return 0 <= cell[0] < self.env.width and 0 <= cell[1] < self.env.height

    def _unseen(self, cell: Cell) -> bool:
        return self._inside(cell) and not self.seen[cell]

    def _reach(self, accept: Callable[[State], bool], then: int) -> int | None:
        return then if accept(self.state) else self._route(accept)

    def _route(self, accept: Callable[[State], bool]) -> int | None:
        """The first action of the shortest way to an accepted state; None if there is no way."""
        for index in count():
            while index >= len(self._ways):
                if not self._grow():
                    return None
            state, first = self._ways[index]
            if accept(state):
                return self._opened_first(first)
        raise AssertionError("a grid has finitely many states")

    def _grow(self) -> bool:
        """Expand one more state; return False if none is left."""
        start = self.state
        if not self._known:
            self._known.add(start)
            fresh = [(state, action) for action, state in self._neighbours(start)]
        elif self._grown < len(self._ways):
            state, first = self._ways[self._grown]
            self._grown += 1
            fresh = [(after, first) for _, after in self._neighbours(state) if after not in self._known]
        else:
            return False
        self._ways += fresh
        self._known.update(state for state, _ in fresh)
        return True

    def _neighbours(self, state: State) -> Iterator[tuple[int, State]]:
        column, row, direction = state
        yield LEFT, (column, row, (direction - 1) % 4)
        yield RIGHT, (column, row, (direction + 1) % 4)
        ahead = ahead_of(state)
        if self._inside(ahead) and self.passable(ahead):
            yield FORWARD, (*ahead, direction)

    def _opened_first(self, action: int) -> int:
        """The action, or the one that opens a door in its way."""
        thing = self._things.get(ahead_of(self.state)) if action == FORWARD else None
        closed = thing is not None and thing.type == "door" and not thing.is_open
        return TOGGLE if closed else action


def ahead_of(state: State) -> Cell:
    """The cell in front of an agent."""
    column, row, direction = state
    return column + HEADINGS[direction][0], row + HEADINGS[direction][1]


def _beside_ahead(state: State) -> tuple[Cell, Cell]:
    """The cells to the left and right of the one in front of an agent."""
    (column, row), (across, along) = ahead_of(state), HEADINGS[(state[2] + 1) % 4]
    return (column + across, row + along), (column - across, row - along)
