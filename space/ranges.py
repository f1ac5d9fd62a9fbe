"""The search space: a range for each knob, limits on costs, and the conversion of parameters to candidates.

Parameters are flat, since most samplers model nested conditionals badly: one for each knob that is not fixed,
and one bounded log-ratio per task or domain for the mixture. Samplers decide which proposals are worth
making.
"""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import numpy as np
from pydantic import Field, ValidationInfo, create_model, field_validator, model_validator

from space.buildable import snapped
from space.candidate import Architecture, CandidateConfig
from space.cost import Cost, price
from space.documented import documented
from space.errors import StudyFileError
from space.knob_index import KNOBS, checked, is_of_architecture
from space.knobs import STORED, Between, Choices, Real, Scalar, Values, scalar
from space.lowering import lower, towards_an_end
from space.mixture_space import MIXTURE_PREFIX, MixtureSpace, Shares
from space.records import Frozen, SuiteRecord

TRIES = 3  # changes of a point that is varied
FEW = 50  # architectures of a sample within the limits, below which others are searched for
MOST_ARCHITECTURES = 20_000  # that are priced one by one; a larger space is sampled
SAMPLE = 4_000  # architectures of a larger space

Bound = Annotated[Real, Field(gt=0)] | None


class Limits(Frozen):
    """Upper bounds on counted costs; a candidate above one of them never becomes a trial."""

    flops_per_token: Bound = documented(
        None, "forward FLOPs of one token", type="number", unit="FLOPs", allowed="above 0"
    )
    active_params: Bound = documented(
        None, "parameters that one token passes through", type="number", unit="parameters", allowed="above 0"
    )
    total_params: Bound = documented(
        None, "all parameters", type="number", unit="parameters", allowed="above 0"
    )
    training_bytes: Bound = documented(
        None,
        "counted peak memory of a training step on each device, for AdamW in float32",
        type="number",
        unit="bytes",
        allowed="above 0",
    )

    def broken(self, cost: Cost) -> str | None:
        """Name the first limit that a cost breaks, or None."""
        for name in type(self).model_fields:
            limit, value = getattr(self, name), getattr(cost, name)
            if limit is not None and value > limit:
                return f"{name} {value:,.0f} above the limit {limit:,.0f}"
        return None

    def excess(self, cost: Cost) -> float:
        """The largest ratio of a cost to its limit; 0 without limits."""
        limits = {name: getattr(self, name) for name in type(self).model_fields}
        return max((getattr(cost, name) / limit for name, limit in limits.items() if limit), default=0.0)


def _architecture(knobs: dict[str, Any], context: int) -> Architecture | None:
    """The architecture that knobs describe, in its canonical spelling; None if it cannot be built."""
    if knobs["experts"] == 1:
        knobs = {**knobs, "dense_layers": 0}
    try:
        return Architecture.model_validate(knobs).canonical_for(context)
    except ValueError:
        return None


class Point(NamedTuple):
    """An architecture of a space, the knobs that describe it there, and its cost."""

    knobs: Mapping[str, Any]
    architecture: Architecture
    cost: Cost


_RANGES: dict[str, Any] = {name: (Values, knob.search) for name, knob in KNOBS.items()}
_KnobRanges = create_model("_KnobRanges", __base__=Frozen, **_RANGES)


class SearchSpace(_KnobRanges):
    """The values to search for each knob; a plain value in a study file fixes a knob."""

    mixture: MixtureSpace = MixtureSpace()

    if TYPE_CHECKING:  # a field for each declared knob

        def __getattr__(self, name: str) -> Between | Choices: ...

    @field_validator("*", mode="before")
    @classmethod
    def _number_fixes_a_knob(cls, value: Any, info: ValidationInfo) -> Any:
        fixes = isinstance(value, bool | int | float | str) and info.field_name != "mixture"
        return {"choices": [scalar(value)]} if fixes else value

    @field_validator("*", mode="after")
    @classmethod
    def _values_are_the_knobs(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name is None or not isinstance(value, Between | Choices):
            return value
        return checked(info.field_name, value, stored=bool(info.context and info.context.get("stored")))

    @model_validator(mode="after")
    def _admits_an_architecture(self) -> Self:
        experts, top_k = self.experts.values(), self.top_k.values()
        if experts and top_k and min(map(int, top_k)) > max(map(int, experts)):
            raise ValueError(
                f"top_k: at least one value is at most the largest number of experts,"
                f" got top_k {min(top_k)} and up to {max(experts)} experts"
            )
        return self

    @classmethod
    def knobs(cls) -> list[str]:
        """Names of all knobs but the mixture."""
        return [name for name in cls.model_fields if name != "mixture"]

    def parameters(self, suite: SuiteRecord) -> dict[str, Between | Choices]:
        """Every parameter that varies, by its name in Optuna."""
        ranges = {name: getattr(self, name) for name in self.knobs() if name not in self._fixed}
        bound = Between(low=-self.mixture.spread, high=self.mixture.spread)
        return ranges | {MIXTURE_PREFIX + group: bound for group in self.mixture.parameters(suite)}

    def sample(self, suite: SuiteRecord, rng: np.random.Generator) -> dict[str, Scalar]:
        """Draw every parameter independently, then snap; the result may be infeasible."""
        return self.drawn(self.parameters(suite), rng)

    def drawn(self, parameters: Mapping[str, Between | Choices], rng: np.random.Generator) -> dict[str, Any]:
        """The same, of a suite's `parameters`."""
        return self.snapped({name: knob.sample(rng) for name, knob in parameters.items()})

    def snapped(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Move parameters that have ranges to the nearest values that can be built together."""
        return {**params, **self.snapped_but(params, ())}

    def snapped_but(self, params: Mapping[str, Any], held: Collection[str]) -> dict[str, Any]:
        """The knobs of an architecture that vary, snapped, but for those that are held."""
        varying = {name: k for name, k in self.varying.items() if name in params and name not in held}
        return snapped(varying, {**self._fixed, **params})

    def lowered(
        self, params: Mapping[str, Any], suite: SuiteRecord, limits: Limits, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Move parameters to an architecture within the limits, if one is found; see `space.lowering`."""

        def excess(knobs: Mapping[str, Any]) -> float:
            architecture = self.architecture(knobs, suite.context)
            return math.inf if architecture is None else limits.excess(price(architecture, suite))

        return lower(params, self.varying, self.snapped, excess, rng)

    def varied(
        self, point: Point, suite: SuiteRecord, limits: Limits, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Knobs of an architecture near a point, within the limits; the point's own if a few tries fail."""
        names, knobs = list(self.varying), dict(point.knobs)
        for name in rng.choice(names, size=TRIES if names else 0).tolist():
            changed = self.snapped({**knobs, name: towards_an_end(self.varying[name], knobs[name], rng)})
            architecture = self.architecture(changed, suite.context)
            if architecture is not None and limits.broken(price(architecture, suite)) is None:
                knobs = changed
        return knobs

    def controls(self, suite: SuiteRecord) -> list[dict[str, float]]:
        """Mixture parameters of the control that every study tries: the uniform mixture.

        By domain, each domain has its share of the uniform mixture. A cap on repetition holds for it, too.
        """
        if not self.mixture.parameters(suite):
            return []
        bound, ratios = self.mixture.spread, self.mixture.ratios_of_uniform(suite)
        return [{MIXTURE_PREFIX + name: float(np.clip(z, -bound, bound)) for name, z in ratios.items()}]

    def candidate(
        self, params: dict[str, Any], suite: SuiteRecord, shares: Shares | None = None
    ) -> CandidateConfig | None:
        """Convert parameters to a candidate; None if they cannot be built, such as top_k above experts.

        Args:
            params: parameter -> value; fixed knobs are left out, and absent log-ratios are 0.
            suite: the tasks.
            shares: how log-ratios become shares, if it was made before; needed for a cap on repetition.
        """
        knobs = {**self._fixed, **{name: params[name] for name in self.knobs() if name in params}}
        of_training = {name: knobs.pop(name) for name in list(knobs) if not is_of_architecture(name)}
        of_training["learning_rate"] = float(f"{of_training['learning_rate']:.6g}")
        mixture = (shares or self.mixture.shares(suite, None)).mixture(params)
        architecture = _architecture(knobs, suite.context)
        if architecture is None:
            return None
        return CandidateConfig(architecture=architecture, mixture=mixture, **of_training)

    def architecture(self, knobs: Mapping[str, Any], context: int) -> Architecture | None:
        """The architecture of some knobs, fixed ones left out; None if it cannot be built.

        Args:
            knobs: knob -> value; parameters that are no knobs of an architecture are ignored.
            context: positions of a sequence, which some knobs have no effect beyond.
        """
        every = {**self._fixed, **knobs}
        return _architecture({name: every[name] for name in every if is_of_architecture(name)}, context)

    def architectures(self, context: int) -> Iterator[Architecture]:
        """Every architecture of the space (real knobs at 5 points), or a fixed sample if it is very large."""
        yield from dict.fromkeys(architecture for _, architecture in self.built(context))

    def built(self, context: int) -> Iterator[tuple[dict[str, Any], Architecture]]:
        """The points of `architectures`: knobs that can be built, and their architecture."""
        names = [name for name in self.knobs() if is_of_architecture(name)]
        values = [self._finite(name) for name in names]
        points = itertools.product(*values)
        if self.points > MOST_ARCHITECTURES:
            rng = np.random.default_rng(0)
            drawn = (rng.integers(len(of), size=SAMPLE) for of in values)
            columns = ([of[i] for i in index] for of, index in zip(values, drawn, strict=True))
            points = zip(*columns, strict=True)
        for values_of_point in points:
            point = dict(zip(names, values_of_point, strict=True))
            fitting = {**point, **snapped(self.varying, point)}
            architecture = _architecture(fitting, context)
            if architecture is not None:
                yield fitting, architecture

    @property
    def points(self) -> int:
        """Number of combinations of the knobs of an architecture, including those that cannot be built."""
        names = [name for name in self.knobs() if is_of_architecture(name)]
        return math.prod(len(self._finite(name)) for name in names)

    @cached_property
    def varying(self) -> dict[str, Between | Choices]:
        """Knobs of an architecture that vary."""
        names = [name for name in self.knobs() if is_of_architecture(name) and name not in self._fixed]
        return {name: getattr(self, name) for name in names}

    @cached_property
    def _fixed(self) -> dict[str, Scalar]:
        """Knobs with one value."""
        values = {name: getattr(self, name).values() for name in self.knobs()}
        return {name: of[0] for name, of in values.items() if of is not None and len(of) == 1}

    def _finite(self, name: str) -> Sequence[Scalar]:
        knob = getattr(self, name)
        values = knob.values()
        return np.linspace(knob.low, knob.high, 5).tolist() if values is None else values

    def feasible(self, suite: SuiteRecord, limits: Limits) -> list[tuple[Architecture, Cost]]:
        """Every architecture within the limits with its cost, cheapest first; see `feasible_points`.

        Raises:
            StudyFileError: there is none.
        """
        return [(point.architecture, point.cost) for point in self.feasible_points(suite, limits)]

    def feasible_points(self, suite: SuiteRecord, limits: Limits) -> list[Point]:
        """Every architecture within the limits, cheapest first (real knobs at 5 points).

        Of a very large space, those of a fixed sample; where few of them are within the limits, others that
        are found by lowering the cost of drawn ones.

        Raises:
            StudyFileError: there is none.
        """
        priced = _priced(self.model_dump_json(), suite.model_dump_json())
        if not priced:
            looked_at = self.points if self.points <= MOST_ARCHITECTURES else SAMPLE
            raise StudyFileError(
                f"space: at least one combination of its knobs can be built, got none of {looked_at:,};"
                " width is a multiple of an even head_dim, kv_groups divides width / head_dim,"
                " top_k is at most experts, dense_layers at most depth"
            )
        kept = {point.architecture: point for point in priced if limits.broken(point.cost) is None}
        if len(kept) < FEW and self.points > MOST_ARCHITECTURES:
            more = _searched(self.model_dump_json(), suite.model_dump_json(), limits.model_dump_json())
            priced = (*priced, *more)
            kept |= {point.architecture: point for point in more if limits.broken(point.cost) is None}
        if not kept:
            nearest_point = min(priced, key=lambda point: limits.excess(point.cost))
            raise StudyFileError(
                f"limits: at least one architecture of the space is within them, got none of {len(priced)};"
                f" the nearest has {limits.broken(nearest_point.cost)}"
            )
        return sorted(kept.values(), key=lambda point: point.cost.flops_per_token)


@lru_cache(maxsize=2)
def _priced(space_json: str, suite_json: str) -> tuple[Point, ...]:
    """Every architecture of a space with its cost, cached since a launch needs it several times."""
    space = SearchSpace.model_validate_json(space_json, context=STORED)
    suite = SuiteRecord.model_validate_json(suite_json)
    return _points(space.built(suite.context), suite)


@lru_cache(maxsize=4)
def _searched(space_json: str, suite_json: str, limits_json: str) -> tuple[Point, ...]:
    """Architectures of a very large space within limits, or near to them, that its sample hardly meets."""
    space = SearchSpace.model_validate_json(space_json, context=STORED)
    suite = SuiteRecord.model_validate_json(suite_json)
    limits, rng = Limits.model_validate_json(limits_json), np.random.default_rng(0)
    drawn = (space.lowered(space.sample(suite, rng), suite, limits, rng) for _ in range(FEW))
    points = ({name: params[name] for name in space.varying} for params in drawn)
    built = ((knobs, space.architecture(knobs, suite.context)) for knobs in points)
    return _points(((knobs, arch) for knobs, arch in built if arch is not None), suite)


def _points(built: Iterable[tuple[dict[str, Any], Architecture]], suite: SuiteRecord) -> tuple[Point, ...]:
    """The distinct architectures among some, priced."""
    distinct: dict[Architecture, dict[str, Any]] = {}
    for knobs, architecture in built:
        distinct.setdefault(architecture, knobs)
    return tuple(Point(knobs, arch, price(arch, suite)) for arch, knobs in distinct.items())
