"""Rows as plain data, for `--json` and `--csv`."""

from dataclasses import fields, is_dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from space.candidate import Architecture, CandidateConfig
from space.description import Description, describe
from space.mixture import TaskMixture


def as_json(value: Any) -> Any:
    """Convert rows, models or plain values to what `json.dumps` takes.

    A description is flattened into its row: `label`, `sparse`, and one key per knob.

    Args:
        value: a row, a list of rows, or anything that pydantic can serialise.
    """
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if not is_dataclass(value) or isinstance(value, type):
        return to_jsonable_python(value)
    found: dict[str, Any] = {}
    for name in _field_names(type(value)):
        item = getattr(value, name)
        found |= _flat(item) if isinstance(item, Description) else {name: as_json(item)}
    return found


def column_names(row: type[Any]) -> list[str]:
    """Keys of a row as JSON, known without any row.

    Args:
        row: a class of rows, such as ListedTrial.
    """
    names: list[str] = []
    for name in _field_names(row):
        names += _flat(_EXAMPLE) if name == "description" else [name]
    return names


def _field_names(row: type[Any]) -> list[str]:
    return [each.name for each in fields(row)]


def _flat(description: Description) -> dict[str, Any]:
    return {"label": description.label, "sparse": description.sparse, **description.knobs}


_EXAMPLE = describe(
    CandidateConfig(
        architecture=Architecture(depth=1, width=16),
        mixture=TaskMixture(weights={"task": 1.0}),
        learning_rate=1e-3,
    )
)
