"""A warm start: what the scores of an earlier study say about the points of this one.

The earlier study has other tasks or other budgets, so its scores are no scores of this study. Its own
surrogate predicts, for each point, how far the score lies above what others of the same cost reach. The
prediction counts the less the more uncertain it is: as a density of what is drawn at random, and in this
study's surrogate, which learns from its own scores how much they rise with it. The first candidates are those
that it finds likeliest (`search.choose.believed`). The knobs that only one of both studies varies say
nothing, nor do tasks that only one of both has.
"""

from typing import Any

import numpy as np

from search.choose.copies import read_copy
from search.choose.models import Models
from search.choose.pool import Pool, PoolSpace
from search.choose.sampler import Problem
from search.surrogate.columns import Points
from search.surrogate.surrogate import ALL
from space.errors import StudyFileError
from space.knobs import Between, Choices
from space.knowledge import Warm
from space.ranges import MIXTURE_PREFIX, Limits

WEIGHT = 1.5  # of a prediction in the log density, in standard deviations of scores at equal cost
MOST = 3.0  # standard deviations of scores at equal cost: predictions count up to this
LEAST_TASKS = 2  # in common, for mixtures to be compared


class EarlierStudy:
    """The density that an earlier study gives to points.

    Args:
        warm: names it, with its copy.
        problem: of this study.
        space: this study's space in numbers.
        sample: points drawn from this space, which say what scores are usual at a cost.

    Attributes:
        mixed: whether mixtures are compared.

    Raises:
        StudyFileError: both have no knob and no tasks in common.
        StorageError: another version of Pathfront made the copy.
    """

    def __init__(self, warm: Warm, problem: Problem, space: PoolSpace, sample: Pool) -> None:
        assert warm.copied is not None
        copy = read_copy(warm.copied, warm.study)
        config = copy.config
        self._here = problem
        self._problem = Problem(config.space, copy.suite, Limits(), config.search.seed, config.rungs)
        self.mixed = len(common_tasks(self._problem, problem)) >= LEAST_TASKS
        if not common_knobs(self._problem, problem) and not self.mixed:
            raise StudyFileError(
                "warm.study: both studies vary at least one knob, or the shares of two tasks, and"
                f" '{warm.study}' has none in common with this one"
            )
        models = Models(self._problem, ALL, per_task=True)
        self._surrogate = models.surrogate(copy.view)
        self._space = models.space
        self._candidates = [candidate.params for candidate in copy.view.candidates]
        self._rows: dict[tuple[Any, ...], np.ndarray | None] = {}
        self._usual = np.zeros(3)
        self._std = 1.0
        mean, std, known = self._predicted(space, sample)
        x = by_cost(space.own_points(sample).log_flops)[known]
        if len(known):
            self._usual = np.linalg.lstsq(x, mean[known], rcond=None)[0]
            variance = np.var(mean[known] - x @ self._usual) + np.mean(std[known] ** 2)
            self._std = float(np.sqrt(variance)) + 1e-9  # of scores at equal cost

    def log_density(self, space: PoolSpace, pool: Pool) -> np.ndarray:
        """Log density of points over the space's own distribution, up to a constant, (points,)."""
        return WEIGHT * self.above(space, pool) / self._std

    def above(self, space: PoolSpace, pool: Pool) -> np.ndarray:
        """How far scores are expected above what is usual at their costs, (points,), in the earlier scores.

        An expectation is near 0 where the earlier study knows little; it is 0 where it knows nothing.
        """
        mean, _, known = self._predicted(space, pool)
        above = np.zeros(len(pool))
        beyond = mean - by_cost(space.own_points(pool).log_flops) @ self._usual
        most = MOST * self._std
        above[known] = np.clip(beyond, -most, most)[known]
        return above

    def candidates(self, space: PoolSpace, rng: np.random.Generator, near: int = 0) -> Pool:
        """Its candidates, as this study would have them, and points near them.

        Args:
            space: this study's space in numbers.
            rng: draws what only this study varies.
            near: points near them, at most.
        """
        plain = self._here.plain_draws(rng)
        found = []
        for params in self._candidates:
            common = {
                name: _nearest(knob, params[name])
                for name, knob in self._here.parameters.items()
                if name in params
            }
            found.append(self._here.space.snapped({**next(plain), **common}))
        pool, _ = space.encode(found)
        return Pool.joined((pool, space.mutants(rng, pool, near))) if near and len(pool) else pool

    def _predicted(self, space: PoolSpace, pool: Pool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and standard deviation (points,) of the earlier study's score, and the indices with one."""
        points, known = self._points(space, pool)
        mean, std = np.zeros(len(pool)), np.zeros(len(pool))
        if len(known):
            predicted = self._surrogate.predict(points)
            mean[known], std[known] = predicted.mixed_mean, predicted.mixed_std
        return mean, std, known

    def _points(self, space: PoolSpace, pool: Pool) -> tuple[Points, np.ndarray]:
        """Points as the earlier study would have them, with their costs here, and their indices."""
        rows = [self._row(space.key(number), space) for number in pool.shape.tolist()]
        known = np.array([i for i, row in enumerate(rows) if row is not None], dtype=int)
        own = space.own_points(pool.take(known))
        shapes = np.array([rows[i] for i in known]).reshape(len(known), len(self._space.row(0)))
        rates = np.clip(pool.log_rate[known], *self._space.rate_ends)
        return Points(shapes, rates, self._shares(own.shares), own.costs), known

    def _row(self, key: tuple[Any, ...], space: PoolSpace) -> np.ndarray | None:
        """Numbers of a shape as the earlier study would have it; None if it cannot be built there."""
        if key not in self._rows:
            knobs = dict(zip(space.names, key, strict=True))
            there: dict[str, Any] = {}
            for name in self._space.names:
                fixed = getattr(self._here.space, name).values()
                value = knobs[name] if name in knobs else fixed[0]
                there[name] = _nearest(self._problem.parameters[name], value)
            number = self._space.number_of(self._problem.space.snapped(there))
            self._rows[key] = None if number is None else self._space.row(number)
        return self._rows[key]

    def _shares(self, shares: np.ndarray) -> np.ndarray:
        """Mixtures of the earlier study's tasks: common ones in proportion to this study's shares."""
        tasks = self._problem.suite.tasks
        there = np.full((len(shares), len(tasks)), 1 / len(tasks))
        if self.mixed:
            common = common_tasks(self._problem, self._here)
            at = [tasks.index(task) for task in common]
            here = shares[:, [self._here.suite.tasks.index(task) for task in common]]
            there[:, at] = len(common) / len(tasks) * here / here.sum(axis=1, keepdims=True)
        return there


def common_knobs(one: Problem, other: Problem) -> list[str]:
    """Knobs that two studies both vary."""
    return [
        name for name in one.parameters if name in other.parameters and not name.startswith(MIXTURE_PREFIX)
    ]


def common_tasks(one: Problem, other: Problem) -> list[str]:
    """Tasks whose shares two studies both vary, each by task or by domain."""
    if not all(problem.space.mixture.parameters(problem.suite) for problem in (one, other)):
        return []
    return [task for task in one.suite.tasks if task in other.suite.tasks]


def _nearest(knob: Between | Choices, value: Any) -> Any:
    """The value of a knob that is nearest to one of another study."""
    if isinstance(knob, Between):
        near = knob.clipped(value)
        if not knob.whole:
            return float(near)
        return int(knob.low) + knob.stride * round((near - knob.low) / knob.stride)
    if value in knob.choices or isinstance(value, bool | str):
        return value if value in knob.choices else knob.choices[0]
    numbers = [choice for choice in knob.choices if not isinstance(choice, bool | str)]
    return min(numbers, key=lambda choice: abs(choice - value))


def by_cost(log_flops: np.ndarray) -> np.ndarray:
    """Columns of a quadratic in the logarithm of the cost, (points, 3)."""
    return np.column_stack((np.ones(len(log_flops)), log_flops, log_flops**2))
