"""Which candidate to try next: drawn by a sampler, priced for free, and refused before it becomes a trial.

The default spreads candidates over the logarithm of their cost: the cell with least training compute so far
is served next, so that cheap and dear, dense and sparse candidates are all seen early. Proposals follow from
the seed and from what the ledger holds, and from nothing else.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from search.choose.snapshot import Candidate, Snapshot
from space.candidate import CandidateConfig
from space.cost import Cost, price
from space.description import describe
from space.records import SuiteRecord
from space.study import StudyConfig

COST_BINS = 8  # bins of log FLOPs per token over which proposals are spread
POOL = 128  # feasible draws among which a cell is chosen
DRAWS = 5_000  # at most, until the space counts as exhausted
STARTUP = 10  # candidates before a model-based sampler takes over
DENSE_EVERY = 3  # one dense candidate in so many, where the space holds both
CONTROLS = 2  # first candidates with a control mixture: one dense, one sparse
FALLBACK = " fallback"  # ends the origin of a candidate for which a model-based sampler had nothing to use


def fell_back(origin: str) -> bool:
    """Whether a candidate was drawn because its study's sampler suggested nothing that could be used."""
    return origin.endswith(FALLBACK)


@dataclass(frozen=True)
class Proposal:
    """A feasible candidate that the study has not seen.

    Attributes:
        origin: "control", "stratified", "random" or the model-based sampler that suggested it; such a
            sampler's name with " fallback" where it was drawn instead.
    """

    candidate: CandidateConfig
    params: dict[str, Any]
    cost: Cost
    origin: str

    def row(self, ordinal: int, distributions: Mapping[str, str]) -> dict[str, Any]:
        """The candidate's row of `pf_candidates`, without study and time.

        Args:
            ordinal: candidates before it.
            distributions: parameter -> Optuna's distribution as JSON.
        """
        costs = ("flops_per_token", "active_params", "total_params", "training_bytes")
        return {
            "candidate": self.candidate.id,
            "ordinal": ordinal,
            "config": self.candidate.model_dump(mode="json"),
            "params": self.params,
            "distributions": dict(distributions),
            "origin": self.origin,
            "description": describe(self.candidate).model_dump(mode="json"),
            **{name: getattr(self.cost, name) for name in costs},
        }


class Proposer:
    """Proposes candidates for one study.

    Args:
        config: the study.
        suite: its tasks.
    """

    def __init__(self, config: StudyConfig, suite: SuiteRecord) -> None:
        self.config = config
        self.suite = suite
        self.parameters = config.space.parameters(suite)
        self._today: dict[str, str] = {}

    def propose(self, view: Snapshot) -> Proposal | None:
        """The next candidate; None where no feasible one is left that the study has not seen."""
        sampler, fallback = self.config.search.sampler, False
        if sampler not in ("stratified", "random") and len(view.candidates) >= STARTUP:
            from search.choose.samplers import has_model, suggestions

            fallback = has_model(sampler, view)
            if fallback:
                asked = self._feasible(suggestions(self.config, self.suite, view), view, sampler)
                found = next(asked, None)
                if found is not None:
                    return found  # else its model insists on what is seen or infeasible: draw
        rng = np.random.default_rng([self.config.search.seed, len(view.candidates)])
        control = self._control(len(view.candidates))
        drawn = self._feasible(
            self._draws(rng, control), view, "control" if control else "random", limit=DRAWS
        )
        if sampler == "random":
            return next(drawn, None)
        found = self._from_emptiest_cell(drawn, view, rng, bool(control))
        return replace(found, origin=sampler + FALLBACK) if found and fallback else found

    def _control(self, ordinal: int) -> dict[str, float]:
        """Mixture parameters of the control that a candidate tries; empty if it tries none."""
        controls = self.config.space.controls(self.suite)
        return controls[ordinal // CONTROLS] if ordinal < CONTROLS * len(controls) else {}

    def _draws(self, rng: np.random.Generator, control: dict[str, float]) -> Iterator[dict[str, Any]]:
        while True:
            yield {**self.config.space.sample(self.suite, rng), **control}

    def _feasible(
        self, draws: Iterator[dict[str, Any]], view: Snapshot, origin: str, limit: int = DRAWS
    ) -> Iterator[Proposal]:
        """Of the first draws, those that are candidates, within the limits and new."""
        seen = {name for candidate in view.candidates for name in (candidate.id, self._canonical(candidate))}
        for _, params in zip(range(limit), draws, strict=False):
            candidate = self.config.space.candidate(params, self.suite)
            if candidate is None or candidate.id in seen:
                continue
            cost = price(candidate.architecture, self.suite)
            if self.config.limits.broken(cost) is None:
                seen.add(candidate.id)
                yield Proposal(candidate, params, cost, origin)

    def _canonical(self, known: Candidate) -> str:
        """The id that a known candidate would have if it were proposed today."""
        if known.id not in self._today:
            candidate = self.config.space.candidate(known.params, self.suite)
            self._today[known.id] = known.id if candidate is None else candidate.id
        return self._today[known.id]

    def _from_emptiest_cell(
        self, drawn: Iterator[Proposal], view: Snapshot, rng: np.random.Generator, control: bool
    ) -> Proposal | None:
        """Of a pool, the first in the cell (dense or sparse, bin of cost) with the least spent on it."""
        pool = [proposal for _, proposal in zip(range(POOL), drawn, strict=False)]
        dense = len(view.candidates) % DENSE_EVERY == 0
        pool = [p for p in pool if p.candidate.architecture.sparse != dense] or pool
        spent = self._spent(view)
        cells = sorted({self._cell(p.candidate.architecture.sparse, p.cost.flops_per_token) for p in pool})
        if not cells:
            return None
        chance = dict(zip(cells, rng.permutation(len(cells)).tolist(), strict=True))
        emptiest = min(cells, key=lambda cell: (spent[cell], chance[cell]))
        chosen = next(
            p for p in pool if self._cell(p.candidate.architecture.sparse, p.cost.flops_per_token) == emptiest
        )
        return replace(chosen, origin="control" if control else "stratified")

    def _spent(self, view: Snapshot) -> dict[tuple[bool, int], float]:
        """Cell -> training FLOPs, spent and planned."""
        cells = {c.id: self._cell(c.sparse, c.flops_per_token) for c in view.candidates}
        spent: dict[tuple[bool, int], float] = defaultdict(float)
        for trial in view.trials:
            spent[cells[trial.candidate]] += trial.training_flops
        return spent

    def _cell(self, sparse: bool, flops_per_token: float) -> tuple[bool, int]:
        return sparse, int(np.searchsorted(self._edges, np.log(flops_per_token), side="right"))

    @cached_property
    def _edges(self) -> np.ndarray:
        """Inner edges of the bins of log FLOPs per token, over what the space and its limits admit."""
        priced = self.config.space.feasible(self.suite, self.config.limits)
        low, high = (np.log(priced[i][1].flops_per_token) for i in (0, -1))
        return np.linspace(low, high, COST_BINS + 1)[1:-1]
