"""Pairs of points that differ in one knob, in the mixture, or in one task's share alone.

The other value is drawn as the space draws it, among those that can be built with the rest of the point and
are within the limits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from search.choose.pool import RATE, Pool, PoolSpace
from search.choose.sampler import Problem
from space.knob_index import kind
from space.knobs import Between, Choices
from space.ranges import MIXTURE_PREFIX

TRIES = 8  # draws of another value of a knob, until the point stays as it is
MIXTURE = "mixture"

Of = Literal["knob", "mixture", "task"]


@dataclass(frozen=True)
class Changed:
    """The points of a design, with one thing drawn again.

    Attributes:
        name: of the knob or task; "mixture" for all shares.
        of: what it is.
        pool: the changed points.
        before: (points,) values of the knob, or the task's shares; None for the mixture.
        after: the same, changed.
    """

    name: str
    of: Of
    pool: Pool
    before: np.ndarray | None = None
    after: np.ndarray | None = None


class Design:
    """Random points of a space, and for each thing that varies the same points with it drawn again.

    Args:
        problem: the study's space and limits.
        space: the same in numbers.
        count: of points, drawn evenly over bins of cost.
        seed: of the draws.
    """

    def __init__(self, problem: Problem, space: PoolSpace, count: int, seed: int = 0) -> None:
        self.problem, self.space = problem, space
        self._rng = np.random.default_rng(seed)
        self.pool = space.random(self._rng, count, 0.0)
        self._params = [space.params(self.pool, index) for index in range(count)]

    def changes(self) -> Iterator[Changed]:
        """Each knob, then the mixture, then each task, or each domain where the mixture is searched so."""
        for name, knob in self.problem.parameters.items():
            if name == RATE:
                yield self._rate(knob)
            elif not name.startswith(MIXTURE_PREFIX):
                yield self._knob(name, knob)
        if self.space.mixed:
            drawn = self.space.random(self._rng, len(self.pool), 0.0).logits
            yield Changed(MIXTURE, "mixture", replace(self.pool, logits=drawn))
            groups = self.problem.shares.groups
            for number, name in enumerate(groups.names):
                logits = self.pool.logits.copy()
                logits[:, number] = drawn[:, number]
                pool = replace(self.pool, logits=logits)
                shares = self.space.points(self.pool).shares, self.space.points(pool).shares
                yield Changed(name, "task", pool, *(groups.sums(of)[:, number] for of in shares))

    def _rate(self, knob: Between | Choices) -> Changed:
        drawn = np.log([float(knob.sample(self._rng)) for _ in range(len(self.pool))])
        pool = replace(self.pool, log_rate=drawn)
        return Changed(RATE, "knob", pool, np.exp(self.pool.log_rate), np.exp(drawn))

    def _knob(self, name: str, knob: Between | Choices) -> Changed:
        shapes, after = self.pool.shape.copy(), [params[name] for params in self._params]
        for index, params in enumerate(self._params):
            for _ in range(TRIES):
                other = {**params, name: knob.sample(self._rng)}
                number = self.space.number_of(other)
                if number is None:  # perhaps other values of ranges fit
                    other = self.problem.space.snapped(other)
                    alone = all(other[key] == params[key] for key in params if key != name)
                    number = self.space.number_of(other) if alone else None
                if number is not None:
                    shapes[index], after[index] = number, other[name]
                    break
        before: list[Any] = [params[name] for params in self._params]
        kept = object if kind(name) in ("word", "flag") else float
        pool = replace(self.pool, shape=shapes)
        return Changed(name, "knob", pool, np.array(before, dtype=kept), np.array(after, dtype=kept))
