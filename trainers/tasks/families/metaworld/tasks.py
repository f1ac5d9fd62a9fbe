"""Meta-World: fifty tasks of a robot arm at a table; a few floats in, four floats out.

The experts are Meta-World's scripted policies (Yu 2019, https://arxiv.org/abs/1910.10897). They see all that
the environment observes; a policy sees the floats that they read. What each task shows and how long it lasts
is in `levels.py`; the simulated arm is in `sawyer.py`.
"""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from space.records import Sense, Split, SuiteRecord
from trainers.tasks.base import Session
from trainers.tasks.control import Box, ControlSession
from trainers.tasks.families.metaworld.levels import LEVELS, ArmLevel
from trainers.tasks.families.metaworld.sawyer import sawyer, scripted_policy
from trainers.tasks.parts.observed import floats
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence, values
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary

NUM_CONTROLS = 4  # where the hand goes, and the fingers
NUM_OBSERVED = 39
REST = (0, 0, 0, 0)
PUSHES = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, -1, 0))
"""Right, forward, down: a hand that always goes one way solves some episodes of closing and pressing."""


class ArmSession(ControlSession):
    """One episode; its value is 1 once the environment says that the task is solved, and then it ends.

    Attributes:
        drawn: what is random about the episode, the places that the environment drew.
    """

    def __init__(
        self,
        level: ArmLevel,
        vocabulary: Vocabulary,
        rng: np.random.Generator,
        instruction: Sequence[int] | np.ndarray = (),
    ) -> None:
        self.actions = Box(vocabulary, np.ones(NUM_CONTROLS))
        super().__init__(vocabulary, self.actions.spec, level.limit, instruction)
        self.level = level
        self._episode = sawyer(level.name).begin(rng, level.aside)
        self.drawn = self._episode.drawn

    @property
    def sight(self) -> np.ndarray:
        """The environment's whole observation, (39,), in metres, which the expert uses."""
        return self._episode.sight

    def look(self) -> Chunk:
        """The floats that the level shows."""
        shown = self.sight[list(self.level.columns)]
        bins = values.encode(shown, self.vocabulary.bins, self.level.scale)
        return sequence.observation(self.vocabulary, ids=self.vocabulary.continuous_ids(bins))

    def expert(self) -> np.ndarray:
        """The scripted policy's action, damped where a held action would overshoot."""
        return self.actions.encode(self._scripted())

    def slip(self, rng: np.random.Generator) -> np.ndarray:
        """The expert's action with a disturbed move and the same grip, so that nothing is dropped."""
        action = self._scripted()
        action[:3] += self.level.slip * rng.uniform(-1, 1, 3)
        return self.actions.encode(np.clip(action, -1, 1))

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Any move with any grip."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Hold an action; True when the task is solved."""
        action = self.actions.decode(tokens)
        solved = sawyer(self.level.name).move(self._episode, action, self.level.steps)
        self.value = float(solved)
        return solved

    def _scripted(self) -> np.ndarray:
        policy = scripted_policy(self.level.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that the environment clips, as is meant
            action = policy.get_action(self.sight.copy())  # some of them write into what they see
        return np.clip(np.asarray(action, dtype=np.float64) * self.level.gains, -1, 1)


class MetaWorld(SessionTask):
    """A task of Meta-World with a visible goal; each episode has its own places of objects."""

    family = "metaworld"
    domain = "continuous"
    modality: Sense = "continuous"
    metric = "success"
    unit = "rate"
    eval_episodes = 32
    reference_episodes = 50
    num_train_episodes = 400
    packages = ("metaworld", "mujoco", "numpy")

    def __init__(
        self, level: ArmLevel, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.name = f"metaworld-{level.name}"
        self.level = level
        self.expert_name = f"scripted policy of {level.name}-v3"
        self.noise = _noise(level)
        super().__init__(suite, tokenizer, train_episodes)
        self._instruction = tokenizer.encode(level.name.replace("-", " "))

    def session(self, split: Split, index: int) -> ArmSession:
        """Draw an episode's places."""
        return ArmSession(self.level, self.vocabulary, self.rng(split, index), self._instruction)

    def identity(self, split: Split, index: int) -> bytes:
        """The drawn places, which are finer than the first observation."""
        return self.session(split, index).drawn.tobytes()

    def slip(self, session: Session, rng: np.random.Generator) -> np.ndarray:
        """A disturbed move."""
        assert isinstance(session, ArmSession)
        return session.slip(rng)

    def tokens_of(self, observation: Any) -> Chunk:
        """The environment's observation, (39,)."""
        seen = floats(self.name, observation, (NUM_OBSERVED,))[list(self.level.columns)]
        bins = values.encode(seen, self.vocabulary.bins, self.level.scale)
        return sequence.observation(self.vocabulary, ids=self.vocabulary.continuous_ids(bins))

    def constants(self) -> list[np.ndarray]:
        """No motion, and the pushes that can solve some episodes."""
        box = Box(self.vocabulary, np.ones(NUM_CONTROLS))
        return [box.encode(np.array(push, dtype=float)) for push in (REST, *PUSHES)]


class Reach(MetaWorld):
    """The simplest task: its observation is unique, so it needs no instruction; any slip is recoverable."""

    eval_episodes = 48
    reference_episodes = 300
    num_train_episodes = 1600

    def __init__(
        self, level: ArmLevel, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        super().__init__(level, suite, tokenizer, train_episodes)
        self.expert_name = "SawyerReachV3Policy"
        self._instruction = []

    def slip(self, session: Session, rng: np.random.Generator) -> np.ndarray:
        """Any action."""
        return session.random(rng)

    def constants(self) -> list[np.ndarray]:
        """No motion, and either end of each axis."""
        return Box(self.vocabulary, np.ones(NUM_CONTROLS)).constants()


TASKS = {
    f"metaworld-{level.name}": partial(Reach if level.name == "reach" else MetaWorld, level)
    for level in LEVELS
}


def _noise(level: ArmLevel) -> Noise:
    """Slips last for one action in delicate tasks, where they are small."""
    return Noise(rate=0.1, longest=2 if level.slip == 1 else 1) if level.slip else Noise()
