"""Protocols: a task gives expert episodes as tokens, and scores a policy that sees tokens only.

`sessions` has the base classes of the tasks that ship. Nothing here depends on an environment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from space.records import Sense, Split
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import IdRange


@dataclass(frozen=True)
class ActionSpec:
    """The form of an action.

    Attributes:
        length: tokens at most.
        allowed: low <= id < high, one range for each position or a single one for all.
        stop: the id that ends a text answer early; None where every action has `length` tokens.
    """

    length: int
    allowed: tuple[IdRange, ...]
    stop: int | None = None

    def range_at(self, position: int) -> IdRange:
        """The ids that the token at a position may be."""
        return self.allowed[position if len(self.allowed) > 1 else 0]


class Session(Protocol):
    """One episode with a policy that sees tokens only.

    Attributes:
        spec: what each action looks like.
        value: the raw metric, once the episode is over.
    """

    spec: ActionSpec
    value: float

    def observe(self) -> Chunk:
        """Return what was added since the last action; the next token is the first of the action."""
        ...

    def act(self, tokens: np.ndarray) -> bool:
        """Take an action, ids (length,) before `stop`; return True when the episode is over."""
        ...

    def action_local(self) -> np.ndarray:
        """Local positions of the action's tokens as in training, (spec.length,) int16."""
        ...

    def expert(self) -> np.ndarray:
        """The expert's action at this moment, ids (length,) without `stop`."""
        ...

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """A uniformly random legal action, or an answer drawn from the training answers; ids (length,)."""
        ...


class Policy(Protocol):
    """Plays many sessions of one task side by side, or gives the likelihood of tokens."""

    def begin(self, count: int) -> None:
        """Reset; `count` sessions follow, some of them side by side."""
        ...

    def act(
        self, live: Sequence[int], observations: Sequence[Chunk], sessions: Sequence[Session]
    ) -> list[np.ndarray]:
        """Action ids for each of the sessions that still run.

        Args:
            live: their numbers among the `count` sessions; a session that is no longer listed has ended.
            observations: what was added to each since its last action.
            sessions: the sessions themselves, for their `spec` and `action_local`.
        """
        ...

    def nats(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Nats (-log p) of each chunk's tokens 1 and on, given those before, (len - 1,) each."""
        ...


class Task(Protocol):
    """A source of expert episodes and a way to score a policy; the attributes are those of `TaskRecord`."""

    name: str
    family: str
    domain: str
    modality: Sense
    metric: str
    unit: str
    variant: bool
    memorisable: bool
    lower_is_better: bool
    eval_episodes: int
    """Held-out episodes that score a trial."""
    reference_episodes: int
    """Held-out episodes that measure floor and expert."""
    packages: tuple[str, ...]
    """Distributions whose versions matter."""

    def episodes(self) -> Sequence[Chunk]:
        """Expert episodes of the train split, tokenised; made once and then read from the disk."""
        ...

    def score(self, policy: Policy, split: Split, count: int) -> np.ndarray:
        """Raw values of `count` held-out episodes, (count,); the first m of n are the same episodes."""
        ...

    def floor_policies(self) -> dict[str, Policy]:
        """Policies by name; the best one is the floor."""
        ...

    def expert_policy(self) -> tuple[str, Policy]:
        """The expert's name and the expert."""
        ...


@runtime_checkable
class Audible(Protocol):
    """A task whose episodes have sounds of several lengths."""

    def sound_frames(self) -> np.ndarray:
        """Frames of the whole sound of each training episode, (episodes,); empty if none is kept whole."""
        ...

    def at_length(self) -> Task:
        """The same episodes with whole sounds, for a policy that is trained on them; itself without any."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """A task whose expert is not there to play, but its episodes are."""

    def returns(self) -> np.ndarray:
        """Raw values of the expert's own episodes, (episodes,)."""
        ...
