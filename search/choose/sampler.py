"""The protocol of samplers, and what a sampler may know of its study.

A sampler is made once for each worker, as `Class(problem, **sampler_args)`, and asked again whenever the
study may try another candidate. It holds no state that a new process would lack: the same problem and the
same snapshot give the same suggestions, so that a study continues in the same way after a restart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from search.choose.snapshot import Candidate, Snapshot
from space.candidate import CandidateConfig
from space.cost import Cost, price
from space.errors import StudyFileError, nearest
from space.knob_index import is_of_architecture
from space.knobs import Between, Choices
from space.objectives import DEFAULT, KnownCosts, Objectives
from space.ranges import MIXTURE_PREFIX, Limits, Point, SearchSpace
from space.records import SuiteRecord
from space.study import Rungs, StudyConfig

DRAWS = 5_000  # suggestions that are looked at, until a sampler counts as having nothing new
REMEMBERED = 10_000  # priced points of a space that is finite, where draws often repeat
LOOKED_AT, HARDLY = 200, 20  # random draws, of which fewer than one in 20 are feasible in a tight space
CONTROLS = 2  # candidates that try each control mixture: one dense, one sparse

Parameters = Mapping[str, Any]  # name of a parameter of the space -> value


class Suggestion(NamedTuple):
    """Parameters, and a note that says which rule suggested them and why.

    The note ends the candidate's origin: "model" or "model; the law weighs 0.83". A rule that falls back to
    chance is noted as "fallback; why", so that `status` and the page warn of it.
    """

    params: Parameters
    note: str


class Sampler(Protocol):
    """Suggests which candidates to try next.

    The candidates that try a control mixture (`Problem.control`) are drawn by the stratified sampler, unless
    the sampler's class has the attribute `draws_controls` with a true value; it then suggests them, too.

    In a study with priors or a warm start, a sampler whose first `suggest` does not return None is refused,
    unless its class has the attribute `uses_belief` with a true value; it then draws by `Problem.draws`, or
    reads `Problem.belief`.

    A sampler may also have a method `waiting_for(view) -> str`, which says why `suggest` returned None, such
    as "3 of 10 candidates". The reason becomes part of the origin of the candidate that is drawn instead.

    Where only listed candidates can be tried, as in a replay on the rows of a table, the nearest one to the
    first suggestion is tried. A sampler that can compare listed candidates has a method
    `choose_among(view, pool)` besides: it gets those that are left, as a sequence of `Feasible`, never empty,
    and returns one of them, whose `note` may say why; or None for the nearest one.
    """

    def suggest(self, view: Snapshot) -> Iterator[Parameters | Suggestion] | None:
        """Suggest parameters of new candidates.

        The first suggestion that can be built, is within the limits and is new becomes the next candidate;
        the others are never drawn from the iterator. See `search.choose.outcomes` for the results so far.

        Args:
            view: the study's candidates and trials.

        Returns:
            Values for every name in `problem.parameters`, best first, each alone or with a note; or None
            while there are too few results to suggest anything. Where nothing can be used, a candidate is
            drawn by the stratified sampler.
        """
        ...


@dataclass(frozen=True)
class Feasible:
    """Parameters whose candidate can be built and is within the limits, and the note of their suggestion."""

    candidate: CandidateConfig
    params: dict[str, Any]
    cost: Cost
    note: str = ""


class DrawsPoints(Protocol):
    """What is believed before there are scores; see `search.choose.belief`.

    Attributes:
        earlier: the study that this one begins with (`search.choose.earlier.EarlierStudy`), or None.
    """

    earlier: Any

    def draws(self, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        """Parameters without end, drawn by the belief; some of them cannot be built."""
        ...


class Problem:
    """What a sampler may know of a study before there are results.

    Attributes:
        space: what is searched.
        suite: the tasks.
        limits: what a candidate may cost.
        seed: seed of the search.
        rungs: token budgets at which candidates are scored.
        shares: how log-ratios become the shares of tasks.
        parameters: name -> its range or its choices; the parameters that a suggestion gives values for.
        memory: what samplers and orders of promotion of this process share, such as fitted models.
        belief: a person's priors and an earlier study; None if the study states none.
        objectives: the score and the costs that it is traded off against.
        threshold: scores below it are of no interest.
    """

    belief: DrawsPoints | None = None

    def __init__(
        self,
        space: SearchSpace,
        suite: SuiteRecord,
        limits: Limits,
        seed: int,
        rungs: Rungs,
        objectives: Objectives = DEFAULT,
        threshold: float = 0.0,
    ) -> None:
        self.space = space
        self.suite = suite
        self.limits = limits
        self.seed = seed
        self.rungs = rungs
        self.objectives = objectives
        self.threshold = threshold
        self.shares = space.mixture.shares(suite, rungs.whole_tokens)
        self.memory: dict[Any, Any] = {}
        self.parameters: Mapping[str, Between | Choices] = space.parameters(suite)
        self._current_ids: dict[str, str] = {}
        self._finite = all(knob.values() is not None for knob in self.parameters.values())
        self._priced: dict[tuple[tuple[str, Any], ...], tuple[CandidateConfig, Cost] | None] = {}

    @classmethod
    def of(cls, config: StudyConfig, suite: SuiteRecord) -> "Problem":
        """The problem of a study.

        Args:
            config: the study.
            suite: its tasks, as they are stored with it.
        """
        return cls(
            config.space,
            suite,
            config.limits,
            config.search.seed,
            config.rungs,
            config.objectives,
            config.threshold,
        )

    def costs(self, candidate: CandidateConfig, cost: Cost) -> tuple[float, ...]:
        """The costs of a candidate that are objectives, in the order of `objectives.costs`."""
        tokens = self.rungs.whole_tokens
        return self.objectives.of(KnownCosts.of(cost, candidate.optimizer, self.suite.batch_tokens, tokens))

    def rng(self, view: Snapshot) -> np.random.Generator:
        """A generator of random numbers that depends on the seed and the number of candidates."""
        return np.random.default_rng([self.seed, len(view.candidates)])

    def next_control(self, view: Snapshot) -> dict[str, float]:
        """Mixture parameters of the control that a study's next candidate tries; empty if it tries none.

        Candidates that a person gives, or a belief chooses, take no control's place.
        """
        return self.control(view.own)

    def control(self, ordinal: int) -> dict[str, float]:
        """Mixture parameters of the control that one of the study's own candidates tries; empty if none.

        Args:
            ordinal: candidates of the study's own before it.
        """
        controls = self.space.controls(self.suite)
        if ordinal >= CONTROLS * len(controls):
            return {}
        return controls[ordinal // self._tries] if ordinal < self._tries * len(controls) else {}

    @cached_property
    def _tries(self) -> int:
        """Candidates that try each control mixture: fewer where nothing but the mixture tells them apart."""
        others = [name for name in self.parameters if not name.startswith(MIXTURE_PREFIX)]
        if any(not is_of_architecture(name) for name in others):
            return CONTROLS
        return min(CONTROLS, len(self._points))

    @cached_property
    def control_note(self) -> str:
        """How a cap on repetition changed the control; "" if it did not."""
        above = self.shares.above_cap
        most = self.space.mixture.epochs
        return f"the uniform mixture with at most {most:g} passes over {', '.join(above)}" if above else ""

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw every parameter independently, then snap; the result may be infeasible."""
        return self.space.drawn(self.parameters, rng)

    @cached_property
    def hardly_feasible(self) -> bool:
        """Whether fewer than one in `HARDLY` random draws are feasible."""
        rng = np.random.default_rng(0)
        drawn = (self.sample(rng) for _ in range(LOOKED_AT))
        return sum(self.feasible(params) is not None for params in drawn) * HARDLY < LOOKED_AT

    @cached_property
    def _points(self) -> list[Point]:
        return self.space.feasible_points(self.suite, self.limits)

    def _made_feasible(self, params: Parameters, rng: np.random.Generator) -> dict[str, Any]:
        """Parameters with an architecture near one that is known to be feasible."""
        point = self._points[int(rng.integers(len(self._points)))]
        knobs = self.space.varied(point, self.suite, self.limits, rng)
        return {**params, **{name: value for name, value in knobs.items() if name in params}}

    def lowered(self, params: Parameters, rng: np.random.Generator) -> dict[str, Any]:
        """Parameters with an architecture within the limits; for spaces that are hardly feasible."""
        return self.space.lowered(params, self.suite, self.limits, rng)

    def draws(self, rng: np.random.Generator, view: Snapshot) -> Iterator[dict[str, Any]]:
        """Random parameters without end; those of the control mixture where the next candidate tries it.

        They are drawn by the study's belief, if it states one.
        """
        control = self.next_control(view)
        drawn = self.plain_draws(rng) if self.belief is None else self.belief.draws(rng)
        for params in drawn:
            yield {**params, **control}

    def plain_draws(self, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        """Random parameters without end, as the space alone draws them.

        Where random draws are hardly ever feasible, infeasible ones get an architecture that is.
        """
        while True:
            drawn = self.sample(rng)
            if self.hardly_feasible and self.feasible(drawn) is None:
                drawn = self._made_feasible(drawn, rng)
            yield drawn

    def feasible(self, params: Parameters) -> Feasible | None:
        """Price parameters; None if they cannot be built or exceed a limit."""
        if not self._finite:
            priced = self._price(params)
        else:
            key = tuple((name, params.get(name)) for name in self.parameters)
            if key not in self._priced:
                if len(self._priced) >= REMEMBERED:
                    self._priced.clear()
                self._priced[key] = self._price(params)
            priced = self._priced[key]
        return None if priced is None else Feasible(priced[0], dict(params), priced[1])

    def usable(self, suggested: Iterator[Parameters | Suggestion], view: Snapshot) -> Iterator[Feasible]:
        """Of the first suggestions, those that are feasible and new to the study, each once."""
        seen = {name for candidate in view.candidates for name in (candidate.id, self._current_id(candidate))}
        for suggestion in islice(suggested, DRAWS):
            params, note = suggestion if isinstance(suggestion, Suggestion) else (suggestion, "")
            found = self.feasible(params)
            if found is not None and found.candidate.id not in seen:
                seen.add(found.candidate.id)
                yield replace(found, note=note) if note else found

    def _price(self, params: Parameters) -> tuple[CandidateConfig, Cost] | None:
        candidate = self.space.candidate(dict(params), self.suite, self.shares)
        if candidate is None:
            return None
        cost = price(candidate.architecture, self.suite)
        return None if self.limits.broken(cost) else (candidate, cost)

    def checked(self, suggestion: Parameters | Suggestion) -> Parameters | Suggestion:
        """Check a suggestion of a user's sampler, and turn numpy's numbers into Python's.

        Raises:
            StudyFileError: a parameter is missing or unknown, or its value is not in the space.
        """
        if isinstance(suggestion, Suggestion):
            return Suggestion(self.checked_params(suggestion.params), str(suggestion.note))
        return self.checked_params(suggestion)

    def checked_params(self, params: Parameters) -> dict[str, Any]:
        """Check the parameters of a suggestion, and turn numpy's numbers into Python's.

        Raises:
            StudyFileError: a parameter is missing or unknown, or its value is not in the space.
        """
        if not isinstance(params, Mapping):
            raise StudyFileError(f"a suggestion maps parameters to values, got {type(params).__name__}")
        for name in params:
            if name not in self.parameters:
                raise StudyFileError(
                    f"a suggestion has no parameters but the space's, got '{name}'"
                    f"{nearest(name, self.parameters)}"
                )
        missing = [name for name in self.parameters if name not in params]
        if missing:
            raise StudyFileError(
                f"a suggestion has a value for every parameter, and '{missing[0]}' is missing"
            )
        return {name: _value(name, knob, params[name]) for name, knob in self.parameters.items()}

    def _current_id(self, known: Candidate) -> str:
        """The id that a known candidate would have if it were proposed by this version."""
        if known.id not in self._current_ids:
            candidate = self.space.candidate(known.params, self.suite, self.shares)
            self._current_ids[known.id] = known.id if candidate is None else candidate.id
        return self._current_ids[known.id]


def _value(name: str, knob: Between | Choices, value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(knob, Choices):
        if value in knob.choices:
            return knob.choices[knob.choices.index(value)]
        raise StudyFileError(f"{name} is one of {list(knob.choices)}, and a suggestion has {value!r}")
    if value in knob:
        return int(value) if knob.whole else float(value)
    kind = "a whole number" if knob.whole else "a number"
    steps = f" in steps of {knob.step}" if knob.step is not None else ""
    raise StudyFileError(
        f"{name} is {kind} from {knob.low} to {knob.high}{steps}, and a suggestion has {value!r}"
    )
