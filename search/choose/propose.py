"""The next candidate: suggested by the study's sampler, priced, and refused before it becomes a trial.

Proposals depend only on the seed and on what the ledger holds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from search.choose.orders import make_order
from search.choose.sampler import Feasible, Parameters, Problem, Suggestion
from search.choose.samplers import make_sampler, origin, suggesting
from search.choose.snapshot import Snapshot
from search.choose.stratified import Random, Stratified
from space.candidate import CandidateConfig
from space.cost import Cost
from space.description import describe
from space.records import SuiteRecord
from space.study import StudyConfig

ORIGIN_LENGTH = 200  # characters in the database
FALLBACK = " fallback"  # ends the origin of a candidate that was drawn because no suggestion could be used


@dataclass(frozen=True)
class Proposal:
    """A feasible candidate that the study has not seen.

    Attributes:
        origin: "control", or the sampler that suggested it, with the note of its suggestion; the sampler's
            name with " fallback" where the candidate was drawn because no suggestion could be used.
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

    Raises:
        StudyFileError: the study's sampler or its order of promotion cannot be made.
    """

    def __init__(self, config: StudyConfig, suite: SuiteRecord) -> None:
        self.config = config
        self.suite = suite
        self.problem = Problem(config.space, suite, config.limits, config.search.seed, config.rungs)
        self.parameters = self.problem.parameters
        self.sampler = make_sampler(config.search, self.problem)
        self.order = make_order(config.search, self.problem)
        self._fallback, self._fallback_origin = Stratified(self.problem), "stratified"
        if isinstance(self.sampler, Random | Stratified):
            self._fallback, self._fallback_origin = self.sampler, config.search.sampler

    def propose(self, view: Snapshot) -> Proposal | None:
        """The next candidate; None where no feasible one is left that the study has not seen.

        Raises:
            StudyFileError: the study's sampler raises an error, or suggests what is not in the space.
        """
        control = self.problem.control(len(view.candidates))
        source = "control" if control else self._fallback_origin
        if self.sampler is not self._fallback and not control:
            found, asked = self._suggested(view)
            if found is not None:
                return _proposal(found, _noted(origin(self.config.search.sampler), found.note))
            if asked:
                source = origin(self.config.search.sampler) + FALLBACK
        drawn = next(self.problem.usable(self._fallback.suggest(view), view), None)
        return None if drawn is None else _proposal(drawn, source)

    def _suggested(self, view: Snapshot) -> tuple[Feasible | None, bool]:
        """The first usable suggestion of the study's sampler, and whether it suggested anything at all."""
        with suggesting(self.config.search):
            suggested = self.sampler.suggest(view)
            if suggested is None:
                return None, False
            return next(self.problem.usable(self._checked(suggested), view), None), True

    def _checked(self, suggested: Iterator[Parameters | Suggestion]) -> Iterator[Parameters | Suggestion]:
        """Suggestions; those of a user's sampler are checked first."""
        ships = type(self.sampler).__module__.startswith("search.")
        return suggested if ships else map(self.problem.checked, suggested)


def _noted(name: str, note: str) -> str:
    """An origin with the note of a suggestion, cut to what the column of origins holds."""
    return f"{name} {note}"[:ORIGIN_LENGTH] if note else name


def _proposal(found: Feasible, source: str) -> Proposal:
    return Proposal(found.candidate, found.params, found.cost, source)
