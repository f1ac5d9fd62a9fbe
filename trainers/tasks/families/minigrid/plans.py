"""Plans of the expert of MiniGrid, one for each kind of mission; recomputed at every timestep.

A plan knows what an agent has seen and what its mission says, and nothing that is hidden: an expert that knew
more would teach moves that nobody understands who sees 7x7 cells.
"""

import re
from collections.abc import Callable
from typing import Any

from trainers.tasks.families.minigrid.search import HEADINGS, Cell, Scout
from trainers.tasks.parts.grids import DONE, DROP, LEFT, PICKUP, TOGGLE

RING = ((-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0))  # around a cell, in order
Plan = Callable[[Scout], int | None]  # what to do now; None where no way is seen


def reach_corner(scout: Scout) -> int | None:
    """Go to the goal in the lower right corner."""
    return scout.stand((scout.env.width - 2, scout.env.height - 2))


def reach_far_side(scout: Scout) -> int | None:
    """Go to the goal in the upper right corner."""
    return scout.stand((scout.env.width - 2, 1))


def reach_goal(scout: Scout) -> int | None:
    """Look for the goal and go there."""
    goals = scout.find("goal")
    return scout.stand(next(iter(goals))) if goals else scout.explore()


def dodge(scout: Scout) -> int | None:
    """Go to the goal around moving obstacles; a step onto a free cell is safe, else turn."""
    step = reach_corner(scout)
    return LEFT if step is None else step


def unlock_and_reach(scout: Scout) -> int | None:
    """Find the key, find the door, open it and go to the goal."""
    if any(door.is_open for door in scout.find("door").values()):
        return reach_corner(scout)
    wanted, action = ("door", TOGGLE) if scout.carried else ("key", PICKUP)
    return _approach(scout, wanted, None, action)


def unlock_room(scout: Scout) -> int | None:
    """Get the key from the mission's room, open the locked room and go to the goal in it."""
    words = re.fullmatch(r"get the (\w+) key from the (\w+) room, .*", scout.env.mission)
    assert words is not None, f"a mission of LockedRoom, got {scout.env.mission!r}"
    key, room = words.groups()
    unlocked = any(not door.is_locked for door in scout.find("door", key).values())
    scout.restrict(may_open=lambda door: door.color == (key if unlocked else room))
    if unlocked:
        return reach_goal(scout)
    if scout.carried:
        return _approach(scout, "door", key, TOGGLE)
    return _approach(scout, "key", key, PICKUP)


def go_to_door(scout: Scout) -> int | None:
    """Go next to the door of the colour, then do `done`."""
    scout.restrict(may_open=lambda door: False)
    return _beside(scout, scout.find("door", scout.env.target_color))


def go_to_object(scout: Scout) -> int | None:
    """Go next to the object, then do `done`."""
    return _beside(scout, scout.find(scout.env.targetType, scout.env.target_color))


def fetch(scout: Scout) -> int | None:
    """Pick up the object."""
    return _approach(scout, scout.env.targetType, scout.env.targetColor, PICKUP)


def put_near(scout: Scout) -> int | None:
    """Pick up one object and drop it near the other."""
    env = scout.env
    if not scout.carried:
        return _approach(scout, env.move_type, env.moveColor, PICKUP)
    targets = scout.find(env.target_type, env.target_color)
    if not targets:
        return scout.explore()
    column, row = next(iter(targets))
    near = {(column + i, row + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    return scout.face(near & scout.empty(), DROP)


def open_in_order(scout: Scout) -> int | None:
    """Open the red door, then the blue one."""
    scout.restrict(may_open=lambda door: False)
    colour = "blue" if any(door.is_open for door in scout.find("door", "red").values()) else "red"
    return _approach(scout, "door", colour, TOGGLE)


def remember(scout: Scout) -> int | None:
    """Look at the object in the room, walk along the hallway, turn to the same object."""
    env = scout.env
    model = (1, env.height // 2 - 1)
    if not scout.seen[model]:
        return scout.face([model], DONE)
    ends = [tuple(env.success_pos), tuple(env.failure_pos)]
    lies = {end: (end[0], end[1] + (1 if end[1] > env.height // 2 else -1)) for end in ends}
    if any(scout.seen[cell] for cell in lies.values()):
        scout.restrict(avoid=ends[1:])
        return scout.stand(ends[0])
    scout.restrict(avoid=ends)
    return scout.stand((ends[0][0], env.height // 2))


def fetch_behind_doors(scout: Scout) -> int | None:
    """Pick up what the level hides behind locked doors, with the keys for them wherever they are.

    Hands are free when a way is cleared or the object is picked up, so what lies before a locked door is
    moved before its key is taken.
    """
    target = getattr(scout.env, "obj", None)
    balls, boxes, keys = scout.find("ball"), scout.find("box"), scout.find("key")
    goals = {cell for cell, thing in (balls | boxes).items() if thing is target}
    locked = {cell: door for cell, door in scout.find("door").items() if door.is_locked}
    before = {cell for door in locked for cell in around(door)}
    if scout.carried:
        fitting = [cell for cell, door in locked.items() if door.color == scout.carried.color]
        step = scout.face(fitting, TOGGLE) if scout.carried.type == "key" else None
        return _put_away(scout, before, goals) if step is None else step
    movable, closed = (balls.keys() | keys.keys()) - goals, boxes.keys() - goals
    colours = {door.color for cell, door in locked.items() if scout.face([cell], TOGGLE) is not None}
    fitting = {cell for cell, key in keys.items() if key.color in colours}
    steps: tuple[Callable[[], int | None], ...] = (
        lambda: scout.face(goals, PICKUP),
        lambda: scout.face(closed & before, TOGGLE),
        lambda: scout.face((balls.keys() | keys.keys()) & before, PICKUP),
        lambda: scout.face(fitting, PICKUP),
        lambda: scout.face(closed, TOGGLE) if locked else None,
        scout.explore,
        lambda: scout.face(movable, PICKUP),  # it blocks the way
    )
    return next((step for step in (ask() for ask in steps) if step is not None), None)


def _put_away(scout: Scout, before: set[Cell], goals: set[Cell]) -> int | None:
    """Drop what is carried where it blocks no way.

    Args:
        scout: whose hands are full.
        before: cells next to locked doors.
        goals: where the object is, if it was seen.
    """
    empty = scout.empty()
    doors = {cell for door in scout.find("door") for cell in around(door)}
    step = scout.face({cell for cell in empty - doors if _parts_nothing(scout, cell)}, DROP)
    if step is not None:
        return step
    harmless = set()
    for cell in empty - before:
        scout.restrict(avoid=[cell])
        if (scout.face(goals, PICKUP) if goals else scout.explore()) is not None:
            harmless.add(cell)
    scout.restrict()
    return scout.face(harmless, DROP)


def _parts_nothing(scout: Scout, cell: Cell) -> bool:
    """Whether the free cells around a cell stay connected without it."""
    ring = [scout.passable((cell[0] + column, cell[1] + row)) for column, row in RING]
    return sum(free and not ring[i - 1] for i, free in enumerate(ring)) <= 1


def _approach(scout: Scout, kind: str, colour: str | None, then: int) -> int | None:
    """Look for an object, go next to it and act on it."""
    found = scout.find(kind, colour)
    return scout.face(found, then) if found else scout.explore()


def _beside(scout: Scout, found: dict[Cell, Any]) -> int | None:
    return scout.beside(next(iter(found)), DONE) if found else scout.explore()


def around(cell: Cell) -> list[Cell]:
    """The four cells next to a cell."""
    return [(cell[0] + column, cell[1] + row) for column, row in HEADINGS]
