"""A model conditioned on scores: a scaling law or a trend, and a Gaussian process on what that leaves."""

from collections.abc import Callable

import numpy as np

from search.surrogate.columns import Encoder, Points
from search.surrogate.gp import GaussianProcess
from search.surrogate.law import Law

UNEXPLAINED = 1e-3  # standard deviation of a score around its law, where no Gaussian process is fitted

Trend = Callable[[Points, np.ndarray], np.ndarray]  # of points and rungs, both (points,): scores, (points,)


class Fitted:
    """A model conditioned on scores.

    Args:
        encoder: the columns of the study.
        law: the scaling law; None for a model without one.
        trend: what is expected of scores in a model without a law.
        process: what the law or the trend leaves; None if nothing is fitted to it.
    """

    def __init__(
        self, encoder: Encoder, law: Law | None, trend: Trend, process: GaussianProcess | None
    ) -> None:
        self._encoder, self._law, self._trend = encoder, law, trend
        self.process = process

    def expected(self, points: Points, rungs: np.ndarray) -> np.ndarray:
        """Scores by each draw of the law, (draws, points), or by the trend, (1, points)."""
        if self._law is None:
            return self._trend(points, rungs)[None]
        return self._encoder.score(self._law.drawn_fractions(self._encoder.law(points, rungs)))

    def inputs(self, points: Points, rungs: np.ndarray) -> np.ndarray:
        """Inputs of the Gaussian process, (points, inputs)."""
        return self._encoder.inputs(points, rungs)

    def predict(self, points: Points, rungs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the expected score, both (points,)."""
        scores = self.expected(points, rungs)
        mean, variance = scores.mean(axis=0), scores.var(axis=0)
        if self.process is None:
            return mean, variance + UNEXPLAINED**2
        left, own = self.process.predict(self.inputs(points, rungs))
        return mean + left, variance + own
