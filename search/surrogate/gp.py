"""A Gaussian process with a Matern-5/2 kernel, one length scale for each group of inputs (Rasmussen 2006).

Hyperparameters are found by maximising the marginal likelihood times log-normal priors, with analytic
gradients. Rows have noise of their own, which is known, and a common noise, which is learnt.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, get_lapack_funcs, solve_triangular
from scipy.optimize import minimize

from search.surrogate.blocks import blocks

LENGTH, LENGTH_SPREAD = 2.0, 0.8  # prior of a length scale: median, standard deviation of its logarithm
SIGNAL_SPREAD, NOISE_SPREAD = 0.7, 0.8  # of the logarithms of the standard deviations
SIGNAL, NOISE = 1.0, 0.3  # prior medians, as shares of the standard deviation of the values
EVALUATIONS = 25  # of the likelihood
TUNED_ROWS = 120  # that hyperparameters are found on
ROOT5 = 5.0**0.5
JITTER = 1e-6  # of the variance, added to a covariance that is factorised
LEAST_VARIANCE = 1e-12
BLOCK = 16  # rows of a covariance that are computed at once

(_inverted,) = get_lapack_funcs(("potri",), dtype=np.float64)  # the inverse by a Cholesky factor


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
        squares = (a**2).sum(axis=1)[:, None], (b**2).sum(axis=1)
        found = np.empty((len(a), len(b)))
        for rows in blocks(len(a), BLOCK):
            square = squares[0][rows] + squares[1] - 2 * a[rows] @ b.T
            form, _, decay = _matern(np.maximum(square, 0.0, out=square))
            decay *= self.signal**2
            np.multiply(form, decay, out=found[rows])
        return found


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
        variance = self.kernel.signal**2 - _sums_of_squares(explained)
        return mean, np.maximum(variance, LEAST_VARIANCE)

    def explain(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the rows say about points.

        Returns:
            Mean of the function, (points,), and an array (rows, points) whose squares, summed over rows, are
            the variance that the rows explain.
        """
        between = self.kernel(x, self.x)
        return between @ self.alpha, _solved(self.factor, between)


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
        between = kernel(x, self._x)
        between -= explained.T @ self._explained
        given = _solved(self._factor, between)
        variance = kernel.signal**2 - _sums_of_squares(explained) - _sums_of_squares(given)
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
    pair = np.tril_indices(len(y), -1)  # matrices are symmetric: one half holds all
    squares = np.stack([_squares(x[:, groups == group])[pair] for group in range(count)])
    centre = np.log([LENGTH] * count + [SIGNAL * scale, NOISE * scale])
    spread = np.array([LENGTH_SPREAD] * count + [SIGNAL_SPREAD, NOISE_SPREAD])

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        precisions, signal, noise = np.exp(-2 * logs[:count]), np.exp(logs[-2]), np.exp(logs[-1])
        form, r, decay = _matern(precisions @ squares)
        covariance = signal**2 * form * decay
        total = np.diag(variance + noise**2 + (1 + 1e-8) * signal**2)
        total[pair] = covariance
        factor = cho_factor(total, lower=True, overwrite_a=True)
        alpha = cho_solve(factor, y)
        inverse = _inverted(factor[0], lower=1)[0]  # its lower half
        inner, on_diagonal = alpha[pair[0]] * alpha[pair[1]] - inverse[pair], alpha**2 - np.diag(inverse)
        by_length = signal**2 * 10 / 3 * (1 + r) * decay * inner  # times the part of each group
        by_signal = 2 * (2 * covariance @ inner + signal**2 * on_diagonal.sum())
        by_noise = 2 * noise**2 * on_diagonal.sum()
        gradient = np.append(precisions * (squares @ by_length), [by_signal, by_noise])
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


def _matern(square: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of squared distances in length scales: the polynomial, the scaled distance r, and exp(-r)."""
    r = np.sqrt(square)
    r *= ROOT5
    form = r / 3
    form += 1
    form *= r
    form += 1
    return form, r, np.exp(-r)


def _solved(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A Cholesky factor's inverse times the transpose of (points, rows), in its memory: (rows, points)."""
    return solve_triangular(factor, right.T, lower=True, overwrite_b=True)


def _sums_of_squares(columns: np.ndarray) -> np.ndarray:
    """Sum of the squares of each column, (columns,)."""
    return np.einsum("rc,rc->c", columns, columns)


def _squares(x: np.ndarray) -> np.ndarray:
    """Squared distances between rows, (rows, rows)."""
    square = (x**2).sum(axis=1)
    return np.maximum(square[:, None] + square[None, :] - 2 * x @ x.T, 0.0)
