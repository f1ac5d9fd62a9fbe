"""A cheap start for any sampler: the first candidates come from bins of cost, weighted by one over the FLOPs.

It is the largest lever that does not depend on a model, so peers get it too.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from search.choose.sampler import Feasible, Parameters, Problem, Suggestion
from search.choose.samplers import make_sampler
from search.choose.snapshot import Snapshot
from space.study import Search

START = 16  # candidates
BINS = 8  # of log FLOPs per token
DRAWN = 128  # feasible draws that a candidate is chosen from


class CheapDraws:
    """Draws of candidates that are cheap more often than not.

    Args:
        problem: the study's space, tasks, limits and seed.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        priced = problem.space.feasible(problem.suite, problem.limits)
        ends = np.log([priced[i][1].flops_per_token for i in (0, -1)])
        self._edges = np.linspace(*ends, BINS + 1)[1:-1]

    def cells(self, flops: np.ndarray) -> np.ndarray:
        """Bin of cost of each number of FLOPs per token. Shape (candidates,)."""
        return np.searchsorted(self._edges, np.log(flops), side="right")

    def suggest(self, view: Snapshot) -> Iterator[dict[str, Any]]:
        """One new candidate; none where no feasible one is left."""
        rng = self._problem.rng(view)
        drawn = list(islice(self._problem.usable(self._problem.draws(rng, view), view), DRAWN))
        if drawn:
            yield self._chosen(rng, drawn).params

    def choose_among(self, view: Snapshot, pool: Sequence[Feasible]) -> Feasible:
        """The next candidate where only those of a pool can be tried."""
        rng = self._problem.rng(view)
        return self._chosen(rng, [pool[number] for number in rng.permutation(len(pool))])

    def _chosen(self, rng: np.random.Generator, drawn: Sequence[Feasible]) -> Feasible:
        """The first candidate of a bin of cost that is drawn."""
        flops = np.array([found.cost.flops_per_token for found in drawn])
        bins: dict[int, list[Feasible]] = {}
        for found, cell in zip(drawn, self.cells(flops).tolist(), strict=True):
            bins.setdefault(cell, []).append(found)
        cells = sorted(bins)
        weights = np.array([1 / np.mean([f.cost.flops_per_token for f in bins[cell]]) for cell in cells])
        return bins[int(rng.choice(cells, p=weights / weights.sum()))][0]


class CheapStart:
    """Another sampler with a cheap start.

    Args:
        problem: the study's space, tasks, limits and seed.
        sampler: the other sampler, as a study file names it.
        start: candidates before it is asked.
        arguments: its `sampler_args`.
    """

    def __init__(self, problem: Problem, sampler: str, start: int = START, **arguments: Any) -> None:
        self._start, self._draws = start, CheapDraws(problem)
        search = Search(sampler=sampler, sampler_args=arguments, seed=problem.seed)
        self._sampler = make_sampler(search, problem)

    def suggest(self, view: Snapshot) -> Iterator[Parameters | Suggestion]:
        """Cheap draws at first, and while the sampler has too few results; then its suggestions."""
        later = self._sampler.suggest(view) if len(view.candidates) >= self._start else None
        return iter(self._draws.suggest(view) if later is None else later)

    def choose_among(self, view: Snapshot, pool: Sequence[Feasible]) -> Feasible | None:
        """A cheap draw of a pool at first; then what the sampler chooses, None if it only suggests."""
        if len(view.candidates) < self._start or self._sampler.suggest(view) is None:
            return self._draws.choose_among(view, pool)
        choose = getattr(self._sampler, "choose_among", None)
        return None if choose is None else choose(view, pool)
