"""The next candidate: suggested by the study's sampler, priced, and refused before it becomes a trial.

Proposals depend only on the seed and on what the ledger holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.choose.given import Given, next_start
from search.choose.next_trial import make_promotions
from search.choose.promote import most_believed
from search.choose.provenance import BELIEVED, CONTROL, FALLBACK, LENGTH, START, WAITS, Provenance
from search.choose.sampler import Feasible, Parameters, Problem, Suggestion
from search.choose.samplers import make_sampler, origin, suggesting
from search.choose.snapshot import Snapshot
from search.choose.stratified import Random, Stratified
from space.candidate import CandidateConfig
from space.cost import Cost
from space.description import describe
from space.errors import StudyFileError, one_line
from space.records import SuiteRecord
from space.study import StudyConfig


@dataclass(frozen=True)
class Proposal:
    """A feasible candidate that the study has not seen.

    Attributes:
        origin: "start" if the study file gives the candidate, "believed" if the study's belief chooses it,
            "control", or the sampler that suggested it, with the note of its suggestion; the sampler's name
            with " fallback" where the candidate was drawn because no suggestion could be used. The reason
            follows after "; "; see `search.choose.provenance`.
    """

    candidate: CandidateConfig
    params: dict[str, Any]
    cost: Cost
    origin: str

    @classmethod
    def of(cls, found: Feasible, origin: str) -> "Proposal":
        """A proposal of a feasible candidate."""
        return cls(found.candidate, found.params, found.cost, origin)

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
        self.suite = suite
        self._build(config)

    def _build(self, config: StudyConfig) -> None:
        self.config = config
        suite = self.suite
        self.problem = Problem.of(config, suite)
        self._believed = None
        if config.priors or config.warm is not None:
            from search.choose.belief import make_belief  # with scipy, which other studies may do without
            from search.choose.believed import Believed

            self.problem.belief = make_belief(config, self.problem)
            self._believed = Believed(self.problem, self.problem.belief, most_believed(config))
        self.parameters = self.problem.parameters
        self._starts = [Given(point, self.problem) for point in config.start]
        self.sampler = make_sampler(config.search, self.problem)
        self.promotions = make_promotions(config, self.problem)
        self.name = origin(config.search.sampler)
        self._draws_controls = getattr(self.sampler, "draws_controls", False)
        self._fallback, self._fallback_name = Stratified(self.problem), "stratified"
        if isinstance(self.sampler, Random | Stratified):
            self._fallback, self._fallback_name = self.sampler, config.search.sampler
        self._require_draws()

    def _keep_below(self, ceiling: int | None) -> None:
        """Propose no candidate that is forecast to need as much memory as one that ran out of it."""
        limits = self.config.limits
        if ceiling is not None and (limits.training_bytes is None or ceiling <= limits.training_bytes):
            limits = limits.model_copy(update={"training_bytes": ceiling - 1})
            self._build(self.config.model_copy(update={"limits": limits}))

    def _require_draws(self) -> None:
        """Check that the sampler draws a start at random, if the study has a belief that shapes it.

        Raises:
            StudyFileError: it does not.
        """
        if self.problem.belief is None or getattr(self.sampler, "uses_belief", False):
            return
        with suggesting(self.config.search):
            asks_at_once = self.sampler.suggest(Snapshot((), (), 0.0)) is not None
        if asks_at_once:
            key = "priors" if self.config.priors else "warm"
            raise StudyFileError(
                f"{key}: they shape the candidates that a sampler draws at random, and"
                f" '{self.config.search.sampler}' draws none; leave out {key}, or choose pathfront,"
                " stratified, random, tpe, nsga2 or gp"
            )

    def propose(self, view: Snapshot) -> Proposal | None:
        """The next candidate; None where no feasible one is left that the study has not seen.

        Raises:
            StudyFileError: the study's sampler raises an error, or suggests what is not in the space; or each
                candidate needs as much memory as one that ran out of it.
        """
        self._keep_below(view.memory_ceiling)
        given = next_start(self._starts, view, self.problem)
        if given is not None:
            return Proposal.of(given, Provenance(START, "given by the study file").origin)
        if self._believed is not None and self._believed.due(view):
            likely = next(self.problem.usable(self._believed.suggest(view), view), None)
            if likely is not None:
                return _believed(likely)
        control = bool(self.problem.next_control(view))
        source = self._control if control else Provenance(self._fallback_name)
        if self.sampler is not self._fallback and (not control or self._draws_controls):
            with suggesting(self.config.search):
                suggested = self.sampler.suggest(view)
                if suggested is None:
                    source = source._replace(reason=self._why_none(view))
                else:
                    looked_at = Counted(self._checked(suggested))
                    found = next(self.problem.usable(looked_at, view), None)
                    if found is not None:
                        return Proposal.of(found, source.origin if control else self._noted(found))
                    source = Provenance(self.name + FALLBACK, _unusable(looked_at.count))
        drawn = next(self.problem.usable(self._fallback.suggest(view), view), None)
        return None if drawn is None else Proposal.of(drawn, source.origin)

    def choose_among(self, view: Snapshot, pool: Sequence[Feasible]) -> Proposal | None:
        """One of listed candidates; None if the sampler suggests parameters only.

        Args:
            view: the study's candidates and trials.
            pool: candidates that the study has not seen, at least one.

        Raises:
            StudyFileError: the study's sampler raises an error, or returns what is not in the pool.
        """
        likely = self.believed_among(view, pool)
        if likely is not None:
            return likely
        choose = getattr(self.sampler, "choose_among", None)
        if choose is None:
            return None
        with suggesting(self.config.search):
            found = choose(view, pool)
            if found is None:
                return None
            if found.candidate.id not in {listed.candidate.id for listed in pool}:
                raise StudyFileError("choose_among returns one of the candidates that it gets")
        control = bool(self.problem.next_control(view))
        return Proposal.of(found, self._control.origin if control else self._noted(found))

    def believed_among(self, view: Snapshot, pool: Sequence[Feasible]) -> Proposal | None:
        """One of listed candidates that the study's belief chooses; None if it chooses none of them now."""
        if self._believed is None or not self._believed.due(view):
            return None
        likely = self._believed.choose_among(view, pool)
        return None if likely is None else _believed(likely)

    @property
    def _control(self) -> Provenance:
        """Of a candidate that tries a control mixture."""
        return Provenance(CONTROL, self.problem.control_note)

    def _noted(self, found: Feasible) -> str:
        """The origin of a suggestion: the sampler, and what it says of the suggestion."""
        return one_line(f"{self.name} {found.note}")[:LENGTH]

    def _why_none(self, view: Snapshot) -> str:
        """Why the sampler suggests nothing yet, in its own words if it has some."""
        waiting_for = getattr(self.sampler, "waiting_for", None)
        words = "" if waiting_for is None else one_line(str(waiting_for(view)))
        return f"{self.name}{WAITS}" + (f": {words}" if words else "")

    def _checked(self, suggested: Iterator[Parameters | Suggestion]) -> Iterator[Parameters | Suggestion]:
        """Suggestions; those of a user's sampler are checked first."""
        ships = type(self.sampler).__module__.startswith("search.")
        return suggested if ships else map(self.problem.checked, suggested)


class Counted(Iterator[Parameters | Suggestion]):
    """An iterator that counts what was drawn from it."""

    def __init__(self, drawn: Iterator[Parameters | Suggestion]) -> None:
        self._drawn = drawn
        self.count = 0

    def __next__(self) -> Parameters | Suggestion:
        """The next suggestion."""
        suggestion = next(self._drawn)
        self.count += 1
        return suggestion


def _unusable(count: int) -> str:
    """Why a sampler's suggestions did not become a candidate."""
    if not count:
        return "it suggested nothing"
    return f"no suggestion of {count:,} was new and within the limits"


def _believed(found: Feasible) -> Proposal:
    return Proposal.of(found, Provenance(BELIEVED, found.note).origin)
