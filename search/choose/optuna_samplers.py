"""Optuna's samplers, run on an in-memory study that holds one finished trial for each candidate.

They never see the study in SQL, where a candidate has one trial for each rung. A candidate enters with its
corrected score (`search.choose.outcomes`). Choices of numbers are shown to a sampler as their rank, so that
it knows their order. A sampler of a single objective uses only the score.
"""

import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import numpy as np
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from search.choose.outcomes import outcomes
from search.choose.sampler import Problem
from search.choose.snapshot import Candidate, Snapshot
from space.errors import StudyFileError
from space.knobs import Between, Choices
from space.ranges import is_of_architecture

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

FIRST = 10  # candidates before a sampler that learns from scores is asked
NEIGHBOURS = 60  # of a suggestion that are tried before the sampler is asked again
CHANGES = 3  # knobs of the architecture in which a neighbour differs at most
POPULATION = 10
SPARE_ASKS = 400  # of a sampler that does not learn, beyond one for each known candidate
SEEDS = 2**32  # that numpy's RandomState takes

Knobs = Mapping[str, Between | Choices]  # name of a parameter of the space -> its values
Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Use:
    """How a class of Optuna's is used.

    Attributes:
        defaults: arguments where the study file gives none.
        needs: argument that sets the minimum number of scored candidates; None if it does not learn.
        asks: how often it is asked for one proposal.
        replays: whether it learns only from trials that it suggested.
        one_sequence: whether all proposals come from one sequence of points, so that its seed is constant.
        finite: whether it needs a finite number of values of each parameter.
    """

    defaults: dict[str, Any] = field(default_factory=dict)
    needs: str | None = None
    asks: int = 20
    replays: bool = False
    one_sequence: bool = False
    finite: bool = False


QUIET = {"warn_independent_sampling": False}  # categories are drawn independently, as studies/README.md says
USES = {
    "TPESampler": Use({"multivariate": True, "n_startup_trials": 5}, needs="n_startup_trials"),
    "GPSampler": Use({"n_startup_trials": 5}, needs="n_startup_trials", asks=3),
    "NSGAIISampler": Use({"population_size": POPULATION}, needs="population_size", replays=True),
    "NSGAIIISampler": Use({"population_size": POPULATION}, needs="population_size", replays=True),
    "CmaEsSampler": Use({"n_startup_trials": 1, **QUIET}, needs="n_startup_trials", replays=True),
    "QMCSampler": Use(QUIET, one_sequence=True),
    "BruteForceSampler": Use(finite=True),
}
REFUSED = {
    "GridSampler": "the grid of a study is its `space`; list the choices there and name"
    " optuna.samplers.BruteForceSampler",
    "PartialFixedSampler": "parameters are fixed in `space` (depth: 2); fix them there and name the sampler",
}


class OptunaSampler:
    """A sampler of Optuna's as a sampler of ours.

    Args:
        problem: the study's space, tasks, limits and seed.
        kind: its class.
        arguments: of its class; a seed is passed where it takes one.

    Raises:
        StudyFileError: it cannot search this space.
    """

    def __init__(
        self,
        problem: Problem,
        kind: "type[BaseSampler]",
        arguments: Mapping[str, Any],
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._use = next((USES[base.__name__] for base in kind.__mro__ if base.__name__ in USES), Use())
        endless = [name for name, knob in problem.parameters.items() if knob.values() is None]
        if self._use.finite and endless:
            raise StudyFileError(
                f"search.sampler: {kind.__name__} tries every combination of values, and '{endless[0]}' has"
                " infinitely many; list its choices, or fix it"
            )
        _check_types(kind, arguments)
        self._problem = problem
        self._kind = kind
        accepted = inspect.signature(kind).parameters
        self._seeded = "seed" in accepted
        self._arguments = {k: v for k, v in self._use.defaults.items() if k in accepted} | dict(arguments)
        self._space = {name: _encoded(knob) for name, knob in problem.parameters.items()}
        self._make(0)  # its constructor checks the arguments

    def suggest(self, view: Snapshot) -> Iterator[dict[str, Any]] | None:
        """Suggest by the sampler's model; None while it has too few scores."""
        return None if self.waiting_for(view) else self._suggestions(view)

    def waiting_for(self, view: Snapshot) -> str:
        """What the sampler's model has too few of; empty once it has enough."""
        if self._use.needs is None:
            return ""
        if len(view.candidates) < FIRST:
            return f"{len(view.candidates)} of {FIRST} candidates"
        scored = sum(outcome.score is not None for outcome in outcomes(view))
        needed = self._arguments[self._use.needs]
        return f"{scored} of {needed} scores" if scored < needed else ""

    def _suggestions(self, view: Snapshot) -> Iterator[dict[str, Any]]:
        """Ask the sampler; follow each answer of a model by its neighbours.

        A suggestion of a Gaussian process takes about a second. Its neighbours differ in one to three knobs
        of the architecture; the first of them that can be used is as good as another answer.
        """
        import optuna

        count = len(view.candidates)
        seed = self._problem.seed if self._use.one_sequence else self._problem.seed * 1_000_003 + count
        with _experiments_allowed():
            study = optuna.create_study(directions=self._directions, sampler=self._make(seed % SEEDS))
            self._fill(study, view)
        rng = np.random.default_rng(seed % SEEDS)
        learns = self._use.needs is not None
        for _ in range(self._use.asks if learns else count + SPARE_ASKS):
            trial = self._ask(study)
            asked = self._decoded(trial.params)
            yield self._problem.space.snapped(asked)
            if self._problem.hardly_feasible:
                yield self._problem.lowered(self._problem.space.snapped(asked), rng)
            if not learns:
                continue  # the trial stays RUNNING, so that the next suggestion differs
            for changed in _neighbours(asked, self._problem.parameters, rng):
                yield self._problem.space.snapped(changed)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def _ask(self, study: "Study") -> "Trial":
        with _experiments_allowed():
            return study.ask(self._space)

    def _make(self, seed: int) -> "BaseSampler":
        with _experiments_allowed():
            return self._kind(**self._arguments, **({"seed": seed} if self._seeded else {}))

    @cached_property
    def _directions(self) -> Sequence[Direction]:
        """All objectives; the score alone where the sampler refuses several."""
        import optuna
        from optuna.trial import create_trial

        space = {"x": optuna.distributions.IntDistribution(0, 3)}
        directions: Any = self._problem.objectives.directions
        study = optuna.create_study(directions=directions, sampler=self._make(0))
        for x in (0, 1):
            study.add_trial(
                create_trial(params={"x": x}, distributions=dict(space), values=[x] * len(directions))
            )
        try:
            study.ask(dict(space))
        except ValueError as error:
            if "multi-objective" not in str(error):
                raise
            return directions[:1]
        return directions

    def _fill(self, study: "Study", view: Snapshot) -> None:
        """Add every candidate; a failed one as the worst score, one that is still training as RUNNING."""
        from optuna.trial import TrialState, create_trial

        found = outcomes(view)
        worst = min((o.score for o in found if o.score is not None), default=0.0)
        for candidate, outcome in zip(view.candidates, found, strict=True):
            params = self._encoded_params(candidate)
            score = worst if outcome.state == "failed" else outcome.score
            values = None if score is None else [score, *outcome.costs][: len(study.directions)]
            if not self._use.replays:
                state = TrialState.RUNNING if values is None else TrialState.COMPLETE
                space = dict(self._space)
                study.add_trial(create_trial(state=state, params=params, distributions=space, values=values))
            elif values is not None:
                study.enqueue_trial(params)
                with _experiments_allowed():
                    trial = study.ask(self._space)
                    # Optuna 5 samples when this property is read, and by that the trial enters a generation;
                    # without it an evolutionary sampler stays in its first generation and draws at random.
                    assert trial.relative_params is not None
                study.tell(trial, values)

    def _encoded_params(self, candidate: Candidate) -> dict[str, Any]:
        return {
            name: _ranks(knob).index(candidate.params[name]) if _ranks(knob) else candidate.params[name]
            for name, knob in self._problem.parameters.items()
        }

    def _decoded(self, params: Mapping[str, Any]) -> dict[str, Any]:
        ranks = {name: _ranks(knob) for name, knob in self._problem.parameters.items()}
        return {name: ranks[name][value] if ranks[name] else value for name, value in params.items()}


def _check_types(kind: type, arguments: Mapping[str, Any]) -> None:
    """Check arguments against the types that a constructor of Optuna's states; a user's may be meant loosely.

    Raises:
        StudyFileError: one has another type.
    """
    if not kind.__module__.startswith("optuna."):
        return
    for name, value in arguments.items():
        try:
            any_class = ConfigDict(arbitrary_types_allowed=True)
            TypeAdapter(_stated_type(kind, name), config=any_class).validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Input ")
            raise StudyFileError(f"search.sampler_args: '{name}' {reason}, got {value!r}") from None
        except (NameError, PydanticUserError):  # a name for type checkers only; a type that has no check
            continue


def _stated_type(kind: type, name: str) -> Any:
    """The type of an argument of a class; Any where it states none.

    Raises:
        NameError: it is written with a name that exists for type checkers only.
    """
    parameter = inspect.signature(kind).parameters.get(name)
    if parameter is None or parameter.annotation is parameter.empty:
        return Any
    stated = type(name, (), {"__annotations__": {name: parameter.annotation}})
    return get_type_hints(stated, vars(sys.modules[kind.__module__]))[name]


def refuse(kind: type) -> None:
    """Reject Optuna's samplers that define their own search space.

    Raises:
        StudyFileError: it is one of them; the message says what to write instead.
    """
    for base in kind.__mro__:
        if base.__name__ in REFUSED:
            raise StudyFileError(f"search.sampler: {REFUSED[base.__name__]}, got '{kind.__name__}'")


def distributions(parameters: Knobs) -> dict[str, str]:
    """Parameters as a study in SQL shows them, the values themselves: parameter -> distribution as JSON."""
    from optuna.distributions import CategoricalDistribution, distribution_to_json

    return {
        name: distribution_to_json(
            _number(knob) if isinstance(knob, Between) else CategoricalDistribution(knob.choices)
        )
        for name, knob in parameters.items()
    }


def _neighbours(
    asked: Mapping[str, Any], parameters: Knobs, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Parameters that differ in a few knobs of the architecture, the nearest first."""
    knobs = [name for name in parameters if is_of_architecture(name)]
    for number in range(NEIGHBOURS if knobs else 0):
        count = min(len(knobs), 1 + CHANGES * number // NEIGHBOURS)
        drawn = rng.choice(len(knobs), size=count, replace=False)
        yield {**asked, **{knobs[i]: parameters[knobs[i]].sample(rng) for i in drawn}}


def _experiments_allowed() -> "warnings.catch_warnings[None]":
    """A block without Optuna's warnings that a class is experimental: the user chose it in the study file."""
    from optuna.exceptions import ExperimentalWarning

    return warnings.catch_warnings(action="ignore", category=ExperimentalWarning)


def _encoded(knob: Between | Choices) -> "BaseDistribution":
    """A parameter as a sampler sees it."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(knob, Between):
        return _number(knob)
    ranks = _ranks(knob)
    return IntDistribution(0, len(ranks) - 1) if ranks else CategoricalDistribution(knob.choices)


def _ranks(knob: Between | Choices) -> list[int | float]:
    """Choices of numbers in rising order; empty for anything else."""
    if isinstance(knob, Between):
        return []
    numbers = [choice for choice in knob.choices if not isinstance(choice, bool | str)]
    return sorted(numbers) if len(numbers) == len(knob.choices) else []


def _number(knob: Between) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    if knob.whole:
        return IntDistribution(int(knob.low), int(knob.high), log=knob.log, step=knob.stride)
    return FloatDistribution(float(knob.low), float(knob.high), log=knob.log)
