"""Names of the classes that `datasets` keeps as numbers in Arrow and Parquet (its feature `ClassLabel`)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from space.errors import TaskError

KEY = b"huggingface"  # of a schema's metadata
UNKNOWN = -1  # the class of an item whose class is held back


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Field -> names of its classes, of the fields of classes or of lists of them.

    Args:
        metadata: of a schema of Arrow.
    """
    try:
        features = json.loads((metadata or {})[KEY])["info"]["features"]
        found = {field: _names(feature) for field, feature in features.items()}
    except (KeyError, TypeError, ValueError, AttributeError):  # not of `datasets`
        return {}
    return {field: names for field, names in found.items() if names}


def named(
    row: Mapping[str, Any], names: Mapping[str, Sequence[str]], where: str
) -> Mapping[str, Any] | TaskError:
    """A row with the names of classes instead of their numbers; the reason where a number has none.

    Args:
        row: field -> value.
        names: field -> names of its classes.
        where: the row's place, for messages.
    """
    found = dict(row)
    for field in names.keys() & row.keys():
        try:
            found[field] = _name(row[field], names[field])
        except (IndexError, TypeError):
            return TaskError(
                f"the field '{field}' holds one of {len(names[field])} classes, '{where}' holds"
                f" {str(row[field])[:24]!r}"
            )
    return found


def _names(feature: Any) -> list[str]:
    while isinstance(feature, dict) and "feature" in feature:
        feature = feature["feature"]
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return []
    return [str(name) for name in feature["names"]]


def _name(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_name(each, names) for each in value]
    if value is None or value == UNKNOWN:
        return None
    if value < 0:
        raise IndexError(value)
    return names[value]
