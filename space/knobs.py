"""What a knob is: the declaration of one, and the values that a study may search for one.

A knob is a field of `Architecture` or `CandidateConfig` (`space.candidate`) whose annotation holds a `Knob`.
Everything else derives from that field: the key of the study file with its default and its checks
(`space.knob_index`, `space.ranges`), the words that describe a candidate (`space.description`), the reference
of the study file (`space.reference`) and the checks of exports.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from space.records import Frozen

STORED = {"stored": True}  # validation context of a stored study, whose ranges keep the type they had
Scalar = bool | int | float | str


def number(value: Any) -> Any:
    """Reject anything but a finite number: booleans, strings, None, lists, infinity, NaN.

    Raises:
        ValueError: the value is not a finite number.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and not math.isfinite(value))
    ):
        raise ValueError(f"a finite number, got {value!r}")
    return value


def scalar(value: Any) -> Any:
    """Reject anything but a finite number, a word or a boolean.

    Raises:
        ValueError: the value is none of them.
    """
    return value if isinstance(value, bool | str) else number(value)


Whole = Annotated[int, BeforeValidator(number)]
Real = Annotated[float, BeforeValidator(number)]


class Between(Frozen):
    """Every number from `low` to `high`, inclusive; only whole numbers if both are whole.

    With a `step`, the values are low, low + step, low + 2 step and so on. A `high` that is none of them is
    lowered to the largest that is, as in Optuna's `IntDistribution`.
    """

    low: Annotated[int | float, BeforeValidator(number)]
    high: Annotated[int | float, BeforeValidator(number)]
    log: bool = False
    step: Annotated[int, BeforeValidator(number), Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low is at most high, got low {self.low}, high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range starts above 0, got low {self.low}")
        if self.step is None:
            return self
        if self.low % 1 or self.high % 1:
            raise ValueError(f"a range with a step has whole bounds, got low {self.low}, high {self.high}")
        if self.log and self.step > 1:
            raise ValueError(f"a log range has no step but 1, got step {self.step}; leave out log or step")
        object.__setattr__(self, "high", self.high - (self.high - self.low) % self.step)
        return self

    @model_serializer(mode="wrap")
    def _without_an_unset_step(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As stored before ranges had steps, unless this one has."""
        data = dump(self)
        if self.step is None:
            data.pop("step", None)
        return data

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def stride(self) -> int:
        """Distance between two neighbouring whole values."""
        return self.step or 1

    def __contains__(self, value: object) -> bool:
        """Whether a number is one of the values."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (not self.whole or (value - self.low) % self.stride == 0)

    def values(self) -> list[Scalar] | None:
        """All values if there are finitely many, otherwise None."""
        if self.low == self.high:
            return [self.low]
        return list(range(int(self.low), int(self.high) + 1, self.stride)) if self.whole else None

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw one value, uniformly or log-uniformly."""
        if self.whole and not self.log:
            last = int(self.high - self.low) // self.stride
            return int(self.low) + self.stride * int(rng.integers(last + 1))
        if not self.log:
            return float(rng.uniform(self.low, self.high))
        if self.whole:
            value = int(np.exp(rng.uniform(np.log(self.low - 0.5), np.log(self.high + 0.5))).round())
            return int(self.clipped(value))
        return float(self.clipped(float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))))

    def clipped(self, value: float) -> int | float:
        """The bound that a number is beyond, else the number itself."""
        return min(max(value, self.low), self.high)


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
    """Tag of the form in which a study writes the values of a knob: a list or a range."""
    listed = isinstance(value, Choices) or (isinstance(value, dict) and "choices" in value)
    return "Choices" if listed else "Between"


Values = Annotated[
    Annotated[Between, Tag("Between")] | Annotated[Choices, Tag("Choices")], Discriminator(_form)
]


def only(value: Scalar) -> Choices:
    """A single value: the knob is fixed."""
    return Choices(choices=(value,))


@dataclass(frozen=True)
class Knob:
    """Declaration of a knob, as metadata of the field that it sets.

    The name, the type, the least and the largest value and the default are those of the field. The model that
    the field belongs to says whether the knob is part of the architecture.

    Attributes:
        search: values that a study searches if it does not name the knob.
        meaning: what the knob is, for the reference of the study file.
        title: line of a candidate's description that the knob appears in; "" leaves it out.
        said: its words in that line, as a format string whose argument 0 is the model.
        place: of these words in the line; those of equal place follow the order of the fields.
        unit: of its values; "" if they have none.
        rule: what the type does not say about its values, such as "at most experts".
        plain: value at which the model is the one without this knob. The description does not mention this
            value, and exports that do not know the knob accept it. None if there is no such value.
        routing: whether the knob has no effect in a model without sparse layers.
        most: largest value that a study may search, where the field allows larger ones.
    """

    search: Between | Choices
    meaning: str
    title: str = ""
    said: str = ""
    place: int = 0
    unit: str = ""
    rule: str = ""
    plain: Scalar | None = None
    routing: bool = False
    most: float | None = None

    @staticmethod
    def of(field: FieldInfo) -> "Knob | None":
        """The declaration that a field carries; None if it is not a knob."""
        return next((part for part in field.metadata if isinstance(part, Knob)), None)


def knobs_of(model: type[BaseModel]) -> dict[str, Knob]:
    """Name -> declaration of each knob of a model, in the order of the fields."""
    return {name: knob for name, field in model.model_fields.items() if (knob := Knob.of(field))}


def in_words(model: BaseModel, silent: Collection[str] = ()) -> dict[str, list[str]]:
    """Describe a model by its knobs: title -> words, in the order of the fields.

    Args:
        model: whose fields declare knobs.
        silent: names of knobs to leave out.
    """
    declared = knobs_of(type(model))
    lines: dict[str, list[str]] = {knob.title: [] for knob in declared.values() if knob.title}
    for name, knob in sorted(declared.items(), key=lambda item: item[1].place):
        heard = knob.plain is None or getattr(model, name) != knob.plain
        if knob.title and heard and name not in silent:
            lines[knob.title].append(knob.said.format(model))
    return lines
