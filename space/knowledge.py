"""What a person knows before a study: priors over knobs and shares, and an earlier study to learn from.

Candidates to try first are in `space.start`; what priors mean for proposals is in `search.choose.belief`.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from space.errors import StudyFileError, nearest
from space.knob_index import KNOBS, checked
from space.knobs import Between, Choices, Real, Scalar, only, scalar
from space.ranges import MIXTURE_PREFIX, SearchSpace
from space.records import Frozen, SuiteRecord
from space.words import counted

STRONGEST = 10.0
SPREAD = 0.25  # standard deviation of a prior of strength 1, as a share of the knob's range
SHARE_SPREAD = 0.5  # of the logarithm of a task's share


class Prior(Frozen):
    """Where a person expects the best values of a knob, or the best share of a task.

    Attributes:
        value: the value that is expected to be best; None if `weights` are given.
        weights: choice, as text -> how likely it is the best one, up to a factor. Choices that are left out
            have a weight of 0, and are still tried.
        strength: how certain that is. The prior of a number is normal, with a standard deviation of a quarter
            of the knob's range at strength 1, an eighth at 2.
    """

    value: Scalar | None = None
    weights: dict[str, Real] | None = None
    strength: Real = Field(default=1.0, gt=0, le=STRONGEST)

    @field_validator("value", mode="before")
    @classmethod
    def _a_value(cls, value: Any) -> Any:
        return value if value is None else scalar(value)

    @field_validator("weights", mode="before")
    @classmethod
    def _as_text(cls, weights: Any) -> Any:
        return (
            {spelt(key): weight for key, weight in weights.items()}
            if isinstance(weights, Mapping)
            else weights
        )

    @field_validator("weights")
    @classmethod
    def _are_weights(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        if weights is not None and (min(weights.values(), default=0) < 0 or not sum(weights.values()) > 0):
            raise ValueError(f"weights are at least 0 with one above it, got {weights}")
        return weights

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.value is None) == (self.weights is None):
            raise ValueError("a prior has either a value or weights, got both or neither")
        return self


class Warm(Frozen):
    """An earlier study of the same database, whose scores are a prior over the knobs that both have.

    Attributes:
        study: its name.
        copied: its specification and scores as they were at the launch (`search.choose.copies`), so that the
            search can be repeated when the earlier study has gone on or was deleted. A study file leaves it
            out.
    """

    study: str = Field(min_length=1, max_length=100)
    copied: str | None = None


def spelt(value: Any) -> str:
    """A choice as text, as keys of `weights` name it: `true`, `8`, `0.5`, `muon`."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def prior_of(given: Any) -> Any:
    """A prior as a study file writes it; a plain value is one of strength 1."""
    return {"value": given} if isinstance(given, bool | int | float | str) else given


def check_priors(priors: Mapping[str, Prior], space: SearchSpace, suite: SuiteRecord) -> None:
    """Check that each prior is for a knob or share that varies, and within its range.

    Raises:
        StudyFileError: one is not; the line begins with its key.
    """
    for name, prior in priors.items():
        try:
            if name.startswith(MIXTURE_PREFIX):
                _check_share(name.removeprefix(MIXTURE_PREFIX), prior, space, suite)
            else:
                _check_knob(name, prior, space)
        except ValueError as error:
            raise StudyFileError(f"priors.{name}: {error}") from None


def _check_knob(name: str, prior: Prior, space: SearchSpace) -> None:
    """Check the prior of a knob.

    Raises:
        ValueError: it cannot be one.
    """
    if name not in KNOBS:
        raise ValueError(f"a prior is for a knob or mixture.TASK{nearest(name, KNOBS)}")
    knob: Between | Choices = getattr(space, name)
    values = knob.values()
    if values is not None and len(values) == 1:
        raise ValueError(f"a prior is for a knob that varies, and the space fixes it at {values[0]}")
    if prior.value is not None:
        require_value(name, prior.value, space)
        return
    assert prior.weights is not None
    if isinstance(knob, Between):
        raise ValueError("weights are for a list of choices; give a value for a range")
    known = [spelt(choice) for choice in knob.choices]
    for choice in prior.weights:
        if choice not in known:
            raise ValueError(f"weights are for {', '.join(known)}, got {choice!r}{nearest(choice, known)}")


def require_value(name: str, value: Scalar, space: SearchSpace) -> Scalar:
    """A value of a knob in its own type.

    Raises:
        ValueError: the space does not hold it.
    """
    (own,) = checked(name, only(value)).choices  # type: ignore[union-attr]
    knob: Between | Choices = getattr(space, name)
    if isinstance(knob, Choices):
        if own in knob.choices:
            return knob.choices[knob.choices.index(own)]
        if len(knob.choices) == 1:
            raise ValueError(f"the space fixes it at {knob.choices[0]}, got {value!r}")
        raise ValueError(f"the space holds {', '.join(map(spelt, knob.choices))}, got {value!r}")
    low, high = float(knob.low), float(knob.high)
    if not knob.whole and low * (1 - 1e-6) <= float(own) <= high * (1 + 1e-6):  # ends that were rounded
        return min(max(float(own), low), high)
    if own in knob:
        return own
    steps = f" in steps of {knob.step}" if knob.step else ""
    raise ValueError(f"the space holds {knob.low:g} to {knob.high:g}{steps}, got {value!r}")


def _check_share(name: str, prior: Prior, space: SearchSpace, suite: SuiteRecord) -> None:
    """Check the prior of a task's share; of a domain's where mixtures are searched by domain.

    Raises:
        ValueError: it cannot be one.
    """
    groups = space.mixture.groups(suite)
    if name not in groups.names:
        raise ValueError(f"no {groups.kind} of suite '{suite.name}'{nearest(name, groups.names)}")
    if not space.mixture.parameters(suite):
        raise ValueError("a prior is for a share that varies, and the study fixes its mixture")
    size = len(groups.members[name])
    low, high = size * space.mixture.floor, 1 - (len(suite.tasks) - size) * space.mixture.floor
    if isinstance(prior.value, bool) or not isinstance(prior.value, int | float):
        raise ValueError(f"the prior of a share has a number as its value, got {prior.value!r}")
    if not low < prior.value < high:
        of = counted(len(groups.names), groups.kind)
        raise ValueError(f"the share of one of {of} is above {low:g} and below {high:g}, got {prior.value}")
