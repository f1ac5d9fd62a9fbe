"""MiniGrid: reach, fetch, open or remember something; the expert searches the map as far as it has seen it.

Left out: Playground, which has no mission; levels built from files that minigrid does not ship (WFC); the
longest mazes (ObstructedMaze-2Q and Full); and levels that a later version fixes.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from trainers.tasks.families.minigrid.plans import (
    Plan,
    around,
    dodge,
    fetch,
    fetch_behind_doors,
    go_to_door,
    go_to_object,
    open_in_order,
    put_near,
    reach_corner,
    reach_far_side,
    reach_goal,
    remember,
    unlock_and_reach,
    unlock_room,
)
from trainers.tasks.families.minigrid.search import HEADINGS, Cell, Scout
from trainers.tasks.parts.grids import (
    DONE,
    FORWARD,
    LEFT,
    PICKUP,
    Environment,
    GridLevel,
    GridSession,
    GridTask,
)
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary


@dataclass(frozen=True)
class MiniGridLevel(GridLevel):
    """One level of MiniGrid.

    Attributes:
        plan: what the expert does.
        scattered: whether the agent starts in a random cell, for levels with few layouts.
    """

    plan: Plan = reach_corner
    scattered: bool = False


class MiniGridSession(GridSession):
    """One episode with an expert that remembers what was in sight."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        env: Environment,
        seen: dict[str, Any],
        level: MiniGridLevel,
    ) -> None:
        super().__init__(vocabulary, tokenizer, env, seen, level.limit)
        self._scout = Scout(env)
        self._plan = level.plan

    def advise(self, taken: int | None) -> int:
        """The plan's next action, after a look ahead."""
        self._scout.look()
        step = self._plan(self._scout)
        return self.give_up() if step is None else step


class MiniGridTask(GridTask):
    """A level of MiniGrid."""

    family = "minigrid"
    expert_name = "search of what was seen"
    level: MiniGridLevel

    def open(self, env: Environment, seen: dict[str, Any]) -> MiniGridSession:
        """Begin an episode; its expert sees only what the agent sees."""
        return MiniGridSession(self.vocabulary, self.tokenizer, env, seen, self.level)

    def prepare(self, env: Environment, seen: dict[str, Any]) -> dict[str, Any]:
        """Move the agent to a random reachable cell if the level is scattered."""
        if not self.level.scattered:
            return seen
        starts = _walkable(env)
        env.agent_pos = starts[int(env.np_random.integers(len(starts)))]
        env.agent_dir = int(env.np_random.integers(len(HEADINGS)))
        return env.gen_obs()


def _walkable(env: Environment) -> list[Cell]:
    """Empty cells that the agent can reach and on which no episode ends, in order."""
    ends = {tuple(getattr(env, name)) for name in ("success_pos", "failure_pos") if hasattr(env, name)}
    found = [(int(env.agent_pos[0]), int(env.agent_pos[1]))]
    for cell in found:
        found += [c for c in around(cell) if c not in found and c not in ends and env.grid.get(*c) is None]
    return sorted(found)


def _levels(
    plan: Plan, *rows: tuple[str, str, int, int], base: bool = True, **settings: Any
) -> tuple[MiniGridLevel, ...]:
    """Levels that differ only by size, map or count.

    Args:
        plan: what the expert does on them.
        rows: name, environment, timesteps at most, demonstrations.
        base: whether the first one is a base task; the others are its variants.
        settings: what else is the same for all.
    """
    return tuple(
        MiniGridLevel(
            f"minigrid-{name}",
            f"MiniGrid-{environment}",
            limit,
            train,
            variant=place > 0 or not base,
            plan=plan,
            **settings,
        )
        for place, (name, environment, limit, train) in enumerate(rows)
    )


LEVELS = (
    *_levels(
        reach_corner,
        ("empty-5x5", "Empty-5x5-v0", 20, 800),
        ("empty-6x6", "Empty-6x6-v0", 28, 800),
        ("empty-8x8", "Empty-8x8-v0", 28, 800),
        ("empty-16x16", "Empty-16x16-v0", 64, 400),
        scattered=True,
        memorisable=True,
    ),
    *_levels(
        reach_far_side,
        ("dist-shift-1", "DistShift1-v0", 36, 800),
        ("dist-shift-2", "DistShift2-v0", 36, 800),
        scattered=True,
        memorisable=True,
        treacherous=True,
    ),
    *_levels(
        reach_corner,
        ("lava-gap-s5", "LavaGapS5-v0", 28, 800),
        ("lava-gap-s6", "LavaGapS6-v0", 32, 800),
        ("lava-gap-s7", "LavaGapS7-v0", 36, 800),
        scattered=True,
        memorisable=True,
        treacherous=True,
    ),
    *_levels(
        reach_corner,
        ("simple-crossing-s9n1", "SimpleCrossingS9N1-v0", 48, 1300),
        scattered=True,
    ),
    *_levels(
        reach_corner,
        ("simple-crossing-s9n2", "SimpleCrossingS9N2-v0", 64, 1000),
        ("simple-crossing-s9n3", "SimpleCrossingS9N3-v0", 60, 1000),
        ("simple-crossing-s11n5", "SimpleCrossingS11N5-v0", 76, 700),
        base=False,
    ),
    *_levels(
        reach_corner,
        ("lava-crossing-s9n1", "LavaCrossingS9N1-v0", 52, 1300),
        scattered=True,
        treacherous=True,
    ),
    *_levels(
        reach_corner,
        ("lava-crossing-s9n2", "LavaCrossingS9N2-v0", 56, 800),
        ("lava-crossing-s9n3", "LavaCrossingS9N3-v0", 64, 900),
        ("lava-crossing-s11n5", "LavaCrossingS11N5-v0", 68, 600),
        base=False,
        treacherous=True,
    ),
    *_levels(
        reach_goal,
        ("four-rooms", "FourRooms-v0", 100, 800),
    ),
    *_levels(
        reach_goal,
        ("multi-room-n2-s4", "MultiRoom-N2-S4-v0", 32, 1900),
        ("multi-room-n4-s5", "MultiRoom-N4-S5-v1", 68, 700),
        ("multi-room-n6", "MultiRoom-N6-v0", 120, 400),
    ),
    *_levels(
        unlock_and_reach,
        ("door-key-5x5", "DoorKey-5x5-v0", 36, 2200),
        ("door-key-6x6", "DoorKey-6x6-v0", 44, 1700),
        ("door-key-8x8", "DoorKey-8x8-v0", 60, 1300),
        ("door-key-16x16", "DoorKey-16x16-v0", 136, 400),
    ),
    *_levels(
        unlock_room,
        ("locked-room", "LockedRoom-v0", 144, 500),
    ),
    *_levels(
        dodge,
        ("dynamic-obstacles-5x5", "Dynamic-Obstacles-Random-5x5-v0", 40, 2500),
        ("dynamic-obstacles-6x6", "Dynamic-Obstacles-Random-6x6-v0", 72, 1900),
        ("dynamic-obstacles-8x8", "Dynamic-Obstacles-8x8-v0", 80, 800),
        ("dynamic-obstacles-16x16", "Dynamic-Obstacles-16x16-v0", 124, 300),
        treacherous=True,
    ),
    *_levels(
        fetch,
        ("fetch-5x5-n2", "Fetch-5x5-N2-v0", 16, 3000),
        ("fetch-6x6-n2", "Fetch-6x6-N2-v0", 20, 3000),
        ("fetch-8x8-n3", "Fetch-8x8-N3-v0", 32, 3000),
        constants=(LEFT, FORWARD, PICKUP),
    ),
    *_levels(
        go_to_door,
        ("goto-door-5x5", "GoToDoor-5x5-v0", 20, 3000),
        ("goto-door-6x6", "GoToDoor-6x6-v0", 20, 3000),
        ("goto-door-8x8", "GoToDoor-8x8-v0", 28, 3000),
        constants=(LEFT, FORWARD, DONE),
    ),
    *_levels(
        go_to_object,
        ("goto-object-6x6-n2", "GoToObject-6x6-N2-v0", 20, 3000),
        ("goto-object-8x8-n2", "GoToObject-8x8-N2-v0", 24, 3000),
        constants=(LEFT, FORWARD, DONE),
    ),
    *_levels(
        put_near,
        ("put-near-6x6-n2", "PutNear-6x6-N2-v0", 28, 3000),
        ("put-near-8x8-n3", "PutNear-8x8-N3-v0", 40, 2200),
    ),
    *_levels(
        open_in_order,
        ("red-blue-doors-6x6", "RedBlueDoors-6x6-v0", 44, 1500),
        ("red-blue-doors-8x8", "RedBlueDoors-8x8-v0", 64, 700),
    ),
    *_levels(
        remember,
        ("memory-s7", "MemoryS7-v0", 28, 2000),
        ("memory-s9", "MemoryS9-v0", 32, 1600),
        ("memory-s11", "MemoryS11-v0", 36, 2000),
        ("memory-s13", "MemoryS13-v0", 40, 1600),
        ("memory-s13-random", "MemoryS13Random-v0", 36, 2200),
        ("memory-s17-random", "MemoryS17Random-v0", 44, 1800),
        scattered=True,
        treacherous=True,
    ),
    *_levels(
        fetch_behind_doors,
        ("unlock", "Unlock-v0", 36, 2000),
    ),
    *_levels(
        fetch_behind_doors,
        ("obstructed-maze-1dlh", "ObstructedMaze-1Dlh-v0", 64, 1100),
    ),
    *_levels(
        fetch_behind_doors,
        ("obstructed-maze-1dlhb", "ObstructedMaze-1Dlhb-v0", 88, 700),
    ),
    # similar ones are in BabyAI, or they are longer variants
    *_levels(
        fetch_behind_doors,
        ("unlock-pickup", "UnlockPickup-v0", 60, 1100),
        ("blocked-unlock-pickup", "BlockedUnlockPickup-v0", 88, 800),
        ("key-corridor-s3r1", "KeyCorridorS3R1-v0", 48, 1200),
        ("key-corridor-s3r2", "KeyCorridorS3R2-v0", 84, 900),
        ("key-corridor-s3r3", "KeyCorridorS3R3-v0", 108, 700),
        ("key-corridor-s4r3", "KeyCorridorS4R3-v0", 144, 500),
        ("key-corridor-s5r3", "KeyCorridorS5R3-v0", 164, 400),
        ("key-corridor-s6r3", "KeyCorridorS6R3-v0", 240, 200),
        ("obstructed-maze-1dl", "ObstructedMaze-1Dl-v0", 60, 1100),
        ("obstructed-maze-2dl", "ObstructedMaze-2Dl-v0", 96, 600),
        ("obstructed-maze-2dlh", "ObstructedMaze-2Dlh-v0", 96, 600),
        ("obstructed-maze-2dlhb", "ObstructedMaze-2Dlhb-v1", 148, 300),
        ("obstructed-maze-1q", "ObstructedMaze-1Q-v1", 176, 300),
        base=False,
    ),
)

TASKS = {level.name: partial(MiniGridTask, level) for level in LEVELS}
