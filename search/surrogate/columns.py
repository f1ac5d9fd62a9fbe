"""Candidates as numbers: the columns of the scaling law, and the inputs of the Gaussian process.

A knob that is not named here enters by its declaration alone: a number as its logarithm (of 1 + it where it
may be 0, or itself where it may be negative), a flag as 0 or 1, a word as an indicator of each further value.
Columns that a space does not vary are left out. Where mixtures are searched by domain, other domains have
columns instead of other tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.surrogate.law import Prior
from space.candidate import Architecture, CandidateConfig
from space.cost import Cost
from space.knob_index import KNOBS, is_of_architecture, kind
from space.knobs import Between, Choices
from space.ranges import MIXTURE_PREFIX, SearchSpace
from space.records import SuiteRecord
from space.scores import score_weights
from space.study import Rungs

SIZES = ("total", "active", "flops")  # logarithms of costs
SHAPES = ("depth", "width", "ratio", "experts", "top_k")  # logarithms of named knobs
NAMED = ("depth", "width", "expert_ratio", "experts", "top_k", "learning_rate")
LEAST_SHARE = 1e-4  # whose logarithm a column holds
MOST_SHARE = 4.0  # of a task or domain, over the uniform share and less 1, that helps or hurts another one
RUNG_SPREAD, SHARE_SPREAD = 0.2, 0.25  # between tasks
OTHER_SPREAD, OTHER_TASKS = 0.15, 8  # of the shares of other tasks or domains, at this number of them


@dataclass(frozen=True)
class Points:
    """Points of a search space, as numbers.

    Attributes:
        shapes: (points, knobs): `SIZES`, `SHAPES`, then the other knobs.
        log_rate: (points,) logarithm of the learning rate.
        shares: (points, tasks) mixture.
        log_costs: (points, costs) logarithms of the costs that are objectives of the study; None where no
            front is asked for.
        earlier: (points,) how far an earlier study expects their scores above those of others of their cost,
            the less the less sure it is; None for a study that begins without one.
    """

    shapes: np.ndarray
    log_rate: np.ndarray
    shares: np.ndarray
    log_costs: np.ndarray | None = None
    earlier: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def log_flops(self) -> np.ndarray:
        """Logarithm of the FLOPs per token, (points,)."""
        return self.shapes[:, SIZES.index("flops")]

    @property
    def sparse(self) -> np.ndarray:
        """Whether there are routed experts, (points,)."""
        return self.shapes[:, len(SIZES) + SHAPES.index("experts")] > 0

    def take(self, kept: np.ndarray) -> "Points":
        """Some of the points."""
        log_costs = None if self.log_costs is None else self.log_costs[kept]
        earlier = None if self.earlier is None else self.earlier[kept]
        return Points(self.shapes[kept], self.log_rate[kept], self.shares[kept], log_costs, earlier)

    @property
    def costs(self) -> np.ndarray:
        """Logarithms of the costs that are objectives, (points, costs)."""
        assert self.log_costs is not None, "points of a front have costs"
        return self.log_costs

    @staticmethod
    def joined(parts: Sequence["Points"]) -> "Points":
        """All points of several sets."""
        costs = [part.log_costs for part in parts if part.log_costs is not None]
        earlier = [part.earlier for part in parts if part.earlier is not None]
        return Points(
            np.concatenate([part.shapes for part in parts]),
            np.concatenate([part.log_rate for part in parts]),
            np.concatenate([part.shares for part in parts]),
            np.concatenate(costs) if len(costs) == len(parts) else None,
            np.concatenate(earlier) if len(earlier) == len(parts) else None,
        )


class Shapes:
    """Turns an architecture, and the training knobs but the learning rate, into numbers."""

    def __init__(self, space: SearchSpace) -> None:
        self.others: dict[str, Callable[[Any], list[float]]] = {}
        for name in KNOBS:
            knob = getattr(space, name)
            values = knob.values()
            if name not in NAMED and (values is None or len(values) > 1):
                self.others[name] = _encoding(name, knob)

    def row(self, candidate: CandidateConfig, cost: Cost) -> np.ndarray:
        """(knobs,) of one candidate."""
        arch: Architecture = candidate.architecture
        numbers = [cost.total_params, cost.active_params, cost.flops_per_token]
        numbers += [arch.depth, arch.width, arch.expert_width / arch.width, arch.experts, arch.top_k]
        other: list[float] = []
        for name, encode in self.others.items():
            other += encode(getattr(arch if is_of_architecture(name) else candidate, name))
        return np.concatenate((np.log(numbers), other))


def _encoding(name: str, knob: Between | Choices) -> Callable[[Any], list[float]]:
    """How the values of a knob are encoded."""
    if kind(name) == "word":
        assert isinstance(knob, Choices)
        further = knob.choices[1:]
        return lambda value: [float(value == word) for word in further]
    if kind(name) == "flag":
        return lambda value: [float(value)]
    least = min(map(float, knob.choices if isinstance(knob, Choices) else (knob.low, knob.high)))
    if least > 0:
        return lambda value: [float(np.log(value))]
    if least == 0:
        return lambda value: [float(np.log1p(value))]
    return lambda value: [float(value)]


@dataclass(frozen=True)
class _Column:
    """A column of the law: its prior mean and standard deviation, and the prior spread between tasks."""

    name: str
    mean: float
    std: float
    spread: float


class Encoder:
    """The columns of one study.

    Args:
        space: what is searched.
        suite: its tasks.
        rungs: its rungs.
        sample: points drawn from the space, by which columns are centred and scaled.
        per_task: whether each task has a law of its own; otherwise the score has one.
    """

    def __init__(
        self, space: SearchSpace, suite: SuiteRecord, rungs: Rungs, sample: Points, per_task: bool = True
    ) -> None:
        self.weights = _weights(suite)
        self.per_task = per_task
        self.rungs = len(rungs.tokens)
        tokens = np.log([rungs.with_decay(count) for count in rungs.tokens])
        self.log_tokens = tokens - tokens.mean()
        self._centre = sample.shapes.mean(axis=0)
        self._rate = float(np.mean(_ends(space)))
        self._mixed = bool(space.mixture.parameters(suite))
        self._groups = space.mixture.groups(suite)
        self._inverse = len(suite.tasks) / self._groups.sizes  # of the groups' uniform shares
        groups = np.arange(len(self._groups.names))
        self._others = np.array([groups[groups != own] for own in self._groups.of])  # (tasks, groups - 1)
        self._columns = self._law_columns(sample.shapes.shape[1])
        probe = self._all_shared(sample, np.arange(len(sample)) % self.rungs)
        kept = [i for i, c in enumerate(self._columns) if c.name == "1" or probe[:, i].std() > 1e-9]
        self._kept = np.array(kept)
        inputs = self._all_inputs(sample, np.arange(len(sample)) % self.rungs)
        self._scale = inputs.std(axis=0)
        self._inputs = np.flatnonzero(self._scale > 1e-9)
        kinds = self._kinds(sample.shapes.shape[1])[self._inputs]
        self.groups = np.unique(kinds, return_inverse=True)[1]
        self.prior = self._prior()

    @property
    def laws(self) -> int:
        """Number of laws: that of tasks, or one."""
        return len(self.weights) if self.per_task else 1

    def law(self, points: Points, rungs: np.ndarray) -> np.ndarray:
        """Columns of the law, (laws, points, columns), for points at rungs (points,)."""
        shared = self._all_shared(points, rungs)[:, self._kept]
        shared = np.broadcast_to(shared, (self.laws, *shared.shape))
        if not self._mixed:
            return np.ascontiguousarray(shared)
        tasks = len(self.weights)
        others = np.clip(self._groups.sums(points.shares) * self._inverse - 1, -1.0, MOST_SHARE)
        if not self.per_task:
            return np.concatenate((shared, others[None]), axis=2)
        own = np.log(np.maximum(points.shares * tasks, LEAST_SHARE))
        found = np.empty((tasks, len(points), shared.shape[2] + others.shape[1]))
        first = shared.shape[2]
        found[:, :, :first] = shared
        found[:, :, first] = own.T
        found[:, :, first + 1 :] = others.T[self._others].transpose(0, 2, 1)
        return found

    def by_share(self, points: Points, beta: np.ndarray) -> np.ndarray:
        """Derivative of each law's linear predictor by the shares.

        Args:
            points: where.
            beta: coefficients, (laws, columns), or of each point its own, (laws, points, columns).

        Returns:
            (laws, points, tasks).
        """
        tasks = len(self.weights)
        beta = beta[:, None] if beta.ndim == 2 else beta
        slopes = np.zeros((self.laws, len(points), tasks))
        if not self._mixed:
            return slopes
        free = self._groups.sums(points.shares) * self._inverse - 1 < MOST_SHARE
        first = len(self._kept)
        if not self.per_task:
            return ((beta[..., first:] * self._inverse) * free)[:, :, self._groups.of]
        of_groups = np.zeros((tasks, beta.shape[1], len(self._inverse)))
        np.put_along_axis(of_groups, self._others[:, None], beta[:, :, first + 1 :], axis=2)
        slopes[:] = (of_groups * self._inverse * free)[:, :, self._groups.of]
        own, least, each = points.shares.T, LEAST_SHARE / tasks, np.arange(tasks)
        slopes[each, :, each] = np.where(own > least, beta[:, :, first] / np.maximum(own, least), 0.0)
        return slopes

    def by_rate(self, points: Points, rungs: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """Derivative of each law's linear predictor by the logarithm of the learning rate, (laws, points)."""
        step = 1e-3
        up = Points(points.shapes, points.log_rate + step, points.shares)
        down = Points(points.shapes, points.log_rate - step, points.shares)
        change = self._all_shared(up, rungs) - self._all_shared(down, rungs)
        return beta[:, : len(self._kept)] @ (change[:, self._kept] / (2 * step)).T

    def inputs(self, points: Points, rungs: np.ndarray) -> np.ndarray:
        """Inputs of the Gaussian process, (points, inputs), of a standard deviation of about 1."""
        return (self._all_inputs(points, rungs) / np.where(self._scale > 1e-9, self._scale, 1))[
            :, self._inputs
        ]

    def share_columns(self) -> np.ndarray:
        """Which column of each task's law holds the share of a group of tasks, (tasks, groups).

        A group is a task, or a domain where the mixture is searched by domain; -1 for the task's own. Only
        where each task has a law, and the mixture varies.
        """
        tasks, groups = len(self.weights), len(self._groups.names)
        columns = np.full((tasks, groups), -1)
        for task in range(tasks):
            others = np.arange(groups) != self._groups.of[task]
            columns[task, others] = len(self._kept) + 1 + np.arange(groups - 1)
        return columns

    @property
    def mixed(self) -> bool:
        """Whether the mixture varies."""
        return self._mixed

    def score(self, fractions: np.ndarray) -> np.ndarray:
        """The score of fractions (..., laws, points): (..., points)."""
        if not self.per_task:
            return np.clip(fractions[..., 0, :], -1.0, 1.0)
        return np.einsum("t,...tn->...n", self.weights, np.clip(fractions, -1.0, 1.0))

    def _law_columns(self, knobs: int) -> list[_Column]:
        """The columns that all tasks share, in the order of `_all_shared`.

        What experts and size are worth has an offset at each rung, so that a rung that has seen no sparse
        candidate yet leaves open what it would score there.
        """
        other = [_Column(f"other {n}", 0.0, 0.12, 0.05) for n in range(knobs - len(SIZES) - len(SHAPES))]
        rungs = [_Column(f"rung {n}", 0.0, 0.15, RUNG_SPREAD) for n in range(self.rungs)]
        return [
            _Column("1", -0.2, 1.0, 0.8),
            _Column("total", -0.08, 0.12, 0.05),
            _Column("active", -0.08, 0.12, 0.05),
            _Column("rate", 0.0, 0.15, 0.1),
            _Column("rate^2", 0.12, 0.12, 0.05),
            _Column("rate width", 0.0, 0.2, 0.03),
            _Column("rate depth", 0.0, 0.15, 0.03),
            _Column("depth", 0.0, 0.12, 0.05),
            _Column("shape", 0.0, 0.1, 0.05),
            _Column("shape^2", 0.0, 0.05, 0.02),
            _Column("ratio", 0.0, 0.1, 0.05),
            _Column("ratio^2", 0.0, 0.05, 0.02),
            _Column("experts", 0.0, 0.1, 0.05),
            _Column("top_k", 0.0, 0.1, 0.05),
            *other,
            _Column("tokens", -0.35, 0.3, 0.25),
            _Column("tokens experts", 0.0, 0.12, 0.03),
            _Column("tokens active", 0.0, 0.08, 0.03),
            _Column("tokens rate", 0.0, 0.2, 0.03),
            *rungs,
            *(_Column(f"rung {n} experts", 0.0, 0.4, 0.05) for n in range(self.rungs)),
            *(_Column(f"rung {n} active", 0.0, 0.15, 0.03) for n in range(self.rungs)),
        ]

    def _all_shared(self, points: Points, rungs: np.ndarray) -> np.ndarray:
        shapes = points.shapes - self._centre
        total, active, _, depth, width, ratio, experts, top_k = shapes[:, : len(SIZES) + len(SHAPES)].T
        rate, tokens = points.log_rate - self._rate, self.log_tokens[rungs]
        ends = np.zeros((len(points), self.rungs))
        if self.rungs > 1:
            ends[np.arange(len(points)), rungs] = 1.0
        shape = (width - depth)[:, None]
        named = (total, active, rate, rate**2, rate * width, rate * depth, depth)
        named = np.column_stack((np.ones(len(points)), *named))
        forms = np.column_stack((shape, shape**2, ratio, ratio**2, experts, top_k))
        data = np.column_stack((tokens, tokens * experts, tokens * active, tokens * rate))
        other = shapes[:, len(SIZES) + len(SHAPES) :]
        crossed = ends * experts[:, None], ends * active[:, None]
        return np.concatenate((named, forms, other, data, ends, *crossed), axis=1)

    def _all_inputs(self, points: Points, rungs: np.ndarray) -> np.ndarray:
        mixture = np.sqrt(self._groups.sums(points.shares))
        tokens = self.log_tokens[rungs]
        return np.column_stack((points.shapes - self._centre, points.log_rate - self._rate, mixture, tokens))

    def _kinds(self, knobs: int) -> np.ndarray:
        """Group of each input: costs, shape, experts, other knobs, learning rate, mixture, tokens."""
        other = knobs - len(SIZES) - len(SHAPES)
        return np.array([0, 0, 0, 1, 1, 2, 2, 2, *[3] * other, 4, *[5] * len(self._groups.names), 6])

    def _prior(self) -> Prior:
        kept = [self._columns[i] for i in self._kept]
        pooled = list(range(len(kept)))
        if self._mixed:
            groups, own = len(self._groups.names), _Column("own share", -0.35, 0.3, SHARE_SPREAD)
            spread = OTHER_SPREAD * (OTHER_TASKS / groups) ** 0.5
            other = _Column("share of another task or domain", 0.0, 1e-3, spread)
            added = [own, *[other] * (groups - 1)] if self.per_task else [other] * groups
            pooled += [len(kept), *[len(kept) + 1] * (groups - 1)] if self.per_task else [-1] * groups
            kept += added
        return Prior(
            mean=np.array([column.mean for column in kept]),
            std=np.array([column.std for column in kept]),
            spread=np.array([column.spread for column in kept]),
            pooled=np.array(pooled) if self.per_task else np.full(len(kept), -1),
        )


def _weights(suite: SuiteRecord) -> np.ndarray:
    """Weight of each task in the score, (tasks,)."""
    weights = score_weights(suite)
    return np.array([weights[name] for name in suite.tasks])


def _ends(space: SearchSpace) -> list[float]:
    """Logarithms of the least and the largest learning rate."""
    knob = space.learning_rate
    values: Sequence[Any] = knob.choices if isinstance(knob, Choices) else (knob.low, knob.high)
    return [float(np.log(min(values))), float(np.log(max(values)))]


def shares_of(logits: np.ndarray, prior: np.ndarray, floor: float) -> np.ndarray:
    """Mixtures of log-ratios (points, tasks) to a prior (tasks,), as `TaskMixture.from_logits` makes them.

    Those of a domain's tasks are equal. A cap on repetition is not applied.
    """
    z = np.log(np.maximum(prior, 1e-9)) + logits
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return floor + (1 - logits.shape[1] * floor) * p / p.sum(axis=1, keepdims=True)


def logits_of(params: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> np.ndarray:
    """Log-ratios of the mixtures in parameters, (points, groups)."""
    names = [MIXTURE_PREFIX + group for group in groups]
    found = [[each.get(name, 0.0) for name in names] for each in params]
    return np.array(found, dtype=float).reshape(len(params), len(groups))
