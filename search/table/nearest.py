"""Search among the rows of a table, each of which is tried once.

A sampler that can compare listed candidates chooses one of those that are left. What another one suggests
becomes the nearest of them.

Distances are Euclidean over the parameters of the space, each scaled to a range of 1: numbers by their place
between the least and the largest, the learning rate by its logarithm, listed numbers by their place in the
list, words by whether they differ. The mixture counts as one parameter, by the Hellinger distance.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from search.choose.propose import Proposal, Proposer
from search.choose.provenance import CONTROL, provenance
from search.choose.sampler import Feasible
from search.choose.snapshot import Snapshot
from search.choose.stratified import Random
from search.table.records import Table
from space.candidate import CandidateConfig
from space.cost import price
from space.knobs import Between, Choices
from space.ranges import MIXTURE_PREFIX
from space.study import StudyConfig

RATE = "learning_rate"


def feasible_rows(table: Table) -> list[Feasible]:
    """The candidates of a table, in its order."""
    suite = table.header.suite
    return [Feasible(r.config, dict(r.params), price(r.config.architecture, suite)) for r in table.rows]


class Rows:
    """Proposes candidates of a table.

    The sampler sees the candidates of the table that it has tried. `random` draws them by their weights.
    While a study tries control mixtures, samplers choose among the candidates that have them. What the study
    lists as its `start` is left out: it need not be in the table.

    Args:
        table: the table.
        config: the study that is played; its space is the table's.
    """

    def __init__(self, table: Table, config: StudyConfig) -> None:
        self.table = table
        self._proposer = Proposer(config.model_copy(update={"start": []}), table.header.suite)
        self._problem = self._proposer.problem
        self._ranges = {n: k for n, k in self._problem.parameters.items() if not n.startswith(MIXTURE_PREFIX)}
        self._places = np.array([self._place(row.params) for row in table.rows])
        self._roots = np.array([self._root(row.config) for row in table.rows])
        self._rows = feasible_rows(table)

    def propose(self, view: Snapshot) -> Proposal | None:
        """The next candidate; None if all candidates of the table are used."""
        used = {candidate.id for candidate in view.candidates}
        left = np.array([n for n, row in enumerate(self.table.rows) if row.candidate not in used], dtype=int)
        if not len(left):
            return None
        if isinstance(self._proposer.sampler, Random):
            return self._row(self._drawn(left, view), "random")
        likely = self._proposer.believed_among(view, [self._rows[n] for n in left])  # before the controls
        if likely is not None:
            return likely
        pool = [self._rows[n] for n in self._due(left, view)]
        chosen = self._proposer.choose_among(view, pool)
        if chosen is not None:
            return chosen
        wanted = self._proposer.propose(view)
        if wanted is None:
            return None
        return self._row(self._nearest(left, wanted), wanted.origin)

    def _due(self, left: np.ndarray, view: Snapshot) -> np.ndarray:
        """Rows that may be next: those of a control mixture while a study tries these, if some are left."""
        if not self._problem.next_control(view):
            return left
        controls = [n for n in left if provenance(self.table.rows[n].origin).rule == CONTROL]
        return np.array(controls or left, dtype=int)

    def _drawn(self, left: np.ndarray, view: Snapshot) -> int:
        """A row by its weight; of a control mixture while a study tries these."""
        rng = self._problem.rng(view)
        due = self._due(left, view)
        if len(due) < len(left):
            return int(rng.choice(due))
        weights = self.table.weights[left]
        if weights.sum() <= 0:
            return int(rng.choice(left))
        return int(rng.choice(left, p=weights / weights.sum()))

    def _nearest(self, left: np.ndarray, wanted: Proposal) -> int:
        squares = np.sum((self._places[left] - self._place(wanted.params)) ** 2, axis=1)
        mixture = np.sum((self._roots[left] - self._root(wanted.candidate)) ** 2, axis=1) / 2
        words = [name for name, knob in self._ranges.items() if _is_words(knob)]
        for name in words:
            squares += [self.table.rows[n].params[name] != wanted.params[name] for n in left]
        return int(left[np.argmin(squares + mixture)])

    def _row(self, number: int, origin: str) -> Proposal:
        return Proposal.of(self._rows[number], origin)

    def _place(self, params: Mapping[str, Any]) -> list[float]:
        return [_scaled(n, k, params[n]) for n, k in self._ranges.items() if not _is_words(k)]

    def _root(self, candidate: CandidateConfig) -> np.ndarray:
        return np.sqrt([candidate.mixture.weights.get(task, 0.0) for task in self.table.tasks])


def _is_words(knob: Between | Choices) -> bool:
    return isinstance(knob, Choices) and any(isinstance(value, str) for value in knob.choices)


def _scaled(name: str, knob: Between | Choices, value: Any) -> float:
    """The place of a number in its range, from 0 to 1."""
    if isinstance(knob, Choices):
        ordered = sorted(knob.choices)  # type: ignore[type-var]
        return ordered.index(value) / max(1, len(ordered) - 1)
    low, high = float(knob.low), float(knob.high)
    if high == low:
        return 0.0
    if (knob.log or name == RATE) and low > 0:
        low, high, value = np.log(low), np.log(high), np.log(value)
    return float((value - low) / (high - low))
