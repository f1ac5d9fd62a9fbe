"""What new points add to a front whose scores are uncertain, too.

Scores of known and new points are drawn together: those of similar points rise and fall together, so that a
copy of a known point gains nothing, however uncertain its score is. The same holds for a copy of a point that
is being trained. (Noisy expected hypervolume improvement, Daulton 2021, https://arxiv.org/abs/2105.08195.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search.surrogate.columns import Points
from search.surrogate.ehvi import Terraces, expected_gain
from search.surrogate.fitted import UNEXPLAINED, Fitted
from search.surrogate.gp import DrawnProcess
from search.surrogate.law import DRAWS


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
            means, std = model.predict(points)
            for draw, mean in enumerate(means):
                gain += weight / len(means) * self._of_draw(model, draw, (mean, std), points, most)
        return gain

    def _of_draw(
        self,
        model: DrawnScores,
        draw: int,
        score: tuple[np.ndarray, np.ndarray],
        points: Points,
        most: np.ndarray,
    ) -> np.ndarray:
        """Expected gain over one draw of known scores, (points,), by mean and deviation of new ones."""
        if points.costs.shape[1] == 1:
            front = model.scores[draw], self.known.costs[:, 0]
            return expected_gain(*score, points.costs[:, 0], front, self.least_score, float(most[0]))
        return self._terraces[id(model)][draw].expected_gain(*score, points.costs, most)

    @cached_property
    def _terraces(self) -> dict[int, list[Terraces]]:
        """Of each draw of each model, for two costs."""
        return {
            id(model): [Terraces.of(scores, self.known.costs, self.least_score) for scores in model.scores]
            for model in self.drawn
        }
