"""An oracle of a table: it knows all scores, and suggests the rows that add most to the front for their cost.

It shows what the best possible sampler reaches where only the rows of a table can be tried.
"""

from collections.abc import Iterator

import numpy as np

from search.choose.sampler import Feasible, Parameters, Problem
from search.choose.snapshot import Snapshot
from search.planning.reach import LEAST, Judge
from search.planning.simulate import executed_flops_per_token
from search.table.files import read_table
from search.table.nearest import feasible_rows
from search.table.surfaces import RowsSurface


class RowOracle:
    """A sampler that knows the scores of the table that it is played on.

    Args:
        problem: the table's space, tasks and limits.
        table: its file, or the name of one that ships.
    """

    def __init__(self, problem: Problem, table: str = "quick") -> None:
        known = read_table(table)
        rows, surface = feasible_rows(known), RowsSurface(known)
        truths = [surface.truth(row.candidate, row.cost) for row in rows]
        found = [row for row, truth in zip(rows, truths, strict=True) if truth is not None]
        least = float(np.quantile([truth for truth in truths if truth is not None], LEAST))
        self._order = _greedy(found, Judge(problem, surface, least), problem)

    def suggest(self, view: Snapshot) -> Iterator[Parameters]:
        """Rows that are unused, best first."""
        used = {candidate.id for candidate in view.candidates}
        return (one.params for one in self._order if one.candidate.id not in used)


def _greedy(found: list[Feasible], judge: Judge, problem: Problem) -> list[Feasible]:
    """Candidates in the order in which each adds most hypervolume for its FLOPs, then those that add none."""
    left, chosen, value = list(found), [], 0.0
    while left:
        gains = [
            (judge.value([*chosen, one]) - value)
            / executed_flops_per_token(one.cost, one.candidate.optimizer, problem.suite)
            for one in left
        ]
        if max(gains) <= 0:
            break
        chosen.append(left.pop(int(np.argmax(gains))))
        value = judge.value(chosen)
    return chosen + left
