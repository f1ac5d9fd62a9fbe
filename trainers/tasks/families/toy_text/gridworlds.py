"""Find a way over ice or along a cliff: row and column in, one of four directions out.

The maps are Gymnasium's own, or drawn for each episode and then visible. The expert is value iteration.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from typing import Any

import numpy as np
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from space.records import Sense, Split, SuiteRecord
from trainers.tasks.base import Session
from trainers.tasks.control import Choices
from trainers.tasks.families.toy_text.markov import MarkovSession, Outcome, World, fields_shown
from trainers.tasks.parts.observed import whole_numbers
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer

DIRECTIONS = 4
SLIPS = Noise(rate=0.1)  # where the ground is firm; elsewhere chance leads astray often enough
HELD_OUT = 1 / 4  # of the starts, for each of select and report
FALL = -100.0  # CliffWalking's reward for a fall
MAP_SIZE = 5
FROZEN_SHARE = 0.7
FROZEN, HOLE, GOAL, PLAYER = range(4)
MAP_SPLITS: tuple[Split, ...] = ("train", "train", "select", "report")


@dataclass(frozen=True)
class WorldLevel:
    """A map that never changes.

    Attributes:
        name: the task's.
        words: what the instruction says.
        world: makes it.
        limit: timesteps.
        episodes: demonstrations.
        start: the one state in which evaluation starts; None where it starts anywhere.
        variant: differs from another level only by size or by how slippery it is.
    """

    name: str
    words: str
    world: Callable[[], World]
    limit: int
    episodes: int
    start: tuple[int, int] | None = None
    variant: bool = True


class WorldTask(SessionTask):
    """Base class of tasks on grids."""

    family = "toy-text"
    domain = "discrete"
    modality: Sense = "discrete"
    metric = "success"
    unit = "rate"
    expert_name = "value iteration"
    eval_episodes = 64
    reference_episodes = 400
    packages = ("gymnasium", "numpy")

    def slip(self, session: Session, rng: np.random.Generator) -> np.ndarray:
        """A step that does not end the episode: after a fall there is nothing to learn."""
        assert isinstance(session, MarkovSession)
        safe = np.flatnonzero(~session.world.over[session.state].any(-1))
        return session.actions.encode(int(rng.choice(safe)))

    def constants(self) -> list[np.ndarray]:
        """Each direction."""
        return Choices(self.vocabulary, DIRECTIONS).constants()


class GridWorld(WorldTask):
    """A map that never changes.

    Where chance decides what a step does, evaluation starts where the environment starts and episodes differ
    by their luck; where it does not, each split has its own starts.
    """

    memorisable = True

    def __init__(
        self, level: WorldLevel, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.level = level
        self.name = level.name
        self.variant = level.variant
        self.noise = SLIPS if level.start is None else Noise()
        self.num_train_episodes = level.episodes
        super().__init__(suite, tokenizer, train_episodes)

    def session(self, split: Split, index: int) -> MarkovSession:
        """Start as the environment does, or in one of the split's cells."""
        starts = start_states(self.level)[split]
        return self._open(int(starts[index % len(starts)]), self.rng(split, index))

    def training_session(self, index: int) -> MarkovSession:
        """On ice, start anywhere; a quarter starts as evaluation does."""
        if self.level.start is None or index % 4 == 0:
            return self.session("train", index)
        rng = self.rng("train", index)
        return self._open(int(rng.choice(open_states(world_of(self.level)))), rng)

    def identity(self, split: Split, index: int) -> bytes:
        """The start, and the random numbers if there is chance."""
        session = self.session(split, index)
        luck = b"" if self.level.start is None else self.seed(split, index).to_bytes(4, "big")
        return bytes([session.state]) + luck

    def tokens_of(self, observation: Any) -> Chunk:
        """The state, or its fields."""
        return fields_shown(self, world_of(self.level).fields, observation)

    def _open(self, start: int, rng: np.random.Generator) -> MarkovSession:
        world, policy = world_of(self.level), policy_of(self.level)
        words = self.tokenizer.encode(self.level.words)
        return MarkovSession(self.vocabulary, world, policy, start, rng, self.level.limit, words)


class LakeMaps(WorldTask):
    """FrozenLake on a new map in each episode; the whole map and the player are observed."""

    name = "frozen-lake-maps"
    num_train_episodes = 3000
    noise = SLIPS
    limit = 25

    def session(self, split: Split, index: int) -> MarkovSession:
        """Draw a map and a start until they belong to the split."""
        rng = self.rng(split, index)
        while True:
            lake = rng.choice([FROZEN, HOLE], size=MAP_SIZE**2, p=[FROZEN_SHARE, 1 - FROZEN_SHARE])
            lake[-1] = GOAL
            starts = np.flatnonzero(connected(lake.reshape(MAP_SIZE, MAP_SIZE)).ravel() & (lake == FROZEN))
            if not len(starts):
                continue
            start = int(rng.choice(starts))
            owner = MAP_SPLITS[sha256(lake.astype(np.uint8).tobytes() + bytes([start])).digest()[0] % 4]
            if owner == split:
                break
        world = lake_world(rows(lake, start), slippery=False)
        seen = np.repeat(lake[None], len(lake), axis=0)
        np.fill_diagonal(seen, PLAYER)
        world = replace(world, fields=seen)
        return MarkovSession(self.vocabulary, world, world.policy(), start, rng, self.limit)

    def tokens_of(self, observation: Any) -> Chunk:
        """The cells row by row: 0 frozen, 1 hole, 2 goal, 3 the player."""
        cells = whole_numbers(self.name, observation, (MAP_SIZE**2,), PLAYER + 1)
        return sequence.observation(self.vocabulary, ids=self.vocabulary.discrete_ids(cells))


def connected(lake: np.ndarray) -> np.ndarray:
    """Cells (size, size) from which the goal in the last corner can be reached without falling."""
    reached = lake == GOAL
    while True:
        near = np.pad(reached, 1)
        near = reached | near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:]
        near &= lake != HOLE
        if (near == reached).all():
            return reached
        reached = near


def rows(lake: np.ndarray, start: int) -> list[str]:
    """Cells (size * size,) as FrozenLake writes them."""
    letters = np.array(["F", "H", "G"])[lake]
    letters[start] = "S"
    return ["".join(row) for row in letters.reshape(MAP_SIZE, MAP_SIZE)]


def lake_world(drawn: list[str] | None, slippery: bool, size: str = "4x4") -> World:
    """FrozenLake on a given map, or on its own map of a size."""
    env = FrozenLakeEnv(desc=drawn, map_name=size, is_slippery=slippery)
    cells = np.indices((env.nrow, env.ncol)).reshape(2, -1).T
    return World.of(env.P, lambda outcome: (outcome[3], outcome[2] > 0), cells)


def cliff_world(slippery: bool) -> World:
    """CliffWalking, which here ends with a fall."""
    env = CliffWalkingEnv(is_slippery=slippery)

    def end(outcome: Outcome) -> tuple[bool, bool]:
        fallen = outcome[2] <= FALL
        return fallen or outcome[3], outcome[3] and not fallen

    return World.of(env.P, end, np.indices(env.shape).reshape(2, -1).T)


def open_states(world: World) -> np.ndarray:
    """States from which success is possible but not reached."""
    states = np.flatnonzero(world.success().max(1) > 0)
    entered = np.unique(world.after[world.well])
    return np.setdiff1d(states, entered)


@cache
def start_states(level: WorldLevel) -> dict[Split, np.ndarray]:
    """Where the episodes of each split start, in random order."""
    world = world_of(level)
    if level.start is not None:
        only = np.flatnonzero((world.fields == level.start).all(1))
        return {"train": only, "select": only, "report": only}
    states = np.random.default_rng(0).permutation(open_states(world))
    held_out = round(HELD_OUT * len(states))
    train, select, report = np.split(states, [len(states) - 2 * held_out, len(states) - held_out])
    return {"train": train, "select": select, "report": report}


@cache
def world_of(level: WorldLevel) -> World:
    """A level's world, made once."""
    return level.world()


@cache
def policy_of(level: WorldLevel) -> np.ndarray:
    """The expert's action in each state of a level, (states,)."""
    return world_of(level).policy()


LEVELS = (
    WorldLevel(
        "frozen-lake", "slippery lake", partial(lake_world, None, True), 100, 800, (0, 0), variant=False
    ),
    WorldLevel(
        "frozen-lake-8x8", "large slippery lake", partial(lake_world, None, True, "8x8"), 200, 600, (0, 0)
    ),
    WorldLevel("frozen-lake-firm", "firm lake", partial(lake_world, None, False), 20, 1500),
    WorldLevel("frozen-lake-firm-8x8", "large firm lake", partial(lake_world, None, False, "8x8"), 40, 1500),
    WorldLevel("cliff-walking", "cliff", partial(cliff_world, False), 40, 1500, variant=False),
    WorldLevel("cliff-walking-slippery", "slippery cliff", partial(cliff_world, True), 160, 800, (3, 0)),
)
TASKS = {level.name: partial(GridWorld, level) for level in LEVELS} | {"frozen-lake-maps": LakeMaps}
