"""What is believed before a study has scores: a person's priors, and the scores of an earlier study.

Both are a log density of points over the space's own distribution, and draws. They choose a study's first
candidates (`search.choose.believed`), and shape those that are drawn at random until there are scores. Later
they only add points to those that are compared: scores decide. The earlier study is part of the surrogate,
too (`search.surrogate`). Nothing is excluded: a share of the draws, and a part of each density, is the
space's own.

A belief compares points of about the same cost. A study seeks a front, in which every cost counts, and the
values that are best of all belong to expensive candidates.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from search.choose.earlier import EarlierStudy, by_cost
from search.choose.pool import Pool, PoolSpace
from search.choose.priors import KnobPrior, SharePriors, share_priors
from search.choose.sampler import Problem
from space.errors import StudyFileError
from space.ranges import MIXTURE_PREFIX
from space.study import StudyConfig

SAMPLE = 400  # points drawn from the space
OWN_DRAWS = 0.4  # share of draws without regard to the belief
WIDEST = 2.0  # largest standard deviation of the log density over the space
TRIED, TAKEN = 64, 8  # points of which some are drawn by the density of an earlier study
AMONG = 4  # random points for each that is drawn
RATE = "learning_rate"


def make_belief(config: StudyConfig, problem: Problem) -> "Belief":
    """The belief that a study states.

    Raises:
        StudyFileError: the earlier study has nothing in common with this one, or was not copied.
        StorageError: another version of Pathfront copied it.
    """
    if config.warm is not None and config.warm.copied is None:
        raise StudyFileError(f"warm.study: `pathfront launch` copies study '{config.warm.study}' first")
    return Belief(config, problem)


class Belief:
    """What is believed of a study's space.

    Args:
        config: the study, with its priors and the copy of an earlier study.
        problem: its space, tasks, limits and seed.

    Attributes:
        earlier: the study that this one begins with; None without one.
        states_priors: whether there are priors.

    Raises:
        StudyFileError: the earlier study has nothing in common with this one.
    """

    def __init__(self, config: StudyConfig, problem: Problem) -> None:
        self._problem = problem
        self._space = PoolSpace(problem)
        self._sample = self._space.random(np.random.default_rng([problem.seed, 2]), SAMPLE, 0.0)
        self._shapes: dict[tuple[Any, ...], float] = {}
        self._knobs = {
            name: KnobPrior(problem.parameters[name], prior)
            for name, prior in config.priors.items()
            if not name.startswith(MIXTURE_PREFIX)
        }
        shares = share_priors(config.priors)
        self._shares = None
        if shares:
            self._shares = SharePriors(problem, shares, self._space.points(self._sample).shares)
        self.earlier = None
        if config.warm is not None:
            self.earlier = EarlierStudy(config.warm, problem, self._space, self._sample)
        self.states_priors = bool(self._knobs or shares)
        self._tempered = {whole: self._tempering(whole) for whole in (True, False)}

    @property
    def weighs_mixtures(self) -> bool:
        """Whether it says anything of mixtures."""
        return self._shares is not None or (self.earlier is not None and self.earlier.mixed)

    def log_density(self, space: PoolSpace, pool: Pool) -> np.ndarray:
        """Log density of points over what is usual at their costs, (points,).

        Priors of many knobs multiply; the product is tempered, so that a few scores can contradict it.

        Args:
            space: the space in numbers that the pool belongs to.
            pool: the points.
        """
        return self._density(space, pool, whole=True)

    def prior_density(self, space: PoolSpace, pool: Pool) -> np.ndarray:
        """As `log_density`, of the priors alone."""
        return self._density(space, pool, whole=False)

    def _density(self, space: PoolSpace, pool: Pool, whole: bool) -> np.ndarray:
        usual, scale = self._tempered[whole]
        at_cost = by_cost(space.own_points(pool).log_flops) @ usual
        return (self._log_density(space, pool, whole) - at_cost) * scale

    def _tempering(self, whole: bool) -> tuple[np.ndarray, float]:
        """What density is usual at a cost, as coefficients of `by_cost`, and the factor of the rest."""
        density = self._log_density(self._space, self._sample, whole)
        x = by_cost(self._space.own_points(self._sample).log_flops)
        usual = np.linalg.lstsq(x, density, rcond=None)[0]
        return usual, min(1.0, WIDEST / max(float((density - x @ usual).std()), 1e-9))

    def _log_density(self, space: PoolSpace, pool: Pool, whole: bool) -> np.ndarray:
        """Log density as stated; that of the priors alone unless it is the whole one."""
        density = np.array([self._of_shape(space.key(number)) for number in pool.shape.tolist()])
        points = space.own_points(pool)
        if RATE in self._knobs:
            density += np.log(self._knobs[RATE].densities(points.log_rate))
        if self._shares is not None:
            density += self._shares.log_density(points.shares)
        if self.earlier is not None and whole:
            density += self.earlier.log_density(space, pool)
        return density

    def _of_shape(self, key: tuple[Any, ...]) -> float:
        """Log density of the priors of all knobs but the learning rate."""
        if key not in self._shapes:
            values = zip(self._space.names, key, strict=True)
            parts = [
                np.log(self._knobs[name].density(value)) for name, value in values if name in self._knobs
            ]
            self._shapes[key] = float(sum(parts))
        return self._shapes[key]

    def draws(self, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        """Parameters without end, drawn by the belief; some of them cannot be built."""
        plain = self._problem.plain_draws(rng)
        while True:
            if rng.random() < OWN_DRAWS:
                yield next(plain)
            elif self.earlier is None:
                yield self._by_priors(rng, next(plain))
            else:
                tried = [self._by_priors(rng, next(plain)) for _ in range(TRIED)]
                pool, kept = self._space.encode(tried)
                density = self.earlier.log_density(self._space, pool)
                weight = np.exp(density - density.max(initial=0.0))
                if len(kept):
                    taken = rng.choice(len(kept), size=TAKEN, p=weight / weight.sum())
                    yield from (tried[int(kept[i])] for i in taken)

    def _by_priors(self, rng: np.random.Generator, params: dict[str, Any]) -> dict[str, Any]:
        """Parameters whose knobs with priors are drawn from these."""
        if self._knobs:
            drawn = {name: prior.draw(rng) for name, prior in self._knobs.items()}
            params = self._problem.space.snapped({**params, **drawn})
        if self._shares is None:
            return params
        names = self._problem.shares.groups.names
        logits = np.array([params[MIXTURE_PREFIX + name] for name in names])
        moved = self._shares.draw(rng, logits).tolist()
        return {**params, **{MIXTURE_PREFIX + name: z for name, z in zip(names, moved, strict=True)}}

    def pool(self, space: PoolSpace, rng: np.random.Generator, count: int, power: float) -> Pool:
        """Points that are drawn by the belief; bins of cost are drawn as `PoolSpace.random` draws them.

        Args:
            space: the space in numbers that the pool will belong to.
            rng: random numbers.
            count: of points.
            power: of the FLOPs at the centre of a bin.
        """
        pool = space.random(rng, AMONG * count, power)
        believed = np.flatnonzero(rng.random(len(pool)) >= OWN_DRAWS)
        rates, logits = pool.log_rate.copy(), pool.logits.copy()
        if RATE in self._knobs:
            rates[believed] = np.log([self._knobs[RATE].draw(rng) for _ in believed])
        if self._shares is not None:
            logits[believed] = [self._shares.draw(rng, logits[i]) for i in believed]
        pool = Pool(pool.shape, rates, logits)
        return pool.take(space.chosen(rng, pool, count, power, self.weights(space, pool)))

    def weights(self, space: PoolSpace, pool: Pool) -> np.ndarray:
        """Weights of points of about the same cost in a draw of some of them, (points,)."""
        return OWN_DRAWS + (1 - OWN_DRAWS) * np.exp(self.log_density(space, pool))
