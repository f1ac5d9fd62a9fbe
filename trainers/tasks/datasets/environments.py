"""Environments of Gymnasium from their specifications, which are JSON and come with a user's data.

Only classes of installed packages that are environments or wrappers are called, so a specification cannot run
any other code.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from space.errors import MachineError, TaskError
from space.plugins import describe_error

KNOWN = {field.name for field in fields(EnvSpec) if field.init}
SHOWN = ("human", "ansi")  # kinds of rendering that no observation is made of


def parse_spec(text: str) -> EnvSpec:
    """A specification of an environment; what older versions of Gymnasium wrote besides is left out.

    Raises:
        TaskError: it is damaged.
    """
    try:
        found = json.loads(text)
        found = {name: value for name, value in found.items() if name in KNOWN}
        wrappers = tuple(WrapperSpec(**wrapper) for wrapper in found.pop("additional_wrappers", ()))
        spec = EnvSpec(**found, additional_wrappers=wrappers)
        if not all(":" in place for place in _entry_points(spec)):
            raise ValueError("it names no class")
        if spec.kwargs.get("render_mode") in SHOWN:
            spec.kwargs["render_mode"] = None
    except (ValueError, TypeError, AttributeError, gymnasium.error.Error) as error:
        raise TaskError(f"a specification of an environment can be read, this cannot: {error}") from None
    return spec


def check_spec(spec: EnvSpec, requirements: Sequence[str] = ()) -> None:
    """Check that an environment and its wrappers are classes of installed packages.

    Args:
        spec: of the environment.
        requirements: what its data say has to be installed.

    Raises:
        MachineError: a package is missing, or cannot be imported; the message says what to install.
        TaskError: it names something else than environments and wrappers.
    """
    for place, base in zip(_entry_points(spec), _bases(spec), strict=True):
        _check_class(spec.id, place, base, tuple(requirements))


def make_environment(spec: EnvSpec) -> gymnasium.Env:
    """A new environment with its wrappers; errors as those of `check_spec`.

    Raises:
        TaskError: it cannot be made.
    """
    check_spec(spec)
    try:
        with quiet():
            return gymnasium.make(spec, disable_env_checker=True)
    except Exception as error:  # code of the packages that are installed
        raise TaskError(f"the environment '{spec.id}' cannot be made: {describe_error(error)}") from error


@lru_cache(maxsize=32)
def cached_spec(text: str) -> EnvSpec:
    """As `parse_spec`, once for each text."""
    return parse_spec(text)


def distribution_of(spec: EnvSpec) -> str:
    """The installed distribution that has an environment's class."""
    return _distributions()[_top(_entry_points(spec)[0])][0]


def is_minigrid(spec: EnvSpec) -> bool:
    """Whether an environment is one of MiniGrid's or BabyAI's, without wrappers that change what is seen."""
    return _top(_entry_points(spec)[0]) == "minigrid" and not spec.additional_wrappers


@contextmanager
def quiet() -> Iterator[None]:
    """A context without the warnings of environments about versions and precision."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _entry_points(spec: EnvSpec) -> list[str]:
    return [str(spec.entry_point), *(wrapper.entry_point for wrapper in spec.additional_wrappers)]


def _bases(spec: EnvSpec) -> list[type]:
    return [gymnasium.Env, *[gymnasium.Wrapper] * len(spec.additional_wrappers)]


def _top(place: str) -> str:
    return place.partition(":")[0].partition(".")[0]


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


@lru_cache(maxsize=128)
def _check_class(name: str, place: str, base: type, requirements: tuple[str, ...]) -> None:
    top = _top(place)
    needed = " ".join(f"'{requirement}'" for requirement in requirements) or top.replace("_", "-")
    if top not in _distributions():
        what = "no installed package has it" if find_spec(top) else "there is none here"
        raise MachineError(
            f"the environment '{name}' needs the module '{top}', and {what}: pip install {needed}"
        )
    module, _, attribute = place.partition(":")
    try:
        with quiet():
            found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, OSError) as error:
        raise MachineError(
            f"the environment '{name}' needs '{place}', which cannot be imported here:"
            f" {describe_error(error)}; pip install {needed}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise TaskError(f"an environment is a class of {base.__qualname__}, '{name}' is '{place}'")
