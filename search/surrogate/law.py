"""A scaling law for each task of a study, fitted together: the law of one task is shrunk to the others'.

The regret of a task, 1 minus its fraction of expert performance, falls with a linear predictor `eta` of
logarithms of size, data, learning rate and shares of the mixture (`search.surrogate.columns`):

    regret = floor + (1.1 - floor) (1 - exp(-exp(eta)))

For small regrets this is the power law `floor + exp(eta)` of Kaplan 2020 (https://arxiv.org/abs/2001.08361);
for large ones it saturates just below the score of a policy that ignores its observations. The coefficients
of a task are normally distributed around those of all tasks. The spreads between tasks, and the misfit of
each task, are learnt by expectation maximisation; the coefficients by damped Gauss-Newton steps, with a
Laplace approximation of their posterior. Nothing here knows what a trial is, or what a column means, but that
the first one is the intercept.
"""

from dataclasses import dataclass, replace

import numpy as np

WORST = 1.1  # regret of a task that nothing has been learnt of
FLOOR, FLOOR_SPREAD = 0.05, 0.08  # prior of the lowest regret of a task
STEPS, STEPS_AGAIN = 6, 2  # Gauss-Newton steps, from the prior and from an earlier fit
LARGEST_STEP = 1.5  # of any row's linear predictor
ETA_LOW, ETA_HIGH = -8.0, 3.0  # range of the linear predictor
LEAST_NOISE = 0.01  # standard error of a fraction; a few perfect episodes do not prove perfection
MISFIT, MISFIT_LOW, MISFIT_HIGH = 0.05, 0.01, 0.3  # standard deviation: its prior and its range
PSEUDO = 4.0  # trials that the prior of a spread or of a misfit counts for
DRAWS = 32
ROBUST = 2.5  # standard deviations beyond which a row loses weight


@dataclass(frozen=True)
class Prior:
    """What is known of the coefficients of the columns before any score, each (columns,).

    Attributes:
        mean: of the coefficients of all tasks together.
        std: standard deviation of those.
        spread: standard deviation of a task's coefficient around them.
        pooled: columns with the same number share one learnt spread, int; -1 keeps the spread as it is.
    """

    mean: np.ndarray
    std: np.ndarray
    spread: np.ndarray
    pooled: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Scores of trials.

    Attributes:
        x: (tasks, rows, columns); without the column of the floor.
        y: (tasks, rows) fractions of expert performance; NaN where a task has no score.
        stderr: (tasks, rows) standard errors.
    """

    x: np.ndarray
    y: np.ndarray
    stderr: np.ndarray

    def take(self, kept: np.ndarray) -> "Rows":
        """Some of the rows."""
        return Rows(self.x[:, kept], self.y[:, kept], self.stderr[:, kept])


@dataclass(frozen=True)
class Law:
    """The posterior of the laws of all tasks.

    Attributes:
        beta: (tasks, columns) coefficients of each task, at the mode.
        floor: (tasks,) lowest regret of each task.
        spread: (columns,) learnt standard deviation between tasks.
        misfit: (tasks,) standard deviation of a fraction around its law, without its standard error.
        draws: (draws, tasks, columns + 1) coefficients and floors drawn from the posterior.
    """

    beta: np.ndarray
    floor: np.ndarray
    spread: np.ndarray
    misfit: np.ndarray
    draws: np.ndarray

    def fractions(self, x: np.ndarray) -> np.ndarray:
        """Fractions at the mode, (tasks, rows), for columns (tasks, rows, columns)."""
        return fraction(np.einsum("trc,tc->tr", x, self.beta, optimize=True), self.floor[:, None])

    def drawn_fractions(self, x: np.ndarray) -> np.ndarray:
        """Fractions of every draw, (draws, tasks, rows), for columns (tasks, rows, columns)."""
        coefficients = self.draws[:, :, :-1].transpose(1, 2, 0)  # (tasks, columns, draws)
        eta = (x @ coefficients).transpose(2, 0, 1)
        return fraction(eta, self.draws[:, :, -1:])

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Derivative of the fractions at the mode by the linear predictor, (tasks, rows)."""
        eta = np.einsum("trc,tc->tr", x, self.beta, optimize=True)
        return _slope(eta, self.floor[:, None])


def fraction(eta: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Fraction of expert performance at a linear predictor; shapes broadcast."""
    rate = np.exp(np.clip(eta, ETA_LOW, ETA_HIGH))
    return 1 - floor + (WORST - floor) * np.expm1(-rate)


def _slope(eta: np.ndarray, floor: np.ndarray) -> np.ndarray:
    rate = np.exp(np.clip(eta, ETA_LOW, ETA_HIGH))
    return -(WORST - floor) * rate * np.exp(-rate)


def fit(rows: Rows, prior: Prior, start: Law | None = None) -> Law:
    """Fit the laws of all tasks.

    Args:
        rows: the scores.
        prior: of the coefficients.
        start: an earlier fit to nearly the same scores; its spreads and misfits are kept.
    """
    return _Fit(rows, prior, start).run(STEPS if start is None else STEPS_AGAIN)


class _Fit:
    """One fit. Every matrix has the floor as its last column."""

    def __init__(self, rows: Rows, prior: Prior, start: Law | None) -> None:
        self.known = np.isfinite(rows.y)
        self.y = np.where(self.known, rows.y, 0.0)
        self.x = rows.x
        self.noise = np.maximum(rows.stderr, LEAST_NOISE) ** 2
        self.prior = prior
        self.learns = start is None
        self.mean0 = np.append(prior.mean, FLOOR)
        self.precision0 = np.append(prior.std, 1e-6) ** -2.0  # the floors are not pooled
        tasks = len(self.y)
        if start is None:
            self.spread = np.append(prior.spread, FLOOR_SPREAD)
            self.misfit = np.full(tasks, MISFIT)
            self.theta = np.tile(self.mean0, (tasks, 1))
            self.theta[:, 0] += self._level()
        else:
            self.spread = np.append(start.spread, FLOOR_SPREAD)
            self.misfit = start.misfit
            self.theta = np.column_stack((start.beta, start.floor))

    def _level(self) -> np.ndarray:
        """What to add to each task's intercept so that its law has about the mean of its scores, (tasks,)."""
        count = np.maximum(self.known.sum(axis=1), 1)
        regret = 1 - (self.y * self.known).sum(axis=1) / count
        share = np.clip((regret - FLOOR) / (WORST - FLOOR), 0.02, 0.95)
        eta = np.einsum("trc,c->tr", self.x, self.prior.mean, optimize=True)
        return np.log(-np.log1p(-share)) - (eta * self.known).sum(axis=1) / count

    def run(self, steps: int) -> Law:
        """Take Gauss-Newton steps, and learn spreads and misfits after each."""
        for _ in range(steps):
            self._linearise()
            target, _ = self._solve()
            self._move(target)
            if self.learns:
                self._learn()
        self._linearise()
        _, mean_of_all = self._solve()
        return Law(
            beta=self.theta[:, :-1],
            floor=self.theta[:, -1],
            spread=self.spread[:-1],
            misfit=self.misfit,
            draws=self._draw(mean_of_all),
        )

    def _linearise(self) -> None:
        """Residuals, Jacobian and weights at the present coefficients."""
        floor = self.theta[:, -1:]
        self.eta = np.einsum("trc,tc->tr", self.x, self.theta[:, :-1], optimize=True)
        rate = np.exp(np.clip(self.eta, ETA_LOW, ETA_HIGH))
        dead = np.exp(-rate)
        self.residual = self.y - (1 - floor - (WORST - floor) * (1 - dead))
        slope = -(WORST - floor) * rate * dead
        self.jacobian = np.concatenate((self.x * slope[:, :, None], -dead[:, :, None]), axis=2)
        variance = self.noise + self.misfit[:, None] ** 2
        size = np.abs(self.residual) / np.sqrt(variance)
        self.weight = self.known / variance * np.minimum(1.0, ROBUST / np.maximum(size, 1e-9))

    def _solve(self) -> tuple[np.ndarray, np.ndarray]:
        """The posterior mode of the linearised model.

        Returns:
            Coefficients of each task (tasks, columns + 1), and those of all tasks together (columns + 1,).
        """
        root = np.sqrt(self.weight)
        scaled = self.jacobian * root[:, :, None]
        information = np.stack([rows.T @ rows for rows in scaled])  # faster than one batched product
        seen = self.residual + np.einsum("trc,tc->tr", self.jacobian, self.theta, optimize=True)
        pull = np.einsum("trc,tr->tc", scaled, root * seen, optimize=True)
        between = self.spread**-2.0
        identity = np.arange(len(between))
        posterior = information.copy()
        posterior[:, identity, identity] += between
        self.covariance = np.linalg.inv(posterior)  # of a task's coefficients, given those of all
        gain = information @ self.covariance
        marginal = information - gain @ information
        of_all = marginal.sum(axis=0)
        of_all[identity, identity] += self.precision0
        right = (pull - np.einsum("tij,tj->ti", gain, pull)).sum(axis=0) + self.precision0 * self.mean0
        self.covariance_of_all = np.linalg.inv((of_all + of_all.T) / 2)
        mean_of_all = self.covariance_of_all @ right
        target = np.einsum("tij,tj->ti", self.covariance, pull + between * mean_of_all, optimize=True)
        self.mean_of_all = mean_of_all
        return target, mean_of_all

    def _move(self, target: np.ndarray) -> None:
        """Step towards the target; a task whose known rows' predictors would move far takes a part of it."""
        change = target - self.theta
        moved = np.einsum("trc,tc->tr", self.x, change[:, :-1], optimize=True) * self.known
        moved = np.abs(moved).max(axis=1)
        self.theta = self.theta + change * np.minimum(1.0, LARGEST_STEP / np.maximum(moved, 1e-9))[:, None]
        self.theta[:, -1] = np.clip(self.theta[:, -1], -0.3, 0.6)

    def _learn(self) -> None:
        """Update spreads and misfits by expectation maximisation, each with a weak prior."""
        tasks = len(self.theta)
        variances = np.diagonal(self.covariance, axis1=1, axis2=2)
        squares = ((self.theta - self.mean_of_all) ** 2 + variances).sum(axis=0)[:-1]
        spread = self.spread[:-1].copy()
        for group in np.unique(self.prior.pooled[self.prior.pooled >= 0]):
            members = self.prior.pooled == group
            count = tasks * members.sum()
            expected = PSEUDO * np.mean(self.prior.spread[members] ** 2) + squares[members].sum()
            spread[members] = np.sqrt(expected / (PSEUDO + count))
        self.spread = np.append(spread, FLOOR_SPREAD)
        fitted = np.einsum("trc,trc->tr", self.jacobian @ self.covariance, self.jacobian)
        robust = np.minimum(1.0, self.weight * (self.noise + self.misfit[:, None] ** 2))
        excess = ((self.residual**2 * robust + fitted - self.noise) * self.known).sum(axis=1)
        count = self.known.sum(axis=1)
        variance = (PSEUDO * MISFIT**2 + np.maximum(excess, 0.0)) / (PSEUDO + count)
        self.misfit = np.clip(np.sqrt(variance), MISFIT_LOW, MISFIT_HIGH)

    def _draw(self, mean_of_all: np.ndarray) -> np.ndarray:
        """Coefficients drawn from the posterior around the mode, (draws, tasks, columns + 1)."""
        rng = np.random.default_rng(0)
        tasks, columns = self.theta.shape
        of_all = _root(self.covariance_of_all) @ rng.standard_normal((columns, DRAWS))  # (columns, draws)
        own = _root(self.covariance) @ rng.standard_normal((tasks, columns, DRAWS))
        pulled = (self.covariance * self.spread[None, None, :] ** -2.0) @ of_all
        return (self.theta[:, :, None] + own + pulled).transpose(2, 0, 1)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Square roots of covariance matrices, (..., n, n), also of ones that are singular but for rounding."""
    values, vectors = np.linalg.eigh((covariance + np.swapaxes(covariance, -1, -2)) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


def without_draws(law: Law) -> Law:
    """The same law with its mode as the only draw."""
    mode = np.column_stack((law.beta, law.floor))
    return replace(law, draws=mode[None])
