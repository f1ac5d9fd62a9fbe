"""The probability that a candidate's training diverges, from those that did.

A logistic regression on the logarithms of learning rate, width and depth, with a prior that divergence is
rare and that higher learning rates make it likelier.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from search.choose.snapshot import Candidate, Snapshot
from search.surrogate.columns import SHAPES, SIZES, Points

PRIOR_MEAN = np.array([-4.0, 0.8, 0.0, 0.0, 0.0])  # intercept, rate, rate^2, width, depth
PRIOR_STD = np.array([2.0, 3.0, 1.0, 2.0, 2.0])  # wide: the edge may be sharp
EXACT = {"ftol": 1e-13, "gtol": 1e-7}


class Divergence:
    """The probability that a candidate survives.

    Args:
        points: the study's candidates, (candidates,).
        candidates: the same.
        view: the study's trials.
    """

    def __init__(self, points: Points, candidates: Sequence[Candidate], view: Snapshot) -> None:
        diverged = {trial.candidate for trial in view.trials if trial.diverged}
        ended = {trial.candidate for trial in view.trials if trial.ended}
        kept = np.array([i for i, c in enumerate(candidates) if c.id in ended], dtype=int)
        y = np.array([candidates[i].id in diverged for i in kept], dtype=float)
        self._theta: np.ndarray | None = None
        if not y.any():
            return
        self._centre = np.zeros(3)
        self._centre = self._numbers(points.take(kept)).mean(axis=0)
        x = self._columns(points.take(kept))

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            logits, z = x @ theta, (theta - PRIOR_MEAN) / PRIOR_STD
            value = (np.logaddexp(0, logits) - y * logits).sum() + z @ z / 2
            return float(value), x.T @ (expit(logits) - y) + z / PRIOR_STD

        self._theta = minimize(loss, PRIOR_MEAN, jac=True, method="L-BFGS-B", options=EXACT).x

    def survives(self, points: Points) -> np.ndarray:
        """Probability that training does not diverge, (points,); 1 while none has diverged."""
        if self._theta is None:
            return np.ones(len(points))
        return expit(-np.clip(self._columns(points) @ self._theta, -30, 30))

    def _columns(self, points: Points) -> np.ndarray:
        rate, width, depth = (self._numbers(points) - self._centre).T
        return np.column_stack((np.ones(len(points)), rate, rate**2, width, depth))

    def _numbers(self, points: Points) -> np.ndarray:
        first = len(SIZES)
        width, depth = (points.shapes[:, first + SHAPES.index(name)] for name in ("width", "depth"))
        return np.column_stack((points.log_rate, width, depth))
