"""A model conditioned on scores: a scaling law or a trend, and a Gaussian process on what that leaves."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from search.surrogate.blocks import blocks
from search.surrogate.columns import Encoder, Points
from search.surrogate.gp import GaussianProcess
from search.surrogate.law import Law

UNEXPLAINED = 1e-3  # standard deviation of a score around its law, where no Gaussian process is fitted
BLOCK = 32  # points whose fractions are drawn at once

Trend = Callable[[Points, np.ndarray], np.ndarray]  # of points and rungs, both (points,): scores, (points,)


@dataclass(frozen=True)
class Slope:
    """How much scores rise with what an earlier study expects of them: a normal distribution.

    Attributes:
        mean: score over score.
        std: its standard deviation.
    """

    mean: float
    std: float

    def draws(self, count: int) -> np.ndarray:
        """Slopes that stand for the distribution, in no order, (draws,)."""
        places = (np.random.default_rng(0).permutation(count) + 0.5) / count
        return self.mean + self.std * ndtri(places)


class Fitted:
    """A model conditioned on scores.

    Args:
        encoder: the columns of the study.
        law: the scaling law; None for a model without one.
        trend: what is expected of scores in a model without a law.
        process: what the law or the trend, and the earlier study, leave; None if nothing is fitted to it.
        slope: of what an earlier study expects; None without one.
    """

    def __init__(
        self,
        encoder: Encoder,
        law: Law | None,
        trend: Trend,
        process: GaussianProcess | None = None,
        slope: Slope | None = None,
    ) -> None:
        self._encoder, self._law, self._trend = encoder, law, trend
        self.process = process
        self._slope = slope

    def expected(self, points: Points, rungs: np.ndarray) -> np.ndarray:
        """Scores by each draw of the law, (draws, points), or by the trend, (1, points)."""
        if self._law is None:
            scores = self._trend(points, rungs)[None]
        else:
            scores = self._by_draws(self._law, self._encoder.law(points, rungs))
        if self._slope is None or points.earlier is None:
            return scores
        return scores + self._slope.draws(len(scores))[:, None] * points.earlier

    def _by_draws(self, law: Law, x: np.ndarray) -> np.ndarray:
        """Scores by each draw of a law, (draws, points), for columns (laws, points, columns)."""
        scores = np.empty((len(law.draws), x.shape[1]))
        for some in blocks(x.shape[1], BLOCK):
            scores[:, some] = self._encoder.score(law.drawn_fractions(x[:, some]))
        return scores

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
