"""Base classes of Gymnasium's control tasks: the environment's floats in, an action for several steps out.

A level says everything that tells one environment from another; each session has an environment of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import Env

from space.records import Sense, Split, SuiteRecord
from trainers.tasks.control import Box, Choices, ControlSession
from trainers.tasks.parts.observed import floats
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence, values
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary

NO_SLIPS = Noise()


@dataclass(frozen=True)
class ControlLevel:
    """An environment as a task.

    Attributes:
        name: the task's.
        family: the task's.
        make: opens the environment.
        scale: limits of what is seen, a field each.
        fields: places of the fields that are seen among the environment's; None for all.
        choices: number of discrete actions; None where actions are floats.
        limit: timesteps of an episode.
        repeat: environment steps that an action lasts.
        expert: what is seen -> action, a choice or floats in the environment's units.
        gain: environment, whether it has ended -> what an environment step adds to the value.
        expert_name: the expert's.
        metric: what the value is.
        unit: the value's.
        episodes: demonstrations.
        eval_episodes: held-out episodes that score a trial.
        noise: the expert's slips in demonstrations.
        train_limit: timesteps of a demonstration; None for `limit`.
        disturb: moves the environment away from its usual start, for three of four demonstrations.
        packages: distributions whose versions matter.
        words: the instruction, where what is seen does not say which task it is.
        variant: differs from another task only by its physics.
    """

    name: str
    family: str
    make: Callable[[], Env]
    scale: values.Linear
    choices: int | None
    limit: int
    repeat: int
    expert: Callable[[np.ndarray], Any]
    gain: Callable[[Any, bool], float]
    expert_name: str
    metric: str = "success"
    unit: str = "rate"
    episodes: int = 300
    eval_episodes: int = 32
    noise: Noise = NO_SLIPS
    fields: tuple[int, ...] | None = None
    train_limit: int | None = None
    disturb: Callable[[Any, np.random.Generator], np.ndarray] | None = None
    packages: tuple[str, ...] = ("gymnasium", "numpy")
    words: str = ""
    variant: bool = False


class GymnasiumSession(ControlSession):
    """One episode; its value is the sum of what its steps add."""

    def __init__(
        self, vocabulary: Vocabulary, level: ControlLevel, seed: int, instruction: np.ndarray
    ) -> None:
        self.level = level
        self.env: Any = level.make()
        self.actions = actions_of(vocabulary, level, self.env)
        super().__init__(vocabulary, self.actions.spec, level.limit, instruction)
        self.state: np.ndarray = self.env.reset(seed=seed)[0]

    def look(self) -> Chunk:
        """The environment's observation."""
        seen = self.state if self.level.fields is None else self.state[list(self.level.fields)]
        bins = values.encode(seen, self.vocabulary.bins, self.level.scale)
        return sequence.observation(self.vocabulary, ids=self.vocabulary.continuous_ids(bins))

    def expert(self) -> np.ndarray:
        """The action of the level's expert."""
        return self.actions.encode(self.level.expert(self.state))

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Any action."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Act for some steps; return True when the environment has ended."""
        action = self.actions.decode(tokens)
        if self.level.choices is None:
            action = np.asarray(action, dtype=np.float32)
        for _ in range(self.level.repeat):
            self.state, _, over, _, _ = self.env.step(action)
            self.value += self.level.gain(self.env, over)
            if over:
                return True
        return False


class GymnasiumTask(SessionTask):
    """An environment of Gymnasium, for a limited time."""

    domain = "continuous"
    modality: Sense = "continuous"
    reference_episodes = 200

    def __init__(
        self, level: ControlLevel, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.level = level
        self.name, self.family, self.variant = level.name, level.family, level.variant
        self.metric, self.unit, self.expert_name = level.metric, level.unit, level.expert_name
        self.num_train_episodes, self.eval_episodes = level.episodes, level.eval_episodes
        self.noise, self.packages = level.noise, level.packages
        super().__init__(suite, tokenizer, train_episodes)
        self.instruction = tokenizer.encode(level.words) if level.words else np.empty(0, dtype=np.int32)

    def session(self, split: Split, index: int) -> GymnasiumSession:
        """Start as the environment does."""
        return GymnasiumSession(self.vocabulary, self.level, self.seed(split, index), self.instruction)

    def training_session(self, index: int) -> GymnasiumSession:
        """Start in the level's spread of states; a quarter starts as evaluation does."""
        session = self.session("train", index)
        session.limit = self.level.train_limit or self.level.limit
        if self.level.disturb is not None and index % 4:
            session.state = self.level.disturb(session.env, self.rng("disturb", index))
        return session

    def identity(self, split: Split, index: int) -> bytes:
        """The first state before binning."""
        return self.session(split, index).state.tobytes()

    @cached_property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of the environment's observation."""
        return self.session("train", 0).state.shape

    def tokens_of(self, observation: Any) -> Chunk:
        """The environment's observation, (floats,)."""
        seen = floats(self.name, observation, self.state_shape)
        seen = seen if self.level.fields is None else seen[list(self.level.fields)]
        bins = values.encode(seen, self.vocabulary.bins, self.level.scale)
        return sequence.observation(self.vocabulary, ids=self.vocabulary.continuous_ids(bins))

    def constants(self) -> list[np.ndarray]:
        """Each choice; or zeros and either end of each axis."""
        return actions_of(self.vocabulary, self.level, self.level.make()).constants()


def actions_of(vocabulary: Vocabulary, level: ControlLevel, env: Any) -> Choices | Box:
    """A level's actions; floats are symmetric about zero."""
    if level.choices is not None:
        return Choices(vocabulary, level.choices)
    return Box(vocabulary, np.asarray(env.action_space.high, dtype=np.float64))
