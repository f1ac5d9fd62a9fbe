"""A study's scaling law, for groups of its scores that are fitted together: each is shrunk to the others.

The sampler's groups are the tasks (`search.surrogate.columns`); those of predictions of larger models are the
candidates (`search.export.extrapolate`). The regret of a group, 1 minus its fraction of expert performance,
falls with a linear predictor `eta` of logarithms of size and data, and of more in the sampler:

    regret = floor + (1.1 - floor) (1 - exp(-exp(eta)))

For small regrets this is the power law `floor + exp(eta)` of Kaplan 2020 (https://arxiv.org/abs/2001.08361);
for large ones it saturates just below the score of a policy that ignores its observations. The coefficients
of a group are normally distributed around those of all groups. The spreads between groups, and the misfit of
each group, are learnt by expectation maximisation; the coefficients by damped Gauss-Newton steps, with a
Laplace approximation of their posterior. `search.surrogate.draws` draws the spreads and misfits as well.
Nothing here knows what a trial is, or what a column means, but that the first one is the intercept.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

WORST = 1.1  # regret where nothing has been learnt
FLOOR, FLOOR_SPREAD = 0.05, 0.08  # prior of the lowest regret of a group
STEPS, STEPS_AGAIN = 6, 2  # Gauss-Newton steps, from the prior and from an earlier fit
FEW = 300  # rows: of twice as many or more the first steps from the prior see 300 to 450, spread over all
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
        mean: of the coefficients of all groups together.
        std: standard deviation of those.
        spread: standard deviation of a group's coefficient around them.
        pooled: columns with the same number share one learnt spread, int; -1 keeps the spread as it is.
        misfit: usual standard deviation of a fraction around its law; a number.
        floor: mean of the floors, a number; (fits,) where `Fit` fits several at once.
        floor_spread: standard deviation of a group's floor around it; a number.
    """

    mean: np.ndarray
    std: np.ndarray
    spread: np.ndarray
    pooled: np.ndarray
    misfit: float = MISFIT
    floor: float | np.ndarray = FLOOR
    floor_spread: float = FLOOR_SPREAD


@dataclass(frozen=True)
class Rows:
    """Scores of trials.

    Attributes:
        x: (groups, rows, columns); without the column of the floor.
        y: (groups, rows) fractions of expert performance; NaN where a group has no score.
        stderr: (groups, rows) standard errors.
    """

    x: np.ndarray
    y: np.ndarray
    stderr: np.ndarray

    def take(self, kept: np.ndarray) -> "Rows":
        """Some of the rows."""
        return Rows(self.x[:, kept], self.y[:, kept], self.stderr[:, kept])


@dataclass(frozen=True)
class Law:
    """The posterior of the laws of all groups.

    Attributes:
        beta: (groups, columns) coefficients of each group, at the mode.
        floor: (groups,) lowest regret of each group.
        spread: (columns,) learnt standard deviation between groups.
        misfit: (groups,) standard deviation of a fraction around its law, without its standard error.
        draws: (draws, groups, columns + 1) coefficients and floors drawn from the posterior.
    """

    beta: np.ndarray
    floor: np.ndarray
    spread: np.ndarray
    misfit: np.ndarray
    draws: np.ndarray

    def eta(self, x: np.ndarray) -> np.ndarray:
        """The linear predictor at the mode, (groups, rows), for columns (groups, rows, columns)."""
        return _times(x, self.beta)

    def fractions(self, x: np.ndarray) -> np.ndarray:
        """Fractions at the mode, (groups, rows), for columns (groups, rows, columns)."""
        return fraction(self.eta(x), self.floor[:, None])

    def drawn_fractions(self, x: np.ndarray) -> np.ndarray:
        """Fractions of every draw, (draws, groups, rows), for columns (groups, rows, columns)."""
        coefficients = self.draws[:, :, :-1].transpose(1, 2, 0)  # (groups, columns, draws)
        eta = (x @ coefficients).transpose(2, 0, 1)
        return fraction(eta, self.draws[:, :, -1:])

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Derivative of the fractions at the mode by the linear predictor, (groups, rows)."""
        return _slope(self.eta(x), self.floor[:, None])


def fraction(eta: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Fraction of expert performance at a linear predictor; shapes broadcast."""
    rate = np.asarray(np.clip(eta, ETA_LOW, ETA_HIGH))  # in place below: it is large, and takes time
    np.exp(rate, out=rate)
    np.negative(rate, out=rate)
    np.exp(rate, out=rate)
    return 1 - WORST + (WORST - floor) * rate


def _slope(eta: np.ndarray, floor: np.ndarray) -> np.ndarray:
    rate = np.exp(np.clip(eta, ETA_LOW, ETA_HIGH))
    return -(WORST - floor) * rate * np.exp(-rate)


def fit(rows: Rows, prior: Prior, start: Law | None = None) -> Law:
    """Fit the laws of all groups.

    Args:
        rows: the scores.
        prior: of the coefficients.
        start: an earlier fit to nearly the same scores; its spreads and misfits are kept.
    """
    found = _from_prior(rows, prior) if start is None else Fit(rows, prior, start).run(STEPS_AGAIN)
    each = found.draw(DRAWS, np.random.default_rng(0))[1]
    return found.law(each.transpose(2, 0, 1))


def _from_prior(rows: Rows, prior: Prior) -> "Fit":
    """A fit from the prior; where there are many rows, only the last steps see all of them."""
    count = rows.y.shape[1]
    if count < 2 * FEW:
        return Fit(rows, prior).run(STEPS)
    few = rows.take(np.arange(0, count, count // FEW))
    return Fit(few, prior).run(STEPS - STEPS_AGAIN).see(rows).run(STEPS_AGAIN)


class Fit:
    """One fit, or several at once.

    Every matrix has the floor as its last column. Several fits have a first axis of their own in all arrays
    of `start` and in `prior.floor`, and so in the results; shapes below begin with "..." for it.

    Args:
        rows: the scores.
        prior: of the coefficients.
        start: where to start; its spreads and misfits are kept. None starts from the prior and learns them.
    """

    def __init__(self, rows: Rows, prior: Prior, start: Law | None = None) -> None:
        self.prior = prior
        self.see(rows)
        self.learns = start is None
        self.mean0 = _with_floor(prior.mean, prior.floor)
        self.precision0 = np.append(prior.std, 1e-6) ** -2.0  # the floors are not pooled
        groups = len(self.y)
        if start is None:
            self.spread = _with_floor(prior.spread, prior.floor_spread)
            self.misfit = np.full(groups, prior.misfit)
            self.theta = np.tile(self.mean0, (groups, 1))
            self.theta[:, 0] += self._level()
        else:
            self.spread = _with_floor(start.spread, prior.floor_spread)
            self.misfit = start.misfit
            self.theta = np.concatenate((start.beta, start.floor[..., None]), axis=-1)

    def see(self, rows: Rows) -> "Fit":
        """Take these scores of the same groups; coefficients, spreads and misfits stay as they are."""
        self.known = np.isfinite(rows.y)
        self.y = np.where(self.known, rows.y, 0.0)
        self.x = rows.x
        self.noise = np.maximum(rows.stderr, LEAST_NOISE) ** 2
        fits = np.shape(self.prior.floor)
        self.scaled = np.empty((*fits, *self.x.shape[:-1], self.x.shape[-1] + 1))  # see `_solve`
        return self

    def _level(self) -> np.ndarray:
        """What to add to each intercept so that each law has about the mean of its scores, (groups,)."""
        count = np.maximum(self.known.sum(axis=1), 1)
        regret = 1 - (self.y * self.known).sum(axis=1) / count
        share = np.clip((regret - FLOOR) / (WORST - FLOOR), 0.02, 0.95)
        eta = self.x @ self.prior.mean
        return np.log(-np.log1p(-share)) - (eta * self.known).sum(axis=1) / count

    def run(self, steps: int) -> "Fit":
        """Take Gauss-Newton steps, and learn spreads and misfits after each."""
        for _ in range(steps):
            self._linearise()
            self._move(self._solve())
            if self.learns:
                self._learn()
        self._linearise()
        self._solve()
        return self

    def law(self, draws: np.ndarray) -> Law:
        """The posterior after `run`."""
        return Law(self.theta[..., :-1], self.theta[..., -1], self.spread[..., :-1], self.misfit, draws)

    def evidence(self) -> np.ndarray:
        """Laplace approximation of the log marginal likelihood after `run`, without a constant, (...)."""
        variance = self.noise + self.misfit[..., None] ** 2
        size = np.abs(self.residual) / np.sqrt(variance)
        loss = np.where(size < ROBUST, size**2 / 2, ROBUST * size - ROBUST**2 / 2) + np.log(variance) / 2
        between = self.spread[..., None, :]
        own = ((self.theta - self.mean_of_all[..., None, :]) / between) ** 2 / 2 + np.log(between)
        of_all = (self.mean_of_all - self.mean0) ** 2 * self.precision0 / 2
        volume = np.linalg.slogdet(self.covariance)[1].sum(axis=-1)
        volume = (volume + np.linalg.slogdet(self.covariance_of_all)[1]) / 2
        return volume - (loss * self.known).sum(axis=(-2, -1)) - own.sum(axis=(-2, -1)) - of_all.sum(axis=-1)

    def _linearise(self) -> None:
        """Residuals, slopes and weights at the present coefficients."""
        floor = self.theta[..., -1:]
        self.eta = _times(self.x, self.theta[..., :-1])
        rate = np.exp(np.clip(self.eta, ETA_LOW, ETA_HIGH))
        dead = np.exp(-rate)
        self.residual = self.y - (1 - floor - (WORST - floor) * (1 - dead))
        self.slope, self.by_floor = -(WORST - floor) * rate * dead, -dead
        variance = self.noise + self.misfit[..., None] ** 2
        size = np.abs(self.residual) / np.sqrt(variance)
        self.weight = self.known / variance * np.minimum(1.0, ROBUST / np.maximum(size, 1e-9))

    def _solve(self) -> np.ndarray:
        """The posterior mode of the linearised model, (..., groups, columns + 1).

        `scaled` becomes the Jacobian times the roots of the weights, (..., groups, rows, columns + 1).
        """
        root = np.sqrt(self.weight)
        scaled: np.ndarray = self.scaled
        np.multiply(self.x, (self.slope * root)[..., None], out=scaled[..., :-1])
        scaled[..., -1] = self.by_floor * root
        rows = scaled.reshape(-1, *scaled.shape[-2:])
        products = np.stack([part.T @ part for part in rows])  # faster than one batched product
        information = products.reshape(*scaled.shape[:-2], *products.shape[-2:])
        seen = self.residual + self.slope * self.eta + self.by_floor * self.theta[..., -1:]
        pull = _times(np.swapaxes(scaled, -1, -2), root * seen)
        between = self.spread[..., None, :] ** -2.0
        identity = np.arange(self.spread.shape[-1])
        posterior = information.copy()
        posterior[..., identity, identity] += between
        self.covariance = np.linalg.inv(posterior)  # of a group's coefficients, given those of all
        gain = information @ self.covariance
        marginal = information - gain @ information
        of_all = marginal.sum(axis=-3)
        of_all[..., identity, identity] += self.precision0
        right = (pull - _times(gain, pull)).sum(axis=-2)
        right = right + self.precision0 * self.mean0
        self.covariance_of_all = np.linalg.inv((of_all + np.swapaxes(of_all, -1, -2)) / 2)
        self.mean_of_all = _times(self.covariance_of_all, right)
        pull = pull + between * self.mean_of_all[..., None, :]
        return _times(self.covariance, pull)

    def _move(self, target: np.ndarray) -> None:
        """Step towards the target; a group whose known rows' predictors would move far takes a part of it."""
        change = target - self.theta
        moved = _times(self.x, change[..., :-1]) * self.known
        part = np.minimum(1.0, LARGEST_STEP / np.maximum(np.abs(moved).max(axis=-1), 1e-9))
        self.theta = self.theta + change * part[..., None]
        self.theta[..., -1] = np.clip(self.theta[..., -1], -0.3, 0.6)

    def _learn(self) -> None:
        """Update spreads and misfits by expectation maximisation, each with a weak prior."""
        groups = len(self.theta)
        variances = np.diagonal(self.covariance, axis1=1, axis2=2)
        squares = ((self.theta - self.mean_of_all) ** 2 + variances).sum(axis=0)[:-1]
        spread = self.spread[:-1].copy()
        for number in np.unique(self.prior.pooled[self.prior.pooled >= 0]):
            members = self.prior.pooled == number
            count = groups * members.sum()
            expected = PSEUDO * np.mean(self.prior.spread[members] ** 2) + squares[members].sum()
            spread[members] = np.sqrt(expected / (PSEUDO + count))
        self.spread = _with_floor(spread, self.prior.floor_spread)
        parts = zip(self.scaled, self.covariance, strict=True)  # faster than all groups at once
        fitted = np.stack([np.einsum("rc,rc->r", part @ covariance, part) for part, covariance in parts])
        fitted = fitted / np.where(self.known, self.weight, 1.0)
        robust = np.minimum(1.0, self.weight * (self.noise + self.misfit[:, None] ** 2))
        excess = ((self.residual**2 * robust + fitted - self.noise) * self.known).sum(axis=1)
        count = self.known.sum(axis=1)
        variance = (PSEUDO * self.prior.misfit**2 + np.maximum(excess, 0.0)) / (PSEUDO + count)
        self.misfit = np.clip(np.sqrt(variance), MISFIT_LOW, MISFIT_HIGH)

    def draw(self, count: int, rng: np.random.Generator, at: Any = ...) -> tuple[np.ndarray, np.ndarray]:
        """Draw coefficients from the posterior around the mode, after `run`.

        Args:
            count: draws of each fit.
            rng: random numbers.
            at: which of several fits; an index may occur repeatedly.

        Returns:
            Those of all groups together, (..., columns + 1, count), and those of each group, (..., groups,
            columns + 1, count).
        """
        mode, covariance, spread = self.theta[at], self.covariance[at], self.spread[at]
        shape = mode.shape
        normal = rng.standard_normal((*shape[:-2], shape[-1], count))
        of_all = _root(self.covariance_of_all)[at] @ normal
        own = _root(self.covariance)[at] @ rng.standard_normal((*shape, count))
        pulled = (covariance * spread[..., None, None, :] ** -2.0) @ of_all[..., None, :, :]
        return self.mean_of_all[at][..., None] + of_all, mode[..., None] + own + pulled


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Each matrix (..., m, n) times its vector (..., n): (..., m)."""
    return (matrices @ vectors[..., None])[..., 0]


def _with_floor(columns: np.ndarray, floor: float | np.ndarray) -> np.ndarray:
    """Columns (..., columns) and then the floor (...)."""
    floor = np.asarray(floor)[..., None]
    shape = np.broadcast_shapes(columns.shape[:-1], floor.shape[:-1])
    columns = np.broadcast_to(columns, (*shape, columns.shape[-1]))
    return np.concatenate((columns, np.broadcast_to(floor, (*shape, 1))), axis=-1)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Square roots of covariance matrices, (..., n, n), also of ones that are singular but for rounding."""
    values, vectors = np.linalg.eigh((covariance + np.swapaxes(covariance, -1, -2)) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


def without_draws(law: Law) -> Law:
    """The same law with its mode as the only draw."""
    mode = np.column_stack((law.beta, law.floor))
    return replace(law, draws=mode[None])
