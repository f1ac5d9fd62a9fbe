"""Draws of whole functions from the surrogate's posterior: each can be asked at any number of points.

A draw of a law is a function already. A draw of a Gaussian process is made pathwise: a draw of its prior by
random Fourier features (Rahimi 2007, https://papers.nips.cc/paper/3182), corrected so that it agrees with the
scores and their noise (Wilson 2020, https://arxiv.org/abs/2002.09309). The same draw is used at all points,
so that scores of similar points rise and fall together.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_solve

from search.surrogate.columns import Points
from search.surrogate.fitted import Fitted
from search.surrogate.gp import GaussianProcess

FEATURES = 512  # random Fourier features of a kernel
DEGREES = 5  # of freedom of the frequencies: a Matern-5/2 kernel


class ProcessPaths:
    """Functions drawn from a Gaussian process that is conditioned on scores.

    Args:
        process: the process.
        count: of functions.
        rng: random numbers.
    """

    def __init__(self, process: GaussianProcess, count: int, rng: np.random.Generator) -> None:
        self._process = process
        kernel, inputs = process.kernel, process.x.shape[1]
        tails = np.sqrt(rng.chisquare(DEGREES, size=(FEATURES, 1)) / DEGREES)
        self._frequencies = rng.standard_normal((FEATURES, inputs)) / tails / kernel.lengths
        self._phases = rng.uniform(0, 2 * np.pi, size=FEATURES)
        scale = kernel.signal * (2 / FEATURES) ** 0.5
        self._weights = scale * rng.standard_normal((FEATURES, count))
        noise = np.sqrt(process.variance)[:, None] * rng.standard_normal((len(process.x), count))
        self._moved = cho_solve((process.factor, True), self._prior(process.x) + noise)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values at points (points, inputs): (functions, points)."""
        between = self._process.kernel(x, self._process.x)
        known = between @ self._process.alpha
        return (known[:, None] + self._prior(x) - between @ self._moved).T

    def _prior(self, x: np.ndarray) -> np.ndarray:
        """Draws of the prior, (points, functions)."""
        return np.cos(x @ self._frequencies.T + self._phases) @ self._weights


class Paths:
    """Functions from points to scores at the top rung, drawn from all models by their weights.

    Args:
        models: conditioned on the scores.
        weights: (models,).
        scales: (models,) calibration of their standard deviations.
        rung: at which points are scored.
        count: of functions.
        seed: of the draws.
    """

    def __init__(
        self,
        models: Sequence[Fitted],
        weights: np.ndarray,
        scales: np.ndarray,
        rung: int,
        count: int,
        seed: int = 0,
    ) -> None:
        self._models, self._scales, self._rung = models, scales, rung
        ends = np.round(np.cumsum(weights) * count).astype(int)
        self.counts: list[int] = np.diff(np.append(0, ends)).tolist()
        rng = np.random.default_rng(seed)
        self._processes = [
            ProcessPaths(model.process, number, rng) if model.process is not None and number else None
            for model, number in zip(models, self.counts, strict=True)
        ]

    def __call__(self, points: Points) -> np.ndarray:
        """Scores by each function, (functions, points), those of the first model first."""
        rungs = np.full(len(points), self._rung)
        parts = []
        for model, process, scale, count in zip(
            self._models, self._processes, self._scales, self.counts, strict=True
        ):
            if not count:
                continue
            expected = model.expected(points, rungs)
            drawn = expected[np.arange(count) % len(expected)]
            mean = expected.mean(axis=0)
            if model.process is not None and process is not None:
                inputs = model.inputs(points, rungs)
                drawn = drawn + process(inputs)
                mean = mean + model.process.predict(inputs)[0]
            parts.append(mean + scale * (drawn - mean))
        return np.concatenate(parts)
