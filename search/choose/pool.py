"""Points of a search space in numbers, many at once: drawn at random, mutated, crossed, and moved.

A point is a shape (the knobs but learning rate and mixture), a learning rate and a mixture. Only shapes
decide costs and feasibility, so each is built and priced once.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from search.choose.sampler import Parameters, Problem
from search.surrogate.columns import SIZES, Points, Shapes, logits_of, shares_of
from space.candidate import CandidateConfig
from space.knobs import Between, Choices
from space.mixture import capped, capped_slopes
from space.ranges import MIXTURE_PREFIX

RATE = "learning_rate"
FLOPS = "flops_per_token"
SHAPES = 1_000  # feasible shapes that are drawn at first, at most
DRAWS = 4_000  # to find them
COST_BINS = 8  # of the logarithm of FLOPs per token
MARGIN, LEAST_MARGIN = 0.1, 0.05  # of the range of log FLOPs, and in log FLOPs
REMEMBERED = 50_000  # shapes whose numbers are remembered, with those that cannot be built

Key = tuple[Any, ...]  # values of the knobs of a shape


@dataclass(frozen=True)
class Pool:
    """Points with all that their parameters need.

    Attributes:
        shape: (points,) number of the shape.
        log_rate: (points,).
        logits: (points, groups) log-ratios of the mixture to its prior, of tasks or of domains.
    """

    shape: np.ndarray
    log_rate: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, kept: np.ndarray) -> "Pool":
        """Some of the points."""
        return Pool(self.shape[kept], self.log_rate[kept], self.logits[kept])

    @staticmethod
    def joined(pools: Sequence["Pool"]) -> "Pool":
        """All points of several pools."""
        return Pool(
            np.concatenate([pool.shape for pool in pools]),
            np.concatenate([pool.log_rate for pool in pools]),
            np.concatenate([pool.logits for pool in pools]),
        )


class PoolSpace:
    """A study's space, for pools of points.

    Args:
        problem: the study's space, tasks, limits and seed.
        earlier: space and pool -> what an earlier study expects of the pool's points, (points,), as in
            `Points.earlier`; None without one.
    """

    def __init__(
        self, problem: Problem, earlier: "Callable[[PoolSpace, Pool], np.ndarray] | None" = None
    ) -> None:
        self._problem = problem
        self._earlier = earlier
        space, suite = problem.space, problem.suite
        self._shares, self.groups = problem.shares, problem.shares.groups.names
        self.mixed = bool(space.mixture.parameters(suite))
        self.spread = space.mixture.spread if self.mixed else 0.0
        self._prior = np.array([problem.shares.prior[task] for task in suite.tasks])
        self._knobs = {
            name: knob
            for name, knob in problem.parameters.items()
            if name != RATE and not name.startswith(MIXTURE_PREFIX)
        }
        self._rate = space.learning_rate
        self._encode = Shapes(space)
        self._numbers: dict[Key, int | None] = {}
        self._keys: list[Key] = []
        self._rows: list[np.ndarray] = []
        self._log_costs: list[list[float]] = []
        self.drawn = self._draw_shapes()
        self._first = len(self._keys)
        drawn = self.own_points(self._of_shapes(self.drawn))
        log_flops = drawn.log_flops
        self.edges = np.linspace(log_flops.min(), log_flops.max(), COST_BINS + 1)
        bins = self.bin_of(log_flops)
        self._bins = [self.drawn[bins == number] for number in range(COST_BINS)]
        self.least_flops, self.most_flops = float(np.exp(log_flops.min())), float(np.exp(log_flops.max()))
        self._ends = drawn.costs.min(axis=0), drawn.costs.max(axis=0)

    @property
    def names(self) -> tuple[str, ...]:
        """The knobs of a shape."""
        return tuple(self._knobs)

    def key(self, number: int) -> Key:
        """Values of the knobs of a shape."""
        return self._keys[number]

    def row(self, number: int) -> np.ndarray:
        """Numbers of a shape, as `Points.shapes` holds them."""
        return self._rows[number]

    @property
    def bins(self) -> list[int]:
        """Numbers of the bins of cost that hold shapes, from the cheapest on."""
        return [number for number, shapes in enumerate(self._bins) if len(shapes)]

    def fresh(self) -> "PoolSpace":
        """This space; without the shapes that were met since it was made, if they are very many."""
        if len(self._numbers) <= REMEMBERED:
            return self
        other = copy.copy(self)  # pools of this one stay valid
        other._keys, other._rows = self._keys[: self._first], self._rows[: self._first]
        other._log_costs = self._log_costs[: self._first]
        other._numbers = {key: number for number, key in enumerate(other._keys)}
        return other

    @property
    def most_log_cost(self) -> float:
        """Logarithm of the FLOPs per token somewhat beyond the dearest shape."""
        span = np.log(self.most_flops / self.least_flops)
        return float(np.log(self.most_flops) + max(MARGIN * span, LEAST_MARGIN))

    @property
    def most_log_costs(self) -> np.ndarray:
        """Where the volume under a front ends, (costs,): somewhat beyond the dearest shape in each cost."""
        least, most = self._ends
        ends = most + np.maximum(MARGIN * (most - least), LEAST_MARGIN)
        costs = self._problem.objectives.costs
        return np.array(
            [self.most_log_cost if name == FLOPS else end for name, end in zip(costs, ends, strict=True)]
        )

    def compute(self, points: Points) -> np.ndarray:
        """What points are compared by: FLOPs per token, and those of the cheapest candidate, (points,)."""
        return np.exp(points.log_flops) + self.least_flops

    def bin_of(self, log_flops: np.ndarray) -> np.ndarray:
        """Bin of cost of each value, from 0."""
        return np.clip(np.searchsorted(self.edges[1:-1], log_flops, side="right"), 0, COST_BINS - 1)

    def number_of(self, params: Parameters) -> int | None:
        """Number of the shape of parameters; None if it cannot be built or exceeds a limit."""
        key = tuple(map(params.get, self._knobs))
        if key not in self._numbers:
            self._numbers[key] = self._price(key)
        return self._numbers[key]

    def encode(self, params: Sequence[Parameters]) -> tuple[Pool, np.ndarray]:
        """Known candidates as a pool, and the indices of those that the space still holds."""
        numbers = [self.number_of(p) for p in params]
        kept = [i for i, number in enumerate(numbers) if number is not None]
        fixed = self._fixed_rate
        rates = np.array([params[i].get(RATE, fixed) for i in kept], dtype=float)
        shapes = np.array([numbers[i] for i in kept], dtype=int)
        logits = logits_of([params[i] for i in kept], self.groups)
        return Pool(shapes, np.log(rates), logits), np.array(kept, dtype=int)

    def points(self, pool: Pool) -> Points:
        """The points of a pool as numbers, with what an earlier study expects of them."""
        points = self.own_points(pool)
        return points if self._earlier is None else replace(points, earlier=self._earlier(self, pool))

    def own_points(self, pool: Pool) -> Points:
        """The points of a pool as numbers, without an earlier study."""
        rows = np.array([self._rows[number] for number in pool.shape]).reshape(-1, len(self._rows[0]))
        shares = self._uncapped(pool)
        if self._shares.caps is not None:
            shares = capped(shares, self._shares.caps)
        costs = self._problem.objectives.costs
        log_costs = np.array([self._log_costs[number] for number in pool.shape]).reshape(-1, len(costs))
        return Points(rows, self._nearest(pool.log_rate), shares, log_costs)

    def params(self, pool: Pool, index: int) -> dict[str, Any]:
        """Parameters of one point."""
        params = dict(zip(self._knobs, self._keys[pool.shape[index]], strict=True))
        if RATE in self._problem.parameters:
            params[RATE] = self._rate_near(float(np.exp(pool.log_rate[index])))
        if self.mixed:
            for group, logit in zip(self.groups, pool.logits[index], strict=True):
                params[MIXTURE_PREFIX + group] = float(np.clip(logit, -self.spread, self.spread))
        return params

    def random(self, rng: np.random.Generator, count: int, power: float) -> Pool:
        """Points whose bins of cost are drawn with a probability proportional to FLOPs to a power.

        Args:
            rng: random numbers.
            count: of points.
            power: of the FLOPs at the centre of a bin.
        """
        bins = self._drawn_bins(rng, self.bins, count, power)
        shapes = np.array([self._bins[number][rng.integers(len(self._bins[number]))] for number in bins])
        return Pool(shapes, self._random_rates(rng, count), self._random_logits(rng, count))

    def chosen(
        self, rng: np.random.Generator, pool: Pool, count: int, power: float, weights: np.ndarray
    ) -> np.ndarray:
        """Indices of points of a pool, some more than once, whose bins of cost are drawn as in `random`.

        Args:
            rng: random numbers.
            pool: the points.
            count: of those that are drawn.
            power: of the FLOPs at the centre of a bin.
            weights: (points,) of the points of a bin.
        """
        of = self.bin_of(self.own_points(pool).log_flops)
        bins = self._drawn_bins(rng, np.unique(of).tolist(), count, power)
        return np.array(
            [rng.choice(np.flatnonzero(of == one), p=_normal(weights[of == one])) for one in bins]
        )

    def _drawn_bins(
        self, rng: np.random.Generator, full: Sequence[int], count: int, power: float
    ) -> np.ndarray:
        """Bins of cost, drawn with a probability proportional to FLOPs to a power."""
        centres = (self.edges[:-1] + self.edges[1:])[list(full)] / 2
        weights = np.exp(power * (centres - centres.max()))
        return rng.choice(full, size=count, p=weights / weights.sum())

    def mutants(self, rng: np.random.Generator, parents: Pool, count: int, size: float = 1.0) -> Pool:
        """Points near others.

        Args:
            rng: random numbers.
            parents: points to begin from.
            count: of mutants; those that cannot be built are left out.
            size: of the changes; 1 is a typical step of an evolutionary search.
        """
        chosen = rng.integers(len(parents), size=count)
        rates, logits = parents.log_rate[chosen], parents.logits[chosen]
        low, high = self.rate_ends
        moved = rng.random(count) < 0.6
        rates = np.where(moved, rates + rng.normal(0, 0.25 * size, count) * (high - low) / 2, rates)
        changed = rng.random(logits.shape) < rng.uniform(0.1, 0.6, (count, 1))
        logits = np.clip(
            logits + changed * rng.normal(0, 0.5 * size * max(self.spread, 1e-9), logits.shape),
            -self.spread,
            self.spread,
        )
        shapes = np.array([self._mutated(rng, int(parents.shape[i])) for i in chosen])
        pool = Pool(shapes, np.clip(rates, low, high), logits)
        return pool.take(np.flatnonzero(shapes >= 0))

    def crossed(self, rng: np.random.Generator, parents: Pool, count: int) -> Pool:
        """Points that take each part from one of two others."""
        a, b = rng.integers(len(parents), size=(2, count))
        shapes = np.array(
            [
                self._crossed(rng, int(parents.shape[i]), int(parents.shape[j]))
                for i, j in zip(a, b, strict=True)
            ]
        )
        share = rng.random((count, 1))
        logits = share * parents.logits[a] + (1 - share) * parents.logits[b]
        rates = np.where(rng.random(count) < 0.5, parents.log_rate[a], parents.log_rate[b])
        return Pool(shapes, rates, logits).take(np.flatnonzero(shapes >= 0))

    @property
    def rate_ends(self) -> tuple[float, float]:
        """Logarithms of the least and the largest learning rate."""
        knob: Any = self._rate
        values = knob.choices if isinstance(knob, Choices) else (knob.low, knob.high)
        return float(np.log(min(values))), float(np.log(max(values)))

    @property
    def _fixed_rate(self) -> float:
        return float(np.exp(self.rate_ends[0]))

    def clipped(self, pool: Pool) -> Pool:
        """A pool with learning rates and log-ratios within their ranges."""
        logits = np.clip(pool.logits, -self.spread, self.spread)
        return Pool(pool.shape, np.clip(pool.log_rate, *self.rate_ends), logits)

    def share_slopes(self, pool: Pool, by_share: np.ndarray) -> np.ndarray:
        """Turn derivatives by shares (points, tasks) into derivatives by log-ratios (points, groups)."""
        floor, shares = self._shares.floor, self._uncapped(pool)
        if self._shares.caps is not None:
            by_share = capped_slopes(shares, self._shares.caps, by_share)
        free = 1 - shares.shape[1] * floor
        p = (shares - floor) / max(free, 1e-9)
        return self._shares.groups.sums(free * p * (by_share - (p * by_share).sum(axis=1, keepdims=True)))

    def _uncapped(self, pool: Pool) -> np.ndarray:
        """Shares before the cap on repetition, (points, tasks)."""
        return shares_of(self._shares.groups.to_tasks(pool.logits), self._prior, self._shares.floor)

    def _nearest(self, log_rates: np.ndarray) -> np.ndarray:
        """The nearest learning rates of a list; the given ones for a range."""
        if not isinstance(self._rate, Choices):
            return log_rates
        listed = np.log([float(value) for value in self._rate.choices])
        return listed[np.abs(log_rates[:, None] - listed).argmin(axis=1)]

    def _rate_near(self, rate: float) -> Any:
        knob: Any = self._rate
        if isinstance(knob, Choices):
            return min(knob.choices, key=lambda value: abs(np.log(float(value) / rate)))
        return float(knob.clipped(rate))

    def _random_rates(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.log([float(self._rate.sample(rng)) for _ in range(count)])  # type: ignore[arg-type]

    def _random_logits(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(-self.spread, self.spread, (count, len(self.groups)))

    def _mutated(self, rng: np.random.Generator, number: int) -> int:
        """A shape that differs in a few knobs, or the same; -1 if it cannot be built."""
        if not self._knobs or rng.random() < 0.3:
            return number
        params = dict(zip(self._knobs, self._keys[number], strict=True))
        names = list(self._knobs)
        for i in rng.choice(len(names), size=min(len(names), int(rng.integers(1, 4))), replace=False):
            params[names[i]] = _neighbour(rng, self._knobs[names[i]], params[names[i]])
        return self._found(params)

    def _crossed(self, rng: np.random.Generator, a: int, b: int) -> int:
        pick = rng.random(len(self._knobs)) < 0.5
        values = [x if first else y for x, y, first in zip(self._keys[a], self._keys[b], pick, strict=True)]
        return self._found(dict(zip(self._knobs, values, strict=True)))

    def _found(self, params: dict[str, Any]) -> int:
        number = self.number_of(self._problem.space.snapped(params))
        return -1 if number is None else number

    def _price(self, key: Key) -> int | None:
        params = dict(zip(self._knobs, key, strict=True))
        if RATE in self._problem.parameters:
            params[RATE] = self._fixed_rate
        found = self._problem.feasible(params)
        if found is None:
            return None
        candidate: CandidateConfig = found.candidate
        self._keys.append(key)
        self._rows.append(self._encode.row(candidate, found.cost))
        costs = zip(self._problem.objectives.costs, self._problem.costs(candidate, found.cost), strict=True)
        own = self._rows[-1][SIZES.index("flops")]  # by the same arithmetic as the models' column
        self._log_costs.append([own if name == FLOPS else math.log(cost) for name, cost in costs])
        return len(self._keys) - 1

    def _draw_shapes(self) -> np.ndarray:
        """Numbers of random shapes of the space, each as often as it was drawn."""
        rng = np.random.default_rng([self._problem.seed, 1])
        drawn = islice(self._problem.plain_draws(rng), DRAWS)
        feasible = (number for number in map(self.number_of, drawn) if number is not None)
        return np.fromiter(islice(feasible, SHAPES), dtype=int)

    def _of_shapes(self, shapes: np.ndarray) -> Pool:
        """Shapes with the lowest learning rate and the prior."""
        rates = np.full(len(shapes), self.rate_ends[0])
        return Pool(shapes, rates, np.zeros((len(shapes), len(self.groups))))


def _normal(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


def _neighbour(rng: np.random.Generator, knob: Between | Choices, value: Any) -> Any:
    """Another value of a knob: one near by more often than any."""
    if rng.random() < 0.3 or (isinstance(knob, Choices) and value not in knob.choices):
        return knob.sample(rng)
    if isinstance(knob, Choices):
        words = any(isinstance(v, bool | str) for v in knob.choices)
        values = list(knob.choices) if words else sorted(knob.choices)  # type: ignore[type-var]
        place = values.index(value) + (1 if rng.random() < 0.5 else -1)
        return values[min(max(place, 0), len(values) - 1)]
    size = rng.normal(0, 0.15)
    moved = value * (knob.high / knob.low) ** size if knob.log else value + size * (knob.high - knob.low)
    if not knob.whole:
        return float(knob.clipped(moved))
    steps = np.sign(size) * max(1, round(abs(moved - value) / knob.stride))
    return int(knob.clipped(value + steps * knob.stride))
