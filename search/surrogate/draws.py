"""Draws of a scaling law whose spreads, misfit and floor are uncertain too.

A few groups with a few scores each do not determine these scales, and intervals that take the most likely
ones for certain are too narrow. So the scales are drawn by importance sampling: their logarithms come from a
normal distribution and are weighted by their prior and by Laplace's approximation of the marginal likelihood
(Rue 2009, https://doi.org/10.1111/j.1467-9868.2008.00700.x). The first round draws around the scales that
expectation maximisation learns, each further round around those of high weight in the round before
(population Monte Carlo, Cappe 2004, https://doi.org/10.1198/106186004X12803).
"""

from dataclasses import dataclass, replace

import numpy as np

from search.surrogate.law import FLOOR_SPREAD, PSEUDO, STEPS, Fit, Law, Prior, Rows

POINTS, ROUNDS = 96, 3  # scales that are tried at once, and how often
FIRST_STD = 0.5  # of the logarithms of the scales in the first round
WIDER = 1.2  # standard deviations of a further round over those of the round before
LEAST_STD = 0.01  # of a further round
STEPS_EACH = 4  # Gauss-Newton steps at given scales
SAME_FLOOR = 1e-4  # spread of floors that are all the same


@dataclass(frozen=True)
class Draws:
    """Laws drawn from the posterior.

    Attributes:
        common: (draws, columns) coefficients of all groups together.
        each: (draws, groups, columns) coefficients of each group.
        spread: (draws, columns) standard deviation between groups.
        misfit: (draws,) standard deviation of a fraction around its law, without its standard error.
        floor: (draws,) lowest regret.
    """

    common: np.ndarray
    each: np.ndarray
    spread: np.ndarray
    misfit: np.ndarray
    floor: np.ndarray


def draw(rows: Rows, prior: Prior, count: int, rng: np.random.Generator) -> Draws:
    """Draw laws of groups that share one misfit and one floor.

    Args:
        rows: the scores.
        prior: of the coefficients and of the scales.
        count: how many laws.
        rng: random numbers.
    """
    scales = _Scales(rows, prior)
    centre, root = scales.learnt, FIRST_STD * np.eye(len(scales.learnt))
    for _ in range(ROUNDS - 1):
        points, weight = _tried(scales, centre, root, rng)[1:]
        wide = np.sqrt(weight) / np.sqrt(weight).sum()  # a few points may have nearly all of the weight
        centre = wide @ points
        covariance = (wide[:, None] * (points - centre)).T @ (points - centre)
        root = WIDER * np.linalg.cholesky(covariance + LEAST_STD**2 * np.eye(len(centre)))
    fits, points, weight = _tried(scales, centre, root, rng)
    kept = rng.choice(POINTS, size=count, p=weight)
    common, each = fits.draw(1, rng, kept)
    return Draws(
        common=common[:, :-1, 0],
        each=each[:, :, :-1, 0],
        spread=fits.spread[kept, :-1],
        misfit=fits.misfit[kept, 0],
        floor=np.exp(points[kept, -1]),
    )


def _tried(
    scales: "_Scales", centre: np.ndarray, root: np.ndarray, rng: np.random.Generator
) -> tuple[Fit, np.ndarray, np.ndarray]:
    """Fits at points (points, scales) around a centre, the points, and their weights (points,)."""
    normal = rng.standard_normal((POINTS, len(centre)))
    points = centre + normal @ root.T
    fits = scales.fits(points)
    log_weight = fits.evidence() + scales.log_prior(points) + (normal**2).sum(axis=1) / 2
    weight = np.exp(log_weight - log_weight.max())
    return fits, points, weight / weight.sum()


class _Scales:
    """The uncertain scales: the spreads of the pooled columns, the misfit and the floor, as logarithms."""

    def __init__(self, rows: Rows, prior: Prior) -> None:
        self._rows, self._prior = rows, prior
        self._floor = float(prior.floor)
        self._start = Fit(rows, prior).run(STEPS).law(np.empty(0))
        self._pools = [prior.pooled == number for number in np.unique(prior.pooled[prior.pooled >= 0])]
        self._usual = self._logs(prior.spread, prior.misfit)
        misfit = float(np.sqrt(np.mean(self._start.misfit**2)))
        self.learnt = self._logs(self._start.spread, misfit)

    def _logs(self, spread: np.ndarray, misfit: float) -> np.ndarray:
        spreads = [float(spread[pool].mean()) for pool in self._pools]
        return np.log(np.array([*spreads, misfit, self._floor]))

    def log_prior(self, points: np.ndarray) -> np.ndarray:
        """Log density of points (points, scales), without a constant, (points,).

        `PSEUDO` scores have shown the usual spreads and misfit; the floor is normal and positive.
        """
        ratio = np.exp(points - self._usual)
        shown = -PSEUDO * (np.log(ratio[:, :-1]) + ratio[:, :-1] ** -2 / 2).sum(axis=1)
        floor = np.exp(points[:, -1])
        return shown - ((floor - self._floor) / FLOOR_SPREAD) ** 2 / 2 + points[:, -1]

    def fits(self, points: np.ndarray) -> Fit:
        """One fit for each of points (points, scales)."""
        values = np.exp(points)
        shape = (len(points), *self._start.beta.shape)  # (points, groups, columns)
        spread = np.tile(self._start.spread, (len(points), 1))
        for place, pool in enumerate(self._pools):
            spread[:, pool] = values[:, place, None]
        start = Law(
            beta=np.broadcast_to(self._start.beta, shape),
            floor=np.broadcast_to(values[:, -1:], shape[:2]),
            spread=spread,
            misfit=np.broadcast_to(values[:, -2:-1], shape[:2]),
            draws=self._start.draws,
        )
        prior = replace(self._prior, floor=values[:, -1], floor_spread=SAME_FLOOR)
        return Fit(self._rows, prior, start).run(STEPS_EACH)
