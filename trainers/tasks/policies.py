"""Policies without a model, which measure floor and expert of a task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from trainers.tasks.base import Session
from trainers.tokens.sequence import Chunk


class ActingPolicy(ABC):
    """A policy that acts on the session itself and gives no likelihood of tokens."""

    @abstractmethod
    def choose(self, session: Session) -> np.ndarray:
        """The action for one session, ids (length,)."""

    def begin(self, count: int) -> None:  # noqa: B027 - none of them has state
        """Do nothing: there is no state."""

    def act(
        self, live: Sequence[int], observations: Sequence[Chunk], sessions: Sequence[Session]
    ) -> list[np.ndarray]:
        """One action for each session."""
        return [self.choose(session) for session in sessions]

    def nats(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Raise TypeError: the policy only acts."""
        raise TypeError(f"{type(self).__name__} acts, and gives tokens no likelihood")


class ExpertPolicy(ActingPolicy):
    """Takes the expert's action."""

    def choose(self, session: Session) -> np.ndarray:
        """Return the expert's action."""
        return session.expert()


class RandomPolicy(ActingPolicy):
    """Takes random legal actions, deterministic in the seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def choose(self, session: Session) -> np.ndarray:
        """Draw a legal action."""
        return session.random(self._rng)


class ConstantPolicy(ActingPolicy):
    """Takes the same action always."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids

    def choose(self, session: Session) -> np.ndarray:
        """Return the constant action."""
        return self.ids
