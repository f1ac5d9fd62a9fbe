"""An oracle: it knows every score without noise, and proposes the candidates that add most to the front.

It shows what the best possible proposals reach; evaluation noise and promotion are those of all methods.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from search.choose.propose import Proposal
from search.choose.sampler import Feasible
from search.choose.snapshot import Snapshot
from search.pareto import pareto
from search.planning.reach import Judge, prepare

DRAWN = 2_000  # random candidates
ROUNDS, BRED = 6, 300  # of improvement, and mutants of the front in each


class Oracle:
    """Makes proposals for one surface.

    Args:
        judge: knows the scores.
        seed: of the candidates that are looked at.
    """

    def __init__(self, judge: Judge, seed: int) -> None:
        self._judge, self._rng = judge, np.random.default_rng([seed, 7])
        best = self._front(judge.random(self._rng, DRAWN))
        for _ in range(ROUNDS):
            best = self._front([*best, *self._mutants(best)])
        self._order = self._greedy(best)

    def propose(self, view: Snapshot) -> Proposal | None:
        """The next of the best candidates; then random ones."""
        problem = self._judge.problem
        suggested: Iterator[Any] = iter([found.params for found in self._order])
        found = next(problem.usable(suggested, view), None)
        found = found or next(problem.usable(problem.draws(problem.rng(view), view), view), None)
        return None if found is None else Proposal(found.candidate, found.params, found.cost, "oracle")

    def _front(self, found: list[Feasible]) -> list[Feasible]:
        prepare(self._judge.surface, found)
        known = [(f, score) for f in found if (score := self._judge.truth(f)) is not None]
        return [known[i][0] for i in pareto([(score, f.cost.flops_per_token) for f, score in known])]

    def _mutants(self, best: list[Feasible]) -> list[Feasible]:
        problem, found = self._judge.problem, []
        for _ in range(BRED):
            params = dict(best[self._rng.integers(len(best))].params)
            fresh = problem.space.sample(problem.suite, self._rng)
            for name in self._rng.choice(sorted(params), size=int(self._rng.integers(1, 3))):
                params[name] = fresh[name]
            priced = problem.feasible(problem.space.snapped(params))
            if priced is not None:
                found.append(priced)
        return found

    def _greedy(self, best: list[Feasible]) -> list[Feasible]:
        """Candidates of the front, each time the one that adds most."""
        left, order = list(best), []
        while left:
            gains = [self._judge.value([*order, found]) for found in left]
            order.append(left.pop(int(np.argmax(gains))))
        return order
