"""Versions of the packages that data and references were made with."""

import platform
from collections.abc import Iterable
from importlib.metadata import version


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Python's version and those of some distributions."""
    return {"python": platform.python_version()} | {name: version(name) for name in sorted(packages)}
