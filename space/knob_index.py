"""All knobs by name, and what follows from their fields: kinds, allowed values, checks of a study's values.

How a study writes a bound (`4` or `4.0`) does not change the type of a knob.
"""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from space.candidate import Architecture, CandidateConfig
from space.errors import nearest
from space.knobs import Between, Choices, Knob, Scalar, knobs_of, number

Kind = Literal["whole", "real", "flag", "word"]

_FIELDS: dict[str, FieldInfo] = Architecture.model_fields | CandidateConfig.model_fields
_OF_ARCHITECTURE = frozenset(Architecture.model_fields)
KNOBS: dict[str, Knob] = knobs_of(Architecture) | knobs_of(CandidateConfig)


def is_of_architecture(name: str) -> bool:
    """Whether a parameter is a knob of the architecture."""
    return name in _OF_ARCHITECTURE


@cache
def kind(name: str) -> Kind:
    """Type of a knob's values."""
    kinds: dict[Any, Kind] = {int: "whole", float: "real", bool: "flag"}
    return kinds.get(_FIELDS[name].annotation, "word")


@cache
def words(name: str) -> tuple[str, ...]:
    """The values of a knob whose values are words; empty for other knobs."""
    return get_args(_FIELDS[name].annotation) if kind(name) == "word" else ()


def allowed(name: str) -> str:
    """The values that a study may search for a knob, in words: "1 to 256", "softmax or sigmoid"."""
    match kind(name):
        case "word":
            return " or ".join(words(name))
        case "flag":
            return "true or false"
    bounds = {
        bound: value
        for part in _FIELDS[name].metadata
        for bound in ("ge", "gt", "le")
        if (value := getattr(part, bound, None)) is not None
    }
    most = KNOBS[name].most or bounds["le"]
    return f"{bounds['ge']:g} to {most:g}" if "ge" in bounds else f"above {bounds['gt']:g}, at most {most:g}"


def checked(name: str, values: Between | Choices, stored: bool = False) -> Between | Choices:
    """The range or list that a study gives for a knob, in the knob's own type of number.

    Args:
        name: of the knob.
        values: what the study says.
        stored: whether it comes from a stored study. Earlier versions took a real range with whole bounds for
            a range of whole numbers. It stays one, since Optuna rejects a new distribution for a parameter.

    Raises:
        ValueError: the knob cannot have one of the values.
    """
    if isinstance(values, Choices):
        return Choices(choices=tuple(_value(name, value) for value in values.choices))
    if kind(name) in ("flag", "word"):
        known = words(name) or ("true", "false")
        raise ValueError(f"one of {', '.join(known)}, got a range of numbers")
    if kind(name) == "real" and values.step is not None:
        raise ValueError(
            f"only whole numbers have a step, got step {values.step}; leave it out, or list the choices"
        )
    ends = [_value(name, end) for end in (values.low, values.high)]
    if stored and kind(name) == "real" and values.whole:
        return values
    cast = int if kind(name) == "whole" else float
    low, high = (cast(end) for end in ends)
    return values.model_copy(update={"low": low, "high": high})


def unhandled(architecture: Architecture, handled: Iterable[str]) -> dict[str, Scalar]:
    """Fields of an architecture that code for these fields would ignore, and their values.

    A field whose value is the plain one of its declaration has no effect, so it may be ignored.

    Args:
        architecture: or an instance of a subclass with more fields.
        handled: names of the fields that the code knows.
    """
    known, found, knobs = set(handled), {}, knobs_of(type(architecture))
    for name in type(architecture).model_fields:
        knob, value = knobs.get(name), getattr(architecture, name)
        plain = None if knob is None else knob.plain
        if name not in known and (plain is None or value != plain):
            found[name] = value
    return found


def _value(name: str, value: Scalar) -> Scalar:
    """One value of a knob; a whole number as an integer.

    Raises:
        ValueError: the knob cannot have this value.
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
    most = KNOBS[name].most
    if most is not None and value > most:
        raise ValueError(f"each value is at most {most:g}, got {value!r}")
    return int(value) if kind(name) == "whole" else value


@cache
def _rule(name: str) -> TypeAdapter[Any]:
    annotated: Any = Annotated[_FIELDS[name].annotation, *_FIELDS[name].metadata]
    return TypeAdapter(annotated)
