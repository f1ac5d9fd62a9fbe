"""What a study may expect of candidates, by its models and what has ended so far."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search.choose.divergence import Divergence
from search.choose.pool import Pool, PoolSpace
from search.choose.snapshot import Snapshot
from search.surrogate.fronts import Front
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
        self._view, self._least_score = view, least_score
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
        """What is expected of points as new candidates, beside all that are known."""
        return self._expected(pool, self._front)

    def of_promotions(self, pool: Pool) -> "Expected":
        """What is expected of known candidates that train on.

        They gain on those whose trial at the top rung, or a promotion to a lower one, is under way or done.
        """
        return self._expected(pool, self._promoted)

    def _expected(self, pool: Pool, front: Front) -> "Expected":
        points = self.space.points(pool)
        return Expected(
            gain=front.gain(points, self.space.most_log_costs),
            survives=self._divergence.survives(points),
            cost=self.space.compute(points),
        )

    @cached_property
    def _promoted(self) -> Front:
        """The front of the candidates at the top rung and of those on their way to it."""
        top = self.surrogate.encoder.rungs - 1
        begun = [trial for trial in self._view.trials if trial.state != "failed" and trial.rung > 0]
        names = {trial.candidate for trial in begun if trial.rung == top or trial.state != "done"}
        pool, _ = self.space.encode([c.params for c in self._view.candidates if c.id in names])
        return self.surrogate.front(self.space.points(pool), least_score=self._least_score)


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
