"""Samplers that draw candidates at random: over the whole space, or stratified by cost.

The stratified sampler is the default. It spreads training compute evenly over cells, a cell being dense or
sparse and a bin of the logarithm of FLOPs per token: the next candidate comes from the cell on which least
compute was spent. Cheap and expensive, dense and sparse candidates are therefore all tried early.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from search.choose.sampler import Feasible, Problem
from search.choose.snapshot import Snapshot

COST_BINS = 8  # bins of log FLOPs per token
POOL = 128  # feasible draws among which a cell is chosen
DENSE_EVERY = 3  # one candidate in so many is dense, where the space holds dense and sparse ones

Cell = tuple[bool, int]  # whether the candidate is sparse, bin of its cost


class Random:
    """Draws parameters independently and uniformly, or log-uniformly.

    Args:
        problem: the study's space, tasks, limits and seed.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def suggest(self, view: Snapshot) -> Iterator[dict[str, Any]]:
        """Random parameters without end."""
        return self._problem.draws(self._problem.rng(view), view)


class Stratified:
    """Draws from the cell of cost on which least training compute was spent.

    Args:
        problem: the study's space, tasks, limits and seed.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._cells: dict[tuple[bool, float], Cell] = {}

    def suggest(self, view: Snapshot) -> Iterator[dict[str, Any]]:
        """Parameters of one candidate; none if no feasible one is left that the study has not seen."""
        rng = self._problem.rng(view)
        drawn = self._problem.usable(self._problem.draws(rng, view), view)
        chosen = self.choose(list(islice(drawn, POOL)), view, rng)
        if chosen is not None:
            yield chosen.params

    def choose(self, pool: Sequence[Feasible], view: Snapshot, rng: np.random.Generator) -> Feasible | None:
        """The first of a pool in the cell with the least training FLOPs; ties are broken by `rng`."""
        dense = len(view.candidates) % DENSE_EVERY == 0
        pool = [found for found in pool if found.candidate.architecture.sparse != dense] or pool
        cell_of = [self._cell(f.candidate.architecture.sparse, f.cost.flops_per_token) for f in pool]
        cells = sorted(set(cell_of))
        if not cells:
            return None
        spent = self.spent(view)
        ties = dict(zip(cells, rng.permutation(len(cells)).tolist(), strict=True))
        emptiest = min(cells, key=lambda cell: (spent[cell], ties[cell]))
        return pool[cell_of.index(emptiest)]

    def spent(self, view: Snapshot) -> dict[Cell, float]:
        """Cell -> training FLOPs, spent and planned; 0 for any other cell."""
        cells = {c.id: self._cell(c.sparse, c.flops_per_token) for c in view.candidates}
        spent: dict[Cell, float] = defaultdict(float)
        for trial in view.trials:
            spent[cells[trial.candidate]] += trial.training_flops
        return spent

    def _cell(self, sparse: bool, flops_per_token: float) -> Cell:
        key = sparse, flops_per_token
        if key not in self._cells:
            bin_of_cost = int(np.searchsorted(self._edges, np.log(flops_per_token), side="right"))
            self._cells[key] = sparse, bin_of_cost
        return self._cells[key]

    @cached_property
    def _edges(self) -> np.ndarray:
        """Inner edges of the bins of log FLOPs per token, over the architectures within the limits."""
        priced = self._problem.space.feasible(self._problem.suite, self._problem.limits)
        low, high = (np.log(priced[i][1].flops_per_token) for i in (0, -1))
        return np.linspace(low, high, COST_BINS + 1)[1:-1]
