"""Tasks of DeepMind's control suite (Tassa 2018, https://arxiv.org/abs/1801.00690): floats in, forces out.

One simulator of each task serves a whole process: a session keeps its state as numbers, and borrows the
simulator for an action. Nothing is drawn. An episode is shorter than the suite's 1,000 steps, and its value
is the mean of the rewards at the ends of its actions, at most 1.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no stubs)

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from importlib import import_module
from types import ModuleType
from typing import Any

import mujoco
import numpy as np

from space.records import Sense, Split, SuiteRecord
from trainers.tasks.base import Session
from trainers.tasks.control import Box, ControlSession
from trainers.tasks.families.dm_control import experts as dm_experts
from trainers.tasks.parts.observed import floats
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence, values
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary

SLIPS = Noise(rate=0.05, longest=2)
RENDERER = "MUJOCO_GL"
STATE = mujoco.mjtState.mjSTATE_INTEGRATION

Situation = tuple[np.ndarray, np.ndarray]
"""A simulator's state, and the places of its geoms: a target is one that an episode moves."""


@dataclass(frozen=True)
class SuiteLevel:
    """A task of the suite.

    Attributes:
        domain: the suite's.
        task: the suite's.
        words: the instruction, where another task looks the same.
        scale: limits of what is seen, a field each.
        limit: timesteps.
        repeat: control steps that an action lasts.
        expert: makes, from the stage and `repeat`, what maps what is seen to an action in [-1, 1].
        expert_name: the expert's.
        episodes: demonstrations.
        noise: the expert's slips in demonstrations.
        nudge: standard deviation of a slip about the expert's action; None for slips to any action.
        spread: of places and speeds at the start of three of four demonstrations; None for the suite's own.
        variant: differs from another task of the domain only by a size.
    """

    domain: str
    task: str
    words: str
    scale: values.Linear
    limit: int
    repeat: int
    expert: Callable[["Stage", int], Callable[[np.ndarray], np.ndarray]]
    expert_name: str
    episodes: int
    noise: Noise = SLIPS
    nudge: float | None = None
    spread: tuple[float, ...] = ()
    variant: bool = False

    @property
    def name(self) -> str:
        """The task's name."""
        return f"dm-{self.domain}-{self.task}".replace("_", "-")


class Stage:
    """A simulator of one task of the suite; it steps as the suite's `Environment.step` does."""

    def __init__(self, domain: str, task: str) -> None:
        self.env: Any = _suite().load(domain, task, task_kwargs={"random": 0})
        self.physics: Any = self.env.physics
        self.num_controls: int = self.physics.model.nu
        self._substeps = round(self.env.control_timestep() / self.physics.timestep())

    def begin(self, seed: int) -> Situation:
        """Start an episode as the suite does."""
        self.env.task.random.seed(seed)
        self.env.reset()
        return self.save()

    def put(self, state: np.ndarray) -> Situation:
        """Start an episode in given places and speeds, (n,)."""
        with self.physics.reset_context():
            self.physics.set_state(state)
        return self.save()

    def look(self, situation: Situation) -> np.ndarray:
        """The suite's observation, (fields,), in the order of names."""
        self.load(situation)
        return sequence.flatten(self.env.task.get_observation(self.physics))

    def move(self, situation: Situation, action: np.ndarray, repeat: int) -> tuple[Situation, float]:
        """Apply an action for some steps: the state, and the reward of the last step."""
        self.load(situation)
        self.env.task.before_step(action, self.physics)
        self.physics.step(self._substeps * repeat)
        return self.save(), float(self.env.task.get_reward(self.physics))

    def dynamics(self, repeat: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Places and speeds (n,), an action -> places and speeds when the action has lasted for its steps."""

        def step(state: np.ndarray, action: np.ndarray) -> np.ndarray:
            self.move(self.put(state), action, repeat)
            return self.physics.get_state().copy()

        return step

    def save(self) -> Situation:
        """The state of the simulator as numbers."""
        model, data = self.physics.model.ptr, self.physics.data.ptr
        state = np.empty(mujoco.mj_stateSize(model, STATE))
        mujoco.mj_getState(model, data, state, STATE)
        return state, np.array(model.geom_pos)

    def load(self, situation: Situation) -> None:
        """Restore a state of the simulator."""
        model, data = self.physics.model.ptr, self.physics.data.ptr
        state, places = situation
        model.geom_pos[:] = places
        mujoco.mj_setState(model, data, state, STATE)
        mujoco.mj_forward(model, data)


class SuiteSession(ControlSession):
    """One episode; its value is the mean reward."""

    def __init__(self, vocabulary: Vocabulary, level: SuiteLevel, seed: int, instruction: np.ndarray) -> None:
        self.level = level
        self.stage = stage_of(level)
        self.actions = Box(vocabulary, np.ones(self.stage.num_controls))
        super().__init__(vocabulary, self.actions.spec, level.limit, instruction)
        self.start(self.stage.begin(seed))

    def start(self, situation: Situation) -> None:
        """Begin in a state."""
        self._situation = situation
        self.state = self.stage.look(situation)

    def look(self) -> Chunk:
        """The suite's observation."""
        bins = values.encode(self.state, self.vocabulary.bins, self.level.scale)
        return sequence.observation(self.vocabulary, ids=self.vocabulary.continuous_ids(bins))

    def expert(self) -> np.ndarray:
        """The action of the level's expert."""
        return self.actions.encode(expert_of(self.level)(self.state))

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Any forces."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Act for some steps; an episode ends by its limit only."""
        action = self.actions.decode(tokens)
        self._situation, reward = self.stage.move(self._situation, action, self.level.repeat)
        self.state = self.stage.look(self._situation)
        self.value += reward / self.level.limit
        return False


class SuiteTask(SessionTask):
    """A task of the control suite, for a limited time."""

    family = "dm-control"
    domain = "continuous"
    modality: Sense = "continuous"
    metric = "return"
    unit = "mean reward"
    reference_episodes = 200
    packages = ("dm_control", "mujoco", "numpy", "scipy")

    def __init__(
        self, level: SuiteLevel, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.level = level
        self.name, self.variant, self.expert_name = level.name, level.variant, level.expert_name
        self.num_train_episodes, self.noise = level.episodes, level.noise
        super().__init__(suite, tokenizer, train_episodes)

    def session(self, split: Split, index: int) -> SuiteSession:
        """Start as the suite does."""
        words = self.tokenizer.encode(self.level.words)
        return SuiteSession(self.vocabulary, self.level, self.seed(split, index), words)

    def training_session(self, index: int) -> SuiteSession:
        """Start in the level's spread of states; a quarter starts as evaluation does."""
        session = self.session("train", index)
        if self.level.spread and index % 4:
            spread = np.array(self.level.spread)
            session.start(session.stage.put(self.rng("spread", index).uniform(-spread, spread)))
        return session

    def slip(self, session: Session, rng: np.random.Generator) -> np.ndarray:
        """Any action, or one near the expert's if others are not recoverable."""
        assert isinstance(session, SuiteSession)
        if self.level.nudge is None:
            return session.random(rng)
        meant = session.actions.decode(session.expert())
        return session.actions.encode(rng.normal(meant, self.level.nudge))

    def identity(self, split: Split, index: int) -> bytes:
        """The first observation before binning."""
        return self.session(split, index).state.tobytes()

    @cached_property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of the suite's observation, flattened."""
        return self.session("train", 0).state.shape

    def tokens_of(self, observation: Any) -> Chunk:
        """The suite's observation, a mapping of arrays or (floats,) in the order of names."""
        flat = sequence.flatten(observation) if isinstance(observation, Mapping) else observation
        bins = values.encode(
            floats(self.name, flat, self.state_shape), self.vocabulary.bins, self.level.scale
        )
        return sequence.observation(self.vocabulary, ids=self.vocabulary.continuous_ids(bins))

    def constants(self) -> list[np.ndarray]:
        """No force, and the greatest along each axis."""
        return Box(self.vocabulary, np.ones(stage_of(self.level).num_controls)).constants()


@cache
def _suite() -> ModuleType:
    """The control suite without its renderers, which warn on import if there is no display."""
    kept = os.environ.get(RENDERER)
    os.environ[RENDERER] = "disable"
    try:
        return import_module("dm_control.suite")
    finally:
        if kept is None:
            del os.environ[RENDERER]
        else:
            os.environ[RENDERER] = kept


@cache
def _stage(domain: str, task: str) -> Stage:
    return Stage(domain, task)


def stage_of(level: SuiteLevel) -> Stage:
    """The simulator of a level, made once."""
    return _stage(level.domain, level.task)


@cache
def expert_of(level: SuiteLevel) -> Callable[[np.ndarray], np.ndarray]:
    """The expert of a level, made once."""
    return level.expert(stage_of(level), level.repeat)


REACHER = SuiteLevel(
    domain="reacher",
    task="easy",
    words="reach near",
    scale=values.Linear((-6, -3, -0.35, -0.35, -6, -6), (6, 3, 0.35, 0.35, 6, 6)),
    limit=50,
    repeat=4,
    expert=dm_experts.reach,
    expert_name="damped inverse kinematics",
    episodes=1000,
    noise=Noise(rate=0.5),
    nudge=0.4,
)
LEVELS = (
    SuiteLevel(
        domain="cartpole",
        task="balance_sparse",
        words="balance the pole",
        scale=values.Linear((-1, 0.9, -0.4, -1.5, -2.5), (1, 1, 0.4, 1.5, 2.5)),
        limit=60,
        repeat=10,
        expert=dm_experts.balance,
        expert_name="LQR",
        episodes=800,
        noise=Noise(rate=0.5),
        nudge=0.4,
        spread=(0.6, 0.2, 0.6, 0.8),
    ),
    SuiteLevel(
        domain="cartpole",
        task="swingup",
        words="swing the pole up",
        scale=values.Linear((-2, -1, -1, -6, -12), (2, 1, 1, 6, 12)),
        limit=100,
        repeat=5,
        expert=dm_experts.swing_cart,
        expert_name="energy and LQR",
        episodes=600,
        noise=Noise(rate=0.5),
        nudge=0.4,
        spread=(0.8, 1.0, 0.8, 2.0),
    ),
    SuiteLevel(
        domain="pendulum",
        task="swingup",
        words="swing up",
        scale=values.Linear((-1, -1, -9), (1, 1, 9)),
        limit=100,
        repeat=5,
        expert=dm_experts.swing_pendulum,
        expert_name="energy and LQR",
        episodes=1000,
        noise=Noise(rate=0.5),
        nudge=0.4,
        spread=(1.0, 2.5),
    ),
    SuiteLevel(
        domain="point_mass",
        task="easy",
        words="",
        scale=values.Linear((-0.3, -0.3, -0.3, -0.3), (0.3, 0.3, 0.3, 0.3)),
        limit=50,
        repeat=8,
        expert=dm_experts.centre,
        expert_name="LQR",
        episodes=600,
        noise=Noise(rate=0.5),
        nudge=0.4,
    ),
    REACHER,
    replace(REACHER, task="hard", words="reach", variant=True),
)
TASKS = {level.name: partial(SuiteTask, level) for level in LEVELS}
