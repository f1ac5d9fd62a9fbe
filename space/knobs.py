"""The values that a knob may take: a range or a list, checked against the knob's own rule.

Whether a knob is a whole number, a real one, a word or a yes-or-no is declared once, with the field of
`Architecture` or `CandidateConfig` that it sets; so are the numbers that it may be. How a bound is written
(`4` or `4.0`) decides nothing.
"""

import math
from functools import cache
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from space.candidate import Architecture, CandidateConfig
from space.errors import nearest
from space.records import Frozen

STORED = {"stored": True}  # the context in which a stored study is validated, so that it stays as it was
LARGEST_RATIO = 16  # of an expert's width to the model's that a study may ask for
Scalar = bool | int | float | str
Kind = Literal["whole", "real", "flag", "word"]


def number(value: Any) -> Any:
    """Refuse what is no finite number: a boolean, a string, nothing, a list, infinity, NaN.

    Raises:
        ValueError: it is none.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and not math.isfinite(value))
    ):
        raise ValueError(f"a finite number, got {value!r}")
    return value


def scalar(value: Any) -> Any:
    """Refuse what is no finite number, no word and no boolean.

    Raises:
        ValueError: it is none.
    """
    return value if isinstance(value, bool | str) else number(value)


Whole = Annotated[int, BeforeValidator(number)]
Real = Annotated[float, BeforeValidator(number)]


class Between(Frozen):
    """Every number from `low` to `high`, both included; whole numbers if both are."""

    low: Annotated[int | float, BeforeValidator(number)]
    high: Annotated[int | float, BeforeValidator(number)]
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low is at most high, got low {self.low}, high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range starts above 0, got low {self.low}")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def values(self) -> list[Scalar] | None:
        """All values if there are finitely many, else None."""
        if self.low == self.high:
            return [self.low]
        return list(range(int(self.low), int(self.high) + 1)) if self.whole else None

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw one value, uniformly or log-uniformly."""
        if self.whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if not self.log:
            return float(rng.uniform(self.low, self.high))
        if self.whole:
            value = int(np.exp(rng.uniform(np.log(self.low - 0.5), np.log(self.high + 0.5))).round())
            return min(max(value, int(self.low)), int(self.high))
        return float(np.clip(np.exp(rng.uniform(np.log(self.low), np.log(self.high))), self.low, self.high))


class Choices(Frozen):
    """One of a list of values."""

    choices: tuple[Annotated[Scalar, BeforeValidator(scalar)], ...] = Field(min_length=1)

    @field_validator("choices")
    @classmethod
    def _are_distinct(cls, choices: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        if len(set(choices)) != len(choices):
            raise ValueError(f"choices differ from each other, got {list(choices)}")
        return choices

    def values(self) -> list[Scalar] | None:
        """All values."""
        return list(self.choices)

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw one value uniformly."""
        return self.choices[int(rng.integers(len(self.choices)))]


def _form(value: Any) -> str:
    """Which of the two forms of a knob a value is meant to have."""
    listed = isinstance(value, Choices) or (isinstance(value, dict) and "choices" in value)
    return "Choices" if listed else "Between"


Knob = Annotated[
    Annotated[Between, Tag("Between")] | Annotated[Choices, Tag("Choices")], Discriminator(_form)
]


@cache
def kind(name: str) -> Kind:
    """What a knob's values are."""
    annotation = _field(name).annotation
    kinds: dict[Any, Kind] = {int: "whole", float: "real", bool: "flag"}
    return kinds.get(annotation, "word")


@cache
def words(name: str) -> tuple[str, ...]:
    """The values of a knob that is no number; empty for any other."""
    return get_args(_field(name).annotation) if kind(name) == "word" else ()


def checked(name: str, knob: Between | Choices, stored: bool = False) -> Between | Choices:
    """A knob's range or list, in the knob's own type of number.

    Args:
        name: of the knob.
        knob: what a study says of it.
        stored: whether an earlier Pathfront may have stored it: a real range with whole bounds was a range of
            whole numbers then, and stays one, for Optuna refuses another distribution for a parameter.

    Raises:
        ValueError: a value is none of the knob's.
    """
    if isinstance(knob, Choices):
        return Choices(choices=tuple(_value(name, value) for value in knob.choices))
    if kind(name) == "flag" or words(name):
        known = words(name) or ("true", "false")
        raise ValueError(f"one of {', '.join(known)}, got a range of numbers")
    ends = [_value(name, end) for end in (knob.low, knob.high)]
    if stored and kind(name) == "real" and knob.whole:
        return knob
    cast = int if kind(name) == "whole" else float
    low, high = (cast(end) for end in ends)
    return knob.model_copy(update={"low": low, "high": high})


def _value(name: str, value: Scalar) -> Scalar:
    """One value of a knob; a whole number as an integer.

    Raises:
        ValueError: it is none.
    """
    match kind(name):
        case "word":
            if value not in words(name):
                raise ValueError(
                    f"one of {', '.join(words(name))}, got {value!r}{nearest(value, words(name))}"
                )
            return value
        case "flag":
            if isinstance(value, str) or value not in (True, False):
                raise ValueError(f"true or false, got {value!r}")
            return value
    if isinstance(value, bool | str):
        raise ValueError(f"numbers, got {value!r}")
    number(value)
    if kind(name) == "whole" and value != value // 1:
        raise ValueError(f"whole numbers, got {value!r}")
    try:
        _rule(name).validate_python(value)
    except ValidationError as error:
        rule = error.errors()[0]["msg"].removeprefix("Input should be ")
        raise ValueError(f"each value is {rule}, got {value!r}") from None
    if name == "expert_ratio" and value > LARGEST_RATIO:
        raise ValueError(f"each value is at most {LARGEST_RATIO}, got {value!r}")
    return int(value) if kind(name) == "whole" else value


@cache
def _rule(name: str) -> TypeAdapter[Any]:
    field = _field(name)
    annotated: Any = Annotated[field.annotation, *field.metadata]
    return TypeAdapter(annotated)


def _field(name: str) -> Any:
    return Architecture.model_fields.get(name) or CandidateConfig.model_fields[name]
