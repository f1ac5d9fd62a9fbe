"""Optuna's distributions as a unit cube, many points at once: encoded, drawn at random, mutated and crossed.

A coordinate is the place of a value between the ends of its distribution, on a log scale where the
distribution has one. Values of a grid (whole numbers, steps, choices) have cells of their own, and a point
holds the centre of its cell; equal parameters are therefore equal points.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

CHANGED = (0.1, 0.6)  # range of the share of parameters that a mutant changes
STEP = 0.15  # standard deviation of a mutant's change of a number, as a share of its range
DEVIATION = 12**-0.5  # of a coordinate that is drawn uniformly


class _Axis:
    """The coordinate of one parameter.

    Attributes:
        cells: number of values of a grid of equal cells; 0 for other distributions.
        ordered: whether values have an order: numbers, and choices of rising or falling numbers.
        single: whether there is only one value.
    """

    def __init__(self, distribution: BaseDistribution) -> None:
        self._of = distribution
        self.single = distribution.single()
        self.ordered, self.cells = True, 0
        if isinstance(distribution, CategoricalDistribution):
            self.ordered, self.cells = _rising(distribution.choices), len(distribution.choices)
            return
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        low, high, step = distribution.low, distribution.high, distribution.step
        if distribution.log:
            margin = 0.5 if isinstance(distribution, IntDistribution) else 0.0
            self._ends = math.log(low - margin), math.log(high + margin)
        elif step is not None:
            self.cells = round((high - low) / step) + 1
        else:
            self._ends = low, high

    def place(self, value: Any) -> float:
        """Coordinate of a value; that of the nearest end for a number outside the range.

        Raises:
            ValueError: the value is not a choice of the distribution.
        """
        of = self._of
        if isinstance(of, CategoricalDistribution):
            return (of.to_internal_repr(value) + 0.5) / self.cells
        if self.single:
            return 0.5
        assert isinstance(of, FloatDistribution | IntDistribution)
        value = min(max(value, of.low), of.high)
        if self.cells:
            return (round((value - of.low) / (of.step or 1)) + 0.5) / self.cells
        low, high = self._ends
        return ((math.log(value) if of.log else value) - low) / (high - low)

    def value(self, place: float) -> Any:
        """Value at a coordinate."""
        of = self._of
        if isinstance(of, CategoricalDistribution):
            return of.choices[self._cell(place)]
        assert isinstance(of, FloatDistribution | IntDistribution)
        if self.single:
            return of.low
        if self.cells:
            return min(of.low + self._cell(place) * (of.step or 1), of.high)
        low, high = self._ends
        value = low + place * (high - low)
        value = math.exp(value) if of.log else value
        value = round(value) if isinstance(of, IntDistribution) else value
        return min(max(value, of.low), of.high)

    def snapped(self, places: np.ndarray) -> np.ndarray:
        """Coordinates moved to the centre of their cells, (points,)."""
        if self.single:
            return np.full_like(places, 0.5)
        if self.cells:
            return (np.minimum(np.floor(places * self.cells), self.cells - 1) + 0.5) / self.cells
        if isinstance(self._of, IntDistribution):
            low, high = self._ends
            whole = np.round(np.exp(low + places * (high - low)))
            return (np.log(np.clip(whole, self._of.low, self._of.high)) - low) / (high - low)
        return places

    def inputs(self, places: np.ndarray) -> np.ndarray:
        """Inputs of a Gaussian process, (points, inputs): one number, or an indicator of each choice."""
        if self.single:
            return np.empty((len(places), 0))
        if self.ordered:
            return (places[:, None] - 0.5) / DEVIATION
        return (np.floor(places * self.cells)[:, None] == np.arange(self.cells)).astype(float)

    def _cell(self, place: float) -> int:
        return min(int(place * self.cells), self.cells - 1)


class UnitSpace:
    """A search space as a unit cube.

    Args:
        distributions: name of a parameter -> its distribution.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self._axes = {name: _Axis(distribution) for name, distribution in distributions.items()}
        self._step = np.array(
            [max(STEP, 1 / axis.cells if axis.cells else 0) for axis in self._axes.values()]
        )
        self._ordered = np.array([axis.ordered for axis in self._axes.values()], dtype=bool)
        probe = np.full((1, len(self._axes)), 0.5)
        self._widths = [part.shape[1] for part in self._inputs(probe)]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the order of a point's coordinates."""
        return tuple(self._axes)

    @property
    def groups(self) -> np.ndarray:
        """Number of the parameter of each input of a Gaussian process, (inputs,), from 0 without gaps."""
        return np.unique(np.repeat(np.arange(len(self._widths)), self._widths), return_inverse=True)[1]

    def place(self, name: str, value: Any) -> float:
        """Coordinate of a value of a parameter.

        Raises:
            ValueError: the value is not a choice of the distribution.
        """
        axis = self._axes[name]
        return float(axis.snapped(np.array([axis.place(value)]))[0])

    def points(self, params: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Parameters as points, (points, parameters).

        Raises:
            ValueError: a value is not a choice of its distribution.
        """
        rows = [[axis.place(each[name]) for name, axis in self._axes.items()] for each in params]
        return self._snapped(np.array(rows, dtype=float).reshape(len(rows), len(self._axes)))

    def params(self, point: np.ndarray) -> dict[str, Any]:
        """Parameters of a point, (parameters,)."""
        return self.params_at(dict(zip(self._axes, point.tolist(), strict=True)))

    def params_at(self, places: Mapping[str, float]) -> dict[str, Any]:
        """Parameters at coordinates of some of them."""
        return {name: self._axes[name].value(place) for name, place in places.items()}

    def inputs(self, points: np.ndarray) -> np.ndarray:
        """Inputs of a Gaussian process, (points, inputs), of a scale of about 1."""
        return np.concatenate(self._inputs(points), axis=1)

    def random(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Points that are drawn uniformly, (count, parameters)."""
        return self._snapped(rng.random((count, len(self._axes))))

    def mutants(
        self, rng: np.random.Generator, parents: np.ndarray, count: int, size: float = 1.0
    ) -> np.ndarray:
        """Points near others, (count, parameters).

        Args:
            rng: random numbers.
            parents: (parents, parameters) points to begin from.
            count: of mutants.
            size: of the changes of numbers; 1 is a typical step of an evolutionary search.
        """
        points = parents[rng.integers(len(parents), size=count)]
        changed = rng.random(points.shape) < rng.uniform(*CHANGED, (count, 1))
        changed[np.arange(count), rng.integers(points.shape[1], size=count)] = True
        moved = points + rng.normal(0, 1, points.shape) * np.maximum(self._step * size, self._cells_wide)
        moved = 1 - np.abs(1 - np.abs(moved) % 2)  # reflected at both ends
        drawn = rng.random(points.shape)
        return self._snapped(np.where(changed, np.where(self._ordered, moved, drawn), points))

    def crossed(self, rng: np.random.Generator, parents: np.ndarray, count: int) -> np.ndarray:
        """Points that take each parameter from one of two others, (count, parameters)."""
        a, b = rng.integers(len(parents), size=(2, count))
        return np.where(rng.random((count, parents.shape[1])) < 0.5, parents[a], parents[b])

    @property
    def _cells_wide(self) -> np.ndarray:
        """Least step of each parameter, so that a small change reaches the next value of a grid."""
        return np.array([0.7 / axis.cells if axis.cells else 0.0 for axis in self._axes.values()])

    def _inputs(self, points: np.ndarray) -> list[np.ndarray]:
        return [axis.inputs(points[:, i]) for i, axis in enumerate(self._axes.values())]

    def _snapped(self, points: np.ndarray) -> np.ndarray:
        columns = [axis.snapped(points[:, i]) for i, axis in enumerate(self._axes.values())]
        return np.stack(columns, axis=1) if columns else points


def _rising(choices: Sequence[Any]) -> bool:
    """Whether choices are numbers in rising or falling order."""
    if any(isinstance(choice, bool) or not isinstance(choice, int | float) for choice in choices):
        return False
    return list(choices) in (sorted(choices), sorted(choices, reverse=True)) and len(choices) > 2
