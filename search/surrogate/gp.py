"""A Gaussian process with a Matern-5/2 kernel, one length scale for each group of inputs (Rasmussen 2006).

Hyperparameters are found by maximising the marginal likelihood times log-normal priors, with analytic
gradients. Rows have noise of their own, which is known, and a common noise, which is learnt.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

LENGTH, LENGTH_SPREAD = 2.0, 0.8  # prior of a length scale: median, standard deviation of its logarithm
SIGNAL_SPREAD, NOISE_SPREAD = 0.7, 0.8  # of the logarithms of the standard deviations
SIGNAL, NOISE = 1.0, 0.3  # prior medians, as shares of the standard deviation of the values
EVALUATIONS = 25  # of the likelihood
TUNED_ROWS = 120  # that hyperparameters are found on
ROOT5 = 5.0**0.5
JITTER = 1e-6  # of the variance, added to a covariance that is factorised
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Kernel:
    """Hyperparameters.

    Attributes:
        lengths: (inputs,) length scale of each input.
        signal: standard deviation of the function.
        noise: standard deviation of a row around it, besides the row's own.
    """

    lengths: np.ndarray
    signal: float
    noise: float

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Covariance of the function between points (m, inputs) and (n, inputs): (m, n)."""
        a, b = a / self.lengths, b / self.lengths
        square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
        r = ROOT5 * np.sqrt(np.maximum(square, 0.0))
        return self.signal**2 * (1 + r + r**2 / 3) * np.exp(-r)


class GaussianProcess:
    """A Gaussian process, conditioned on rows.

    Args:
        x: (rows, inputs).
        y: (rows,) values, with a mean of about 0.
        variance: (rows,) of each row's own noise.
        kernel: hyperparameters.

    Attributes:
        variance: (rows,) of all noise of each row.
        factor: Cholesky factor of the rows' covariance with their noise.
        alpha: (rows,) inverse of that covariance times the values.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, variance: np.ndarray, kernel: Kernel) -> None:
        self.x = x
        self.kernel = kernel
        self.variance = variance + kernel.noise**2 + 1e-8 * kernel.signal**2
        covariance = kernel(x, x)
        covariance[np.diag_indices_from(covariance)] += self.variance
        self.factor = np.linalg.cholesky(covariance)
        self.alpha = cho_solve((self.factor, True), y)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the function at points, without noise: both (points,)."""
        mean, explained = self.explain(x)
        variance = self.kernel.signal**2 - (explained**2).sum(axis=0)
        return mean, np.maximum(variance, LEAST_VARIANCE)

    def explain(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the rows say about points.

        Returns:
            Mean of the function, (points,), and an array (rows, points) whose squares, summed over rows, are
            the variance that the rows explain.
        """
        between = self.kernel(self.x, x)
        return between.T @ self.alpha, solve_triangular(self.factor, between, lower=True)


class DrawnProcess:
    """A Gaussian process together with draws of its function at some points.

    Args:
        process: the process.
        x: (known, inputs) the points.
        normal: (draws, known) standard normal numbers.

    Attributes:
        values: (draws, known) the function at the points, drawn jointly.
    """

    def __init__(self, process: GaussianProcess, x: np.ndarray, normal: np.ndarray) -> None:
        self._process, self._x, self._normal = process, x, normal
        mean, self._explained = process.explain(x)
        covariance = process.kernel(x, x) - self._explained.T @ self._explained
        covariance[np.diag_indices_from(covariance)] += JITTER * process.kernel.signal**2
        self._factor = np.linalg.cholesky(covariance)
        self.values = mean + normal @ self._factor.T

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The function at other points, given each draw.

        Args:
            x: (points, inputs).

        Returns:
            Means (draws, points), and the variance (points,) that is left, which is the same for each draw.
        """
        kernel = self._process.kernel
        mean, explained = self._process.explain(x)
        between = kernel(self._x, x) - self._explained.T @ explained
        given = solve_triangular(self._factor, between, lower=True)
        variance = kernel.signal**2 - (explained**2).sum(axis=0) - (given**2).sum(axis=0)
        return mean + self._normal @ given, np.maximum(variance, LEAST_VARIANCE)


def tuned(x: np.ndarray, y: np.ndarray, variance: np.ndarray, groups: np.ndarray) -> Kernel:
    """Hyperparameters at the maximum of their posterior.

    Args:
        x: (rows, inputs), of a scale of about 1.
        y: (rows,) values, with a mean of about 0.
        variance: (rows,) of each row's own noise.
        groups: (inputs,) number of the group of each input, from 0; a group shares a length scale.
    """
    x, y, variance = (values[-TUNED_ROWS:] for values in (x, y, variance))
    scale = max(float(np.sqrt(np.mean(y**2))), 1e-3)
    count = int(groups.max()) + 1
    squares = np.stack([_squares(x[:, groups == group]) for group in range(count)])
    centre = np.log([LENGTH] * count + [SIGNAL * scale, NOISE * scale])
    spread = np.array([LENGTH_SPREAD] * count + [SIGNAL_SPREAD, NOISE_SPREAD])
    diagonal = np.diag_indices(len(y))

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        lengths, signal, noise = np.exp(logs[:count]), np.exp(logs[-2]), np.exp(logs[-1])
        parts = squares / lengths[:, None, None] ** 2
        r = ROOT5 * np.sqrt(parts.sum(axis=0))
        decay = np.exp(-r)
        covariance = signal**2 * (1 + r + r**2 / 3) * decay
        total = covariance.copy()
        total[diagonal] += variance + noise**2 + 1e-8 * signal**2
        factor = cho_factor(total, lower=True)
        alpha = cho_solve(factor, y)
        inner = np.outer(alpha, alpha) - cho_solve(factor, np.eye(len(y)))
        by_length = signal**2 * 5 / 3 * (1 + r) * decay * inner  # times the part of each group
        gradient = np.append(
            np.einsum("gij,ij->g", parts, by_length),
            [2 * (covariance * inner).sum(), 2 * noise**2 * np.trace(inner)],
        )
        likelihood = -0.5 * y @ alpha - np.log(np.diag(factor[0])).sum()
        z = (logs - centre) / spread
        return -likelihood + 0.5 * z @ z, -0.5 * gradient + z / spread

    found = minimize(
        loss,
        centre,
        jac=True,
        method="L-BFGS-B",
        bounds=[(c - 4 * s, c + 4 * s) for c, s in zip(centre, spread, strict=True)],
        options={"maxfun": EVALUATIONS},
    )
    lengths = np.exp(found.x[:count])[groups]
    return Kernel(lengths, float(np.exp(found.x[-2])), float(np.exp(found.x[-1])))


def _squares(x: np.ndarray) -> np.ndarray:
    """Squared distances between rows, (rows, rows)."""
    square = (x**2).sum(axis=1)
    return np.maximum(square[:, None] + square[None, :] - 2 * x @ x.T, 0.0)
