"""Reference of the keys under `space:` and `limits:` of a study file, derived from their declarations.

`python -m space.reference studies/README.md` renews the tables of that page.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from space.knob_index import KNOBS, Kind, allowed, kind
from space.knobs import Between, Choices, Scalar, only
from space.ranges import Limits, MixtureSpace

TYPES: dict[Kind, str] = {"whole": "whole number", "real": "number", "flag": "true or false", "word": "word"}


class Key(NamedTuple):
    """A key of a study file, in words.

    Attributes:
        path: of the key, such as "space.depth".
        type: of one value.
        unit: of one value; "" if it has none.
        default: what a study has that does not name the key, as YAML.
        allowed: which values it may have.
        meaning: what it is.
    """

    path: str
    type: str
    unit: str
    default: str
    allowed: str
    meaning: str


def knob_reference() -> Iterator[Key]:
    """Every knob that a study may search, in the order of the study file."""
    for name, knob in KNOBS.items():
        values = f"{allowed(name)}; {knob.rule}" if knob.rule else allowed(name)
        yield Key(f"space.{name}", TYPES[kind(name)], knob.unit, as_yaml(knob.search), values, knob.meaning)


def space_reference() -> Iterator[Key]:
    """Every key under `space:` and `limits:`: the knobs, the mixture and the limits."""
    yield from knob_reference()
    for section, model in (("space.mixture", MixtureSpace), ("limits", Limits)):
        for name, field in model.model_fields.items():
            told = field.json_schema_extra
            assert isinstance(told, dict), f"{section}.{name} is documented"
            default = "none" if field.default is None else _scalar(field.default)
            yield Key(
                f"{section}.{name}",
                str(told["type"]),
                str(told.get("unit", "")),
                default,
                str(told["allowed"]),
                field.description or "",
            )


def as_yaml(values: Between | Choices) -> str:
    """Values of a knob as a study file writes them: `{low: 1, high: 4}`, `{choices: [1, 2]}` or `16`."""
    if isinstance(values, Between):
        log = ", log: true" if values.log else ""
        step = "" if values.step is None else f", step: {values.step}"
        return f"{{low: {_scalar(values.low)}, high: {_scalar(values.high)}{step}{log}}}"
    if values == only(values.choices[0]):
        return _scalar(values.choices[0])
    return f"{{choices: [{', '.join(map(_scalar, values.choices))}]}}"


def _scalar(value: Scalar) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def knobs_table() -> str:
    """The knobs as a Markdown table, as `studies/README.md` holds it."""
    return _table(knob_reference())


def other_table(section: str) -> str:
    """The keys of `space.mixture` or `limits` as a Markdown table."""
    return _table(key for key in space_reference() if key.path.startswith(f"{section}."))


def with_tables(document: str) -> str:
    """A document whose blocks `<!-- table: knobs -->` ... `<!-- end -->` hold today's tables."""

    def block(found: re.Match[str]) -> str:
        name = found[1]
        table = knobs_table() if name == "knobs" else other_table(name)
        return f"<!-- table: {name} -->\n{table}<!-- end -->"

    return re.sub(r"<!-- table: ([a-z.]+) -->\n.*?<!-- end -->", block, document, flags=re.DOTALL)


def _table(keys: Iterable[Key]) -> str:
    lines = ["| key | default | allowed | unit | meaning |", "|---|---|---|---|---|"]
    for key in keys:
        default = key.default if key.default == "none" else f"`{key.default}`"
        lines.append(f"| `{key.path}` | {default} | {key.allowed} | {key.unit} | {_sentence(key.meaning)} |")
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
