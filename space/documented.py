"""Keys of a study file that carry their documentation, which `space.reference` reads."""

from typing import Any

from pydantic import Field


def documented(default: Any, meaning: str, **told: Any) -> Any:
    """A field with a default whose documentation `space.reference` reads.

    Args:
        default: of the field.
        meaning: what the key is.
        told: `type`, `unit` and `allowed` in words, and constraints for pydantic's `Field`.
    """
    rules = {name: told.pop(name) for name in ("ge", "gt", "le", "lt") if name in told}
    return Field(default=default, description=meaning, json_schema_extra=told, **rules)
