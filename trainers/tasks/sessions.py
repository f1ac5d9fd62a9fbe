"""Base classes of tasks: expert episodes are cached on disk, and sessions are played side by side.

A new task of control or of answers is a `SessionTask` whose `session` opens one episode.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from inspect import signature
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from space.errors import StudyFileError
from space.records import Sense, Split, SuiteRecord
from trainers.tasks.base import Policy, Session
from trainers.tasks.cache import cache_path, cached_episodes, is_intact
from trainers.tasks.code.fingerprints import code_fingerprint, object_fingerprint
from trainers.tasks.episodes import Episodes
from trainers.tasks.policies import ConstantPolicy, ExpertPolicy, RandomPolicy
from trainers.tasks.versions import versions_of
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary

APART = frozenset(  # members that decide no episode: they use the cache, or show what others observe
    {"episodes", "is_prepared", "cache_key", "tokens_of", "mission_of", "ids_of"}
)


class BaseTask(ABC):
    """Base class of all shipped tasks: a record, a vocabulary, and episodes that are cached on disk.

    Args:
        suite: sequence settings.
        tokenizer: the suite's.
        train_episodes: how many expert episodes to make; None for the task's own number.
    """

    name: str
    family: str
    domain: str
    modality: Sense
    metric: str
    unit: str
    variant: bool = False
    memorisable: bool = False
    lower_is_better: bool = False
    eval_episodes: int = 32
    reference_episodes: int = 300
    num_train_episodes: int = 1000
    packages: tuple[str, ...] = ("numpy",)
    inapplicable: Mapping[str, str] = MappingProxyType({})
    _made_with: tuple[tuple[object, ...], dict[str, object]]

    def __new__(cls, *arguments: object, **named: object) -> Self:
        """Keep the constructor's arguments for the cache key."""
        task = super().__new__(cls)
        task._made_with = (arguments, named)
        return task

    def __init__(self, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None) -> None:
        self.suite = suite
        self.tokenizer = tokenizer
        self.vocabulary = Vocabulary.of(suite)
        self.train_episodes = train_episodes or self.num_train_episodes

    @abstractmethod
    def demonstrations(self) -> Sequence[Chunk]:
        """Make the expert episodes of the train split; the same ones each time."""

    @abstractmethod
    def score(self, policy: Policy, split: Split, count: int) -> np.ndarray:
        """Raw value of each of `count` held-out episodes, (count,)."""

    @abstractmethod
    def floor_policies(self) -> dict[str, Policy]:
        """Policies by name; the best one is the floor."""

    @abstractmethod
    def expert_policy(self) -> tuple[str, Policy]:
        """The expert's name and the expert."""

    def episodes(self) -> Episodes:
        """Expert episodes of the train split, made once and then read from the disk."""
        return cached_episodes(self.name, self.cache_key(), self.demonstrations)

    def _settings(self) -> dict[str, object]:
        """The constructor's arguments, except sequence settings and the number of episodes."""
        arguments, named = self._made_with
        bound = signature(type(self).__init__).bind(self, *arguments, **named).arguments
        given = {
            name: value if isinstance(value, tuple) else (value,) for name, value in [*bound.items()][1:]
        }
        given.pop("train_episodes", None)
        return {
            name: [value for value in values if not isinstance(value, SuiteRecord | Tokenizer)]
            for name, values in given.items()
        }

    def is_prepared(self) -> bool:
        """Whether the expert episodes are on the disk, undamaged."""
        return is_intact(cache_path(self.name, self.cache_key()))

    def cache_key(self) -> dict[str, object]:
        """Everything that the expert episodes depend on; it can be written as JSON."""
        return {
            "task": self.name,
            "episodes": self.train_episodes,
            "vocabulary": repr(self.vocabulary),
            "patches": self.suite.encoders,
            "tokenizer": sha256(self.tokenizer.model).hexdigest(),
            "code": code_fingerprint(type(self), "demonstrations", self._settings(), APART),
            "format": [object_fingerprint(kind) for kind in (Episodes, type(self.tokenizer))],
            "versions": versions_of(self.packages),
        }


@dataclass(frozen=True)
class Noise:
    """Slips of a demonstrating expert: random actions that are in the tokens but are not targets.

    A student that has seen slips learns to recover from its own errors.

    Attributes:
        rate: probability that a slip begins at a timestep.
        longest: timesteps that one random action may last.
    """

    rate: float = 0.0
    longest: int = 1


class SessionTask(BaseTask):
    """A task whose episodes are sessions; subclasses say how one is opened."""

    expert_name: str = "expert"
    noise: Noise = Noise()
    lanes: int = 64

    @abstractmethod
    def session(self, split: Split, index: int) -> Session:
        """Open an episode; deterministic in its arguments. Splits share no episode."""

    def tokens_of(self, observation: Any) -> Chunk:
        """What an environment elsewhere observes, as `session` shows it after the instruction.

        Raises:
            StudyFileError: the observation does not fit, or the task knows none but its sessions'.
        """
        raise StudyFileError(
            f"task '{self.name}' takes sessions of its own, got {type(observation).__name__}"
        )

    def mission_of(self, observation: Any) -> np.ndarray | None:
        """The instruction in an observation, ids; None if all episodes have the same one."""
        return None

    @abstractmethod
    def constants(self) -> list[np.ndarray]:
        """Actions of which the best constant policy is one, ids (length,) each."""

    def training_session(self, index: int) -> Session:
        """Open an episode for a demonstration; it may start in states in which no evaluation starts."""
        return self.session("train", index)

    def identity(self, split: Split, index: int) -> bytes:
        """What distinguishes an episode from all others; by default, its first observation."""
        seen = self.session(split, index).observe()
        return seen.tokens.tobytes() + b"".join(seen.patches[name].tobytes() for name in sorted(seen.patches))

    def slip(self, session: Session, rng: np.random.Generator) -> np.ndarray:
        """A wrong action for a demonstration, ids (length,): one that a student might take."""
        return session.random(rng)

    def demonstrations(self) -> Sequence[Chunk]:
        """Expert episodes of the train split, with slips."""
        return [self._demonstrate(index) for index in range(self.train_episodes)]

    def score(self, policy: Policy, split: Split, count: int) -> np.ndarray:
        """Play `count` held-out episodes, `lanes` side by side; their raw values, (count,)."""
        return play(policy, [partial(self.session, split, index) for index in range(count)], self.lanes)

    def floor_policies(self) -> dict[str, Policy]:
        """Random play, and the best constant action, chosen on train episodes."""
        constants = [ConstantPolicy(ids) for ids in self.constants()]
        best = max(constants, key=lambda policy: self.score(policy, "train", self.eval_episodes).mean())
        return {"random": RandomPolicy(0), "best constant": best}

    def expert_policy(self) -> tuple[str, Policy]:
        """The session's own expert."""
        return self.expert_name, ExpertPolicy()

    def _demonstrate(self, index: int) -> Chunk:
        """A training session with slips; without slips if they ended it before anything could be learnt."""
        shown = self._show(index, self.noise.rate)
        return shown if shown.scored.any() else self._show(index, 0.0)

    def _show(self, index: int, rate: float) -> Chunk:
        """Record the expert in a training session, slips included."""
        session, rng = self.training_session(index), self.rng("slips", index)
        stop = [] if session.spec.stop is None else [session.spec.stop]
        parts: list[Chunk] = []
        over, slips, wrong = False, 0, np.empty(0)
        while not over:
            parts.append(session.observe())
            if not slips and rng.random() < rate:
                slips = int(rng.integers(1, self.noise.longest + 1))
                wrong = self.slip(session, rng)
            right = session.expert()  # asked even if its action is not taken: some experts keep state
            taken = wrong if slips else right
            written = np.concatenate([taken, stop])
            parts.append(sequence.action(written, session.action_local(), scored=not slips))
            slips = max(0, slips - 1)
            over = session.act(taken)
        return Chunk.concat(parts)

    def seed(self, split: str, index: int) -> int:
        """A 31-bit seed for an episode."""
        digest = sha256(f"{self.name}/{split}/{index}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1

    def rng(self, split: str, index: int) -> np.random.Generator:
        """Random numbers for an episode."""
        return np.random.default_rng(self.seed(split, index))


def play(
    policy: Policy,
    openers: Sequence[Callable[[], Session]],
    lanes: int,
    between: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Play sessions side by side; when one ends, the next one begins.

    Args:
        policy: plays them all.
        openers: each opens a session.
        lanes: sessions at once.
        between: called before each timestep; what it raises ends the play.

    Returns:
        The sessions' values, (sessions,).
    """
    policy.begin(len(openers))
    values = np.zeros(len(openers))
    live: dict[int, Session] = {}
    opened = 0
    while live or opened < len(openers):
        between()
        while len(live) < lanes and opened < len(openers):
            live[opened] = openers[opened]()
            opened += 1
        numbers, sessions = list(live), list(live.values())
        actions = policy.act(numbers, [session.observe() for session in sessions], sessions)
        for number, session, ids in zip(numbers, sessions, actions, strict=True):
            if session.act(ids):
                values[number] = session.value
                del live[number]
    return values
