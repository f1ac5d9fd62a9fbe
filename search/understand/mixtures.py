"""The best mixture of an architecture under laws of the tasks, many laws at once, by projected gradient."""

import numpy as np

from search.choose.pool import Pool, PoolSpace
from search.surrogate.columns import Encoder
from search.surrogate.law import ETA_HIGH, ETA_LOW, WORST, fraction

STEPS = 150
FIRST_STEP = 0.3  # of the range of the log-ratios
STEP_DECAY = 0.97


class MixtureSearch:
    """Scores of mixtures for one architecture at the top rung, by laws.

    Args:
        encoder: the columns of the study.
        space: its space.
        start: one point: the architecture, its learning rate, and the mixture to begin from.
    """

    def __init__(self, encoder: Encoder, space: PoolSpace, start: Pool) -> None:
        self._encoder, self._space, self.start = encoder, space, start

    def at(self, logits: np.ndarray) -> Pool:
        """The architecture with mixtures of log-ratios (laws, groups)."""
        return Pool(
            np.repeat(self.start.shape, len(logits)), np.repeat(self.start.log_rate, len(logits)), logits
        )

    def fractions(
        self, logits: np.ndarray, beta: np.ndarray, floor: np.ndarray, shift: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Fractions of each mixture under its own law, (laws, tasks).

        Args:
            logits: (laws, groups) log-ratios.
            beta: (laws, tasks, columns) coefficients.
            floor: (laws, tasks) lowest regrets.
            shift: (laws, tasks) added to the linear predictors.
        """
        eta = np.einsum("tlc,ltc->lt", self._columns(logits), beta)
        return fraction(eta + shift, floor)

    def scores(self, logits: np.ndarray, beta: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Scores of each mixture under its own law, (laws,)."""
        return self._encoder.score(self.fractions(logits, beta, floor)[..., None])[..., 0]

    def best(self, beta: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Log-ratios (laws, groups) of the mixture with the best score under each law, within the space."""
        spread = max(self._space.spread, 1e-9)
        logits = np.repeat(self.start.logits, len(beta), axis=0)
        best, value = logits, self.scores(logits, beta, floor)
        step = FIRST_STEP * spread
        for _ in range(STEPS):
            slope = self._slopes(logits, beta, floor)
            largest = np.abs(slope).max(axis=1, keepdims=True)
            moved = logits + step * slope / np.where(largest > 0, largest, 1.0)
            logits = np.clip(moved, -spread, spread)
            found = self.scores(logits, beta, floor)
            better = found > value
            best, value = np.where(better[:, None], logits, best), np.maximum(found, value)
            step *= STEP_DECAY
        return best

    def _columns(self, logits: np.ndarray) -> np.ndarray:
        points = self._space.points(self.at(logits))
        return self._encoder.law(points, np.full(len(points), self._encoder.rungs - 1))

    def _slopes(self, logits: np.ndarray, beta: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Derivatives of the scores by the log-ratios, (laws, groups)."""
        pool = self.at(logits)
        eta = np.einsum("tlc,ltc->lt", self._columns(logits), beta)
        rate = np.exp(np.clip(eta, ETA_LOW, ETA_HIGH))
        inside = np.abs(fraction(eta, floor)) < 1
        by_eta = -(WORST - floor) * rate * np.exp(-rate) * inside * self._encoder.weights
        by_share = self._encoder.by_share(self._space.points(pool), beta.transpose(1, 0, 2))
        return self._space.share_slopes(pool, np.einsum("lt,tls->ls", by_eta, by_share))
