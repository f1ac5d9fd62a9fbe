"""Versions, data and code that trials are trained with, compared before a worker joins a study.

A worker with other data or other code is refused, because its scores could not be compared. Other versions
of Python or of a library are allowed, and stored with each trial.
"""

import platform
from importlib import metadata

from pydantic import Field

from space.fingerprint import source_fingerprint
from space.records import Frozen
from space.study import StudyConfig

PACKAGES = ("pathfront", "torch", "lightning", "numpy", "gymnasium", "mujoco", "scikit-learn")
SHOWN = 8  # characters of a digest


class Environment(Frozen):
    """Versions, data and code of one process.

    Attributes:
        python: version of Python, major and minor.
        packages: package -> version, of packages that influence results.
        data: task -> digest of its data; empty for a user's own trainer, which brings its own data.
        code: `package.module:name` in the study file -> digest of its source.
    """

    python: str
    packages: dict[str, str] = Field(default_factory=dict)
    data: dict[str, str] = Field(default_factory=dict)
    code: dict[str, str] = Field(default_factory=dict)


def environment_here(config: StudyConfig, tasks: tuple[str, ...], data: dict[str, str]) -> Environment:
    """The environment of this process for a study.

    Args:
        config: the study.
        tasks: names of its tasks; a user's own are `package.module:Class`.
        data: task -> digest of its data on this machine.

    Raises:
        StudyFileError: a module that the study names cannot be found.
    """
    names = (config.trainer, config.search.sampler, config.search.promotion, *tasks)
    named = [name for name in names if name and ":" in name and not name.startswith("optuna.")]
    return Environment(
        python=".".join(platform.python_version_tuple()[:2]),
        packages={name: version for name in PACKAGES if (version := _version(name)) is not None},
        data=data,
        code={name: source_fingerprint(name) for name in named},
    )


def conflicts(study: Environment, here: Environment) -> list[str]:
    """Differences that make scores incomparable, each as "what: the study's digest, the digest here"."""
    found = []
    for kind, theirs, ours in (("data of task", study.data, here.data), ("source of", study.code, here.code)):
        for name in theirs:
            if name in ours and theirs[name] != ours[name]:
                digests = f"{theirs[name][:SHOWN]} in the study, {ours[name][:SHOWN]} here"
                found.append(f"{kind} '{name}': {digests}")
    if found and study.python != here.python:
        found.append(f"Python {study.python} in the study, {here.python} here")
    return found


def other_versions(study: Environment, here: Environment) -> list[str]:
    """Versions that differ, each as "name version, here version"."""
    theirs = {"python": study.python, **study.packages}
    ours = {"python": here.python, **here.packages}
    return [
        f"{name} {theirs[name]}, here {ours.get(name, 'none')}"
        for name in theirs
        if theirs[name] != ours.get(name)
    ]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
