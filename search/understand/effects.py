"""How much of a score's variance at fixed cost each knob explains, for any functions from points to scores.

The score at fixed cost is the score less what functions give on average to points of the same cost, a cubic
polynomial in the logarithm of FLOPs per token: knobs decide costs, and without this every knob that makes a
model larger would look important. The total effect of a knob (Homma 1996) is the share of the variance of
that score which is left if all other knobs are known; by Jansen's estimator, half of the mean squared change
when the knob alone is drawn again (Saltelli 2010, https://doi.org/10.1016/j.cpc.2009.09.018). Some values of
a knob cannot be built with the others, so it is drawn from those that can (Kucherenko 2012,
https://doi.org/10.1016/j.cpc.2011.12.020). Hutter 2014 (https://proceedings.mlr.press/v32/hutter14.html)
decomposes the variance over a whole space of independent knobs instead, costs included.

Total effects count interactions for each knob that takes part in them, so their sum may be above 1. A
function that is drawn from a posterior varies with every knob wherever no score says otherwise, so its shares
overstate weak effects; the mean of such functions hardly varies there, which understates them. Both are
given.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from search.choose.pool import Pool, PoolSpace
from search.understand.resample import Changed, Design, Of

DEGREE = 3  # of the polynomial of the mean score over log cost
EFFECT_DEGREE = 2  # of the polynomial of the effect of a number
LEVELS = 21  # of a knob with real values, where its best value is sought
SURE = 0.95  # probability of the ellipsoid outside which an effect is distinct from 0
JITTER = 1e-4  # of the largest slope, added to standard deviations
LEAST_SHARE = 0.01  # of the variance, that is supported: a smaller one may be chance in the design
NOTHING = 1e-18  # variance of a score that does not vary

Scores = Callable[[Pool], np.ndarray]  # (points,) -> (functions, points)


@dataclass(frozen=True)
class Effect:
    """The effect of one knob, for each function.

    Attributes:
        name: of the knob, task, or "mixture".
        of: what it is.
        shares: (functions,) of the variance at fixed cost.
        agreed: (functions,) shares of what each function has in common with their mean.
        supported: whether the functions agree that it has an effect: that of the knob on average over the
            points is distinct from 0 at 95%, and explains at least `LEAST_SHARE`.
        values: (levels,) of the knob; None for the mixture.
        gains: (functions, levels) score at fixed cost at each level, up to a constant; None for the mixture.
    """

    name: str
    of: Of
    shares: np.ndarray
    agreed: np.ndarray
    supported: bool
    values: np.ndarray | None = None
    gains: np.ndarray | None = None


def effects(design: Design, scores: Scores) -> tuple[np.ndarray, Iterator[Effect]]:
    """Effects of everything that a design changes.

    Args:
        design: the points.
        scores: functions from points to scores.

    Returns:
        (functions,) variance of the score at fixed cost, and the effects.
    """
    at_cost = _AtCost(design, scores)
    return at_cost.variance, (_effect(design, changed, at_cost) for changed in design.changes())


class _AtCost:
    """Scores at fixed cost."""

    def __init__(self, design: Design, scores: Scores) -> None:
        self._space: PoolSpace = design.space
        self._scores = scores
        logs = self._space.points(design.pool).log_flops
        self._centre, half = logs.mean(), np.ptp(logs) / 2
        self._half = half if half > 1e-9 else 0.0
        found, columns = scores(design.pool), self._columns(design.pool)
        whole = np.column_stack((columns, self._others(design.pool)))
        self._slopes = (found @ np.linalg.pinv(whole).T)[:, : columns.shape[1]]
        self.base = found - self._slopes @ columns.T
        self.variance = self.base.var(axis=1)
        self.mean = self.base.mean(axis=0)
        centred = self.base - self.base.mean(axis=1, keepdims=True)
        self.agreed = (centred * (self.mean - self.mean.mean())).mean(axis=1)

    def __call__(self, pool: Pool) -> np.ndarray:
        """(functions, points)."""
        return self._scores(pool) - self._slopes @ self._columns(pool).T

    def _others(self, pool: Pool) -> np.ndarray:
        """Columns that are independent of the cost, so that chance in a design does not move its slopes."""
        points = self._space.points(pool)
        columns = np.column_stack((points.log_rate, np.log(points.shares)))
        columns = columns - columns.mean(axis=0)
        return np.column_stack((columns, columns**2 - (columns**2).mean(axis=0)))

    def _columns(self, pool: Pool) -> np.ndarray:
        if not self._half:
            return np.ones((len(pool), 1))
        z = (self._space.points(pool).log_flops - self._centre) / self._half
        return np.vander(z, DEGREE + 1)


def _effect(design: Design, changed: Changed, at_cost: _AtCost) -> Effect:
    change = at_cost(changed.pool) - at_cost.base
    shares = _ratio((change**2).mean(axis=1) / 2, at_cost.variance)
    agreed = _ratio((change * change.mean(axis=0)).mean(axis=1) / 2, at_cost.agreed)
    large = bool(np.median(agreed) >= LEAST_SHARE)
    if changed.before is None or changed.after is None:
        before, after = (np.log(design.space.points(of).shares) for of in (design.pool, changed.pool))
        slopes = change @ np.linalg.pinv(after - before).T
        return Effect(changed.name, changed.of, shares, agreed, large and _distinct(slopes))
    values, columns = _levels(design, changed)
    slopes = change @ np.linalg.pinv(columns(changed.after) - columns(changed.before)).T
    supported = large and _distinct(slopes if values.dtype != object else slopes[:, 1:] - slopes[:, :1])
    return Effect(changed.name, changed.of, shares, agreed, supported, values, slopes @ columns(values).T)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Shares of variances, from 0 to 1; 0 where nothing varies."""
    return np.where(whole > NOTHING, np.clip(part / np.maximum(whole, NOTHING), 0.0, 1.0), 0.0)


def _distinct(slopes: np.ndarray) -> bool:
    """Whether draws of slopes (functions, slopes) are distinct from 0: 0 lies outside their 95% ellipsoid."""
    count, size = slopes.shape
    largest = float(np.abs(slopes).max(initial=0.0))
    if count <= size + 2 or largest < NOTHING**0.5:
        return False
    mean = slopes.mean(axis=0)
    covariance = np.atleast_2d(np.cov(slopes.T)) + (JITTER * largest) ** 2 * np.eye(size)
    unbiased = (count - size - 2) / (count - 1)  # of an inverse covariance of few draws
    return bool(unbiased * mean @ np.linalg.solve(covariance, mean) > chi2.ppf(SURE, size))


def _levels(design: Design, changed: Changed) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Values of a knob in order, and a function that turns values (n,) into columns (n, columns).

    The effect of a number is a parabola in its logarithm, or in itself where it may be 0 or less.
    Each word and flag has an effect of its own.
    """
    assert changed.before is not None
    assert changed.after is not None
    both = np.concatenate((changed.before, changed.after))
    knob = design.problem.parameters.get(changed.name) if changed.of == "knob" else None
    listed = None if knob is None else knob.values()
    if both.dtype == object:
        words = np.array(listed, dtype=object)
        return words, lambda values: (values[:, None] == words[None, :]).astype(float)
    low, high = (both.min(), both.max()) if changed.of == "knob" else np.quantile(both, (0.05, 0.95))
    log = both.min() > 0

    def scaled(values: np.ndarray) -> np.ndarray:
        return np.log(values) if log else values

    ends = scaled(np.array([low, high], dtype=float))
    centre, half = ends.mean(), max(float(np.ptp(ends)) / 2, 1e-9)

    degree = min(EFFECT_DEGREE, LEVELS if listed is None else len(listed) - 1)

    def columns(values: np.ndarray) -> np.ndarray:
        z = (scaled(values) - centre) / half
        return np.column_stack([z**power for power in range(1, degree + 1)])

    if listed is not None and len(listed) <= LEVELS:
        return np.array(sorted(float(value) for value in listed)), columns
    grid = np.linspace(float(ends[0]), float(ends[1]), LEVELS)
    return np.exp(grid) if log else grid, columns
