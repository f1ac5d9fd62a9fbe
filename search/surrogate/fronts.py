"""What new points add to a front whose scores are uncertain, too.

Scores of known and new points are drawn together: those of similar points rise and fall together, so that a
copy of a known point gains nothing, however uncertain its score is. The same holds for a copy of a point that
is being trained. (Noisy expected hypervolume improvement, Daulton 2021, https://arxiv.org/abs/2105.08195.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search.surrogate.blocks import blocks
from search.surrogate.columns import Points
from search.surrogate.ehvi import Terraces, expected_gain
from search.surrogate.fitted import UNEXPLAINED, Fitted
from search.surrogate.gp import DrawnProcess
from search.surrogate.law import DRAWS

BLOCK = 4  # draws whose gains are computed at once


class DrawnScores:
    """A model with joint draws of the scores of known points.

    Args:
        model: the model.
        known: the points.
        rung: at which they are scored.
        scale: calibration of its standard deviations.
        normal: (draws, known) standard normal numbers; by default always the same.

    Attributes:
        model: the model.
        scores: (draws, known).
    """

    def __init__(
        self, model: Fitted, known: Points, rung: int, scale: float, normal: np.ndarray | None = None
    ) -> None:
        self.model, self._rung, self._scale = model, rung, scale
        scores, rungs = self._expected(known)
        self._process: DrawnProcess | None = None
        if model.process is not None:
            if normal is None:
                normal = np.random.default_rng(0).standard_normal((DRAWS, len(known)))
            self._process = DrawnProcess(model.process, model.inputs(known, rungs), normal)
            scores = scores + self._process.values
        self.scores = self._calibrated(scores)

    def predict(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Means of the scores of points given each draw, (draws, points); what is left, a standard deviation.

        The latter is (points,), the same for each draw.
        """
        scores, rungs = self._expected(points)
        if self._process is None:
            return self._calibrated(scores), np.full(len(points), self._scale * UNEXPLAINED)
        mean, variance = self._process.predict(self.model.inputs(points, rungs))
        return self._calibrated(scores + mean), self._scale * np.sqrt(variance)

    def _expected(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        rungs = np.full(len(points), self._rung)
        return self.model.expected(points, rungs), rungs

    def _calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Draws as far from their mean as the calibration says."""
        mean = scores.mean(axis=0)
        return mean + self._scale * (scores - mean)


@dataclass(frozen=True)
class Front:
    """Draws of the front of known points, by each model.

    Attributes:
        weights: (models,).
        drawn: of each model.
        known: the points.
        least_score: scores at or below it gain nothing.
    """

    weights: np.ndarray
    drawn: Sequence[DrawnScores]
    known: Points
    least_score: float = 0.0

    def gain(self, points: Points, most: np.ndarray) -> np.ndarray:
        """Expected gain in hypervolume above the least score of each point, alone.

        Args:
            points: the points.
            most: (costs,) logarithms of the costs where the volume ends.

        Returns:
            (points,) in units of score times the log costs.
        """
        gain = np.zeros(len(points))
        for weight, model in zip(self.weights, self.drawn, strict=True):
            gain += weight * self._by_model(model, points, most)
        return gain

    def _by_model(self, model: DrawnScores, points: Points, most: np.ndarray) -> np.ndarray:
        """Expected gain by one model, the mean over its draws, (points,)."""
        means, std = model.predict(points)
        if points.costs.shape[1] > 1:
            drawn = zip(self._terraces[id(model)], means, strict=True)
            gains = [terraces.expected_gain(mean, std, points.costs, most) for terraces, mean in drawn]
            return np.mean(gains, axis=0)
        gain, cost, known = np.zeros(len(points)), points.costs[:, 0], self.known.costs[:, 0]
        for draws in blocks(len(means), BLOCK):
            some, front = means[draws], (model.scores[draws], known)
            gained = expected_gain(some, std, cost, front, self.least_score, float(most[0]))
            gain += gained * len(some) / len(means)
        return gain

    @cached_property
    def _terraces(self) -> dict[int, list[Terraces]]:
        """Of each draw of each model, for two costs."""
        return {
            id(model): [Terraces.of(scores, self.known.costs, self.least_score) for scores in model.scores]
            for model in self.drawn
        }
