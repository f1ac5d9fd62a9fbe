"""Samplers that draw candidates at random: over the whole space, or stratified by cost.

The stratified sampler is the default. It spreads training compute evenly over cells, a cell being dense or
sparse and a bin of the logarithm of FLOPs per token: the next candidate comes from the cell on which least
compute was spent. Cheap and expensive, dense and sparse candidates are therefore all tried early.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import numpy as np

from search.choose.sampler import Feasible, Problem
from search.choose.snapshot import Snapshot
from space.errors import StudyFileError

COST_BINS = 8  # bins of log FLOPs per token
POOL = 128  # feasible draws among which a cell is chosen
DENSE_EVERY = 3  # one candidate in so many is dense, where the space holds dense and sparse ones

Cell = tuple[bool, int]  # whether the candidate is sparse, bin of its cost


class Random:
    """Draws parameters independently and uniformly, or log-uniformly; or by the study's belief.

    Args:
        problem: the study's space, tasks, limits and seed.
    """

    uses_belief = True

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def suggest(self, view: Snapshot) -> Iterator[dict[str, Any]]:
        """Random parameters without end."""
        return self._problem.draws(self._problem.rng(view), view)


class Stratified:
    """Draws from the cell of cost on which least was spent.

    Args:
        problem: the study's space, tasks, limits and seed.
        by: what counts as spent: training "flops", or "candidates", for as many candidates in each cell.
        dense_every: one candidate in so many is dense, where the space holds dense and sparse ones.

    Raises:
        StudyFileError: an argument has another value.
    """

    uses_belief = True

    def __init__(
        self, problem: Problem, by: Literal["flops", "candidates"] = "flops", dense_every: int = DENSE_EVERY
    ) -> None:
        if by not in ("flops", "candidates"):
            raise StudyFileError(f"by is flops or candidates, got {by!r}")
        if isinstance(dense_every, bool) or not isinstance(dense_every, int) or dense_every < 1:
            raise StudyFileError(f"dense_every is a whole number of at least 1, got {dense_every!r}")
        self._problem = problem
        self._by = by
        self._dense_every = dense_every
        self._cells: dict[tuple[bool, float], Cell] = {}

    def suggest(self, view: Snapshot) -> Iterator[dict[str, Any]]:
        """Parameters of one candidate; none if no feasible one is left that the study has not seen."""
        rng = self._problem.rng(view)
        drawn = self._problem.usable(self._problem.draws(rng, view), view)
        chosen = self.choose(list(islice(drawn, POOL)), view, rng)
        if chosen is not None:
            yield chosen.params

    def choose_among(self, view: Snapshot, pool: Sequence[Feasible]) -> Feasible:
        """The next candidate where only those of a pool can be tried."""
        rng = self._problem.rng(view)
        shuffled = [pool[number] for number in rng.permutation(len(pool))]
        found = self.choose(shuffled, view, rng)
        assert found is not None, "the pool is not empty"
        return found

    def choose(self, pool: Sequence[Feasible], view: Snapshot, rng: np.random.Generator) -> Feasible | None:
        """The first of a pool in the cell on which least was spent; ties are broken by `rng`."""
        dense = view.own % self._dense_every == 0
        pool = [found for found in pool if found.candidate.architecture.sparse != dense] or pool
        cell_of = [self.cell(f.candidate.architecture.sparse, f.cost.flops_per_token) for f in pool]
        cells = sorted(set(cell_of))
        if not cells:
            return None
        spent = self.spent(view)
        ties = dict(zip(cells, rng.permutation(len(cells)).tolist(), strict=True))
        emptiest = min(cells, key=lambda cell: (spent[cell], ties[cell]))
        return pool[cell_of.index(emptiest)]

    def spent(self, view: Snapshot) -> dict[Cell, float]:
        """Cell -> training FLOPs, spent and planned, or number of candidates; 0 for any other cell.

        Candidates that the study's belief chose do not count: what they cost says nothing of the others.
        """
        own = [c for c in view.candidates if c.id not in view.believed]
        cells = {c.id: self.cell(c.sparse, c.flops_per_token) for c in own}
        spent: dict[Cell, float] = defaultdict(float)
        if self._by == "candidates":
            for cell in cells.values():
                spent[cell] += 1
        else:
            for trial in view.trials:
                if trial.candidate in cells:
                    spent[cells[trial.candidate]] += trial.training_flops
        return spent

    def cell(self, sparse: bool, flops_per_token: float) -> Cell:
        """The cell that a candidate belongs to."""
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
