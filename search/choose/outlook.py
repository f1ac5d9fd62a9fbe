"""What a study may expect of candidates, by its models and what has ended so far."""

from dataclasses import dataclass

import numpy as np

from search.choose.divergence import Divergence
from search.choose.pool import Pool, PoolSpace
from search.choose.snapshot import Snapshot
from search.surrogate.surrogate import Surrogate


class Outlook:
    """What is expected of points at the top rung, with what is known at one moment.

    Args:
        space: the study's space in numbers.
        surrogate: fitted to its scores.
        view: its candidates and trials.
        least_score: that gains anything.

    Attributes:
        known: the study's candidates.
        alive: those that have not failed for good.
        ranked: (alive, 1 + costs) their expected scores and their known costs.
    """

    def __init__(self, space: PoolSpace, surrogate: Surrogate, view: Snapshot, least_score: float) -> None:
        self.space, self.surrogate = space, surrogate
        self.known, kept = space.encode([candidate.params for candidate in view.candidates])
        candidates = [view.candidates[i] for i in kept]
        points = space.points(self.known)
        self._divergence = Divergence(points, candidates, view)
        failed = {trial.candidate for trial in view.trials if trial.state == "failed" and trial.final}
        alive = np.flatnonzero([candidate.id not in failed for candidate in candidates])
        self.alive, known = self.known.take(alive), points.take(alive)
        predicted = surrogate.predict(known)
        self._front = surrogate.front(known, predicted, least_score)
        self.ranked = np.column_stack((predicted.mixed_mean, known.costs))

    def of(self, pool: Pool) -> "Expected":
        """What is expected of points as new candidates."""
        points = self.space.points(pool)
        return Expected(
            gain=self._front.gain(points, self.space.most_log_costs),
            survives=self._divergence.survives(points),
            cost=self.space.compute(points),
        )


@dataclass(frozen=True)
class Expected:
    """What is expected of points, each (points,).

    Attributes:
        gain: of the front in hypervolume, if training does not diverge.
        survives: probability that it does not diverge.
        cost: FLOPs per token, and those of the cheapest candidate.
    """

    gain: np.ndarray
    survives: np.ndarray
    cost: np.ndarray

    @property
    def value(self) -> np.ndarray:
        """By which points are compared."""
        return self.gain * self.survives / self.cost
