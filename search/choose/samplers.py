"""Make the sampler that a study names: one that ships, one of Optuna's, or one of the user's."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from search.choose.sampler import Problem, Sampler
from space.errors import PathfrontError, StudyFileError, nearest
from space.plugins import describe_error, load_object
from space.shipped import SAMPLERS
from space.study import Search

RULE = "search.sampler: a sampler as package.module:Class"
INSTALLED = ("search", "space", "trainers", "optuna")  # packages whose files a user cannot mend
ORIGIN_LENGTH = 100  # characters of a class's name; the column of origins holds 200


def make_sampler(search: Search, problem: Problem) -> Sampler:
    """Import and make a study's sampler.

    Args:
        search: names the sampler and its arguments.
        problem: the study's space, tasks, limits and seed.

    Raises:
        StudyFileError: there is no such class, it takes other arguments, or it cannot search this space.
    """
    name, arguments = search.sampler, search.sampler_args
    kind = load_object(SAMPLERS.get(name, name), RULE, StudyFileError)
    if not callable(kind):
        raise StudyFileError(f"{RULE}, and '{name}' is a {type(kind).__name__}")
    if isinstance(kind, type) and not callable(getattr(kind, "suggest", None)) and not _is_of_optuna(kind):
        raise StudyFileError(f"{RULE} with a method suggest(view), and '{name}' has none")
    make = _make_of_optuna if _is_of_optuna(kind) else _make_own
    made: Any = make(name, kind, problem, arguments)
    if not callable(getattr(made, "suggest", None)):
        raise StudyFileError(f"{RULE} with a method suggest(view), and '{name}' has none")
    return made


def _make_own(name: str, kind: Callable[..., Any], problem: Problem, arguments: Mapping[str, Any]) -> object:
    _check_arguments(name, kind, arguments, given=(problem,))
    with blamed(_key(arguments), name):
        return kind(problem, **arguments)


def _make_of_optuna(name: str, kind: Any, problem: Problem, arguments: Mapping[str, Any]) -> object:
    from search.choose.optuna_samplers import OptunaSampler, refuse

    refuse(kind)
    _check_arguments(name, kind, arguments)
    with blamed(_key(arguments), name):
        return OptunaSampler(problem, kind, arguments)


def origin(sampler: str) -> str:
    """What a candidate's origin says of a sampler: its name, or the beginning of its class's name."""
    if sampler in SAMPLERS:
        return sampler
    return sampler.rpartition(":")[2].removesuffix("Sampler")[:ORIGIN_LENGTH] or "sampler"


def suggesting(search: Search) -> AbstractContextManager[None]:
    """Blame errors of a study's sampler, for a block that asks it for suggestions; see `blamed`.

    A wrong value in `sampler_args` may show no earlier than at the first suggestion.
    """
    return blamed(_key(search.sampler_args), search.sampler)


def _key(arguments: Mapping[str, Any]) -> str:
    """The key of the study file to blame for an error of its sampler."""
    return "search.sampler_args" if arguments else "search.sampler"


@contextmanager
def blamed(key: str, name: str) -> Iterator[None]:
    """Turn errors of a sampler into one line that names it.

    Args:
        key: of the study file, with which the line begins.
        name: of the sampler.

    Raises:
        StudyFileError: the block raised an error.
    """
    try:
        yield
    except StudyFileError as error:
        if str(error).startswith("search."):
            raise
        raise StudyFileError(f"{key}: '{name}': {error}") from error
    except PathfrontError:
        raise
    except ImportError as error:
        if error.name is None:
            raise StudyFileError(f"{key}: '{name}' raises {_described(name, error)}") from error
        raise StudyFileError(
            f"search.sampler: '{name}' needs the package '{error.name}', and it is not installed"
        ) from error
    except Exception as error:
        raise StudyFileError(f"{key}: '{name}' raises {_described(name, error)}") from error


def _described(name: str, error: Exception) -> str:
    """An error and where it was raised; no place in a file of Pathfront's or Optuna's.

    Args:
        name: of the sampler.
        error: that it raised.
    """
    described = describe_error(error)
    package = SAMPLERS.get(name, name).partition(":")[0].partition(".")[0]
    found = re.fullmatch(r"(.*) \((.+?)(?::\d+)?\)", described)
    if found is None:
        return described
    place = Path(found[2]).absolute()
    installed = package in INSTALLED and Path(found[2]).is_absolute()
    return found[1] if installed or any(place.is_relative_to(folder) for folder in _folders()) else described


def _folders() -> list[Path]:
    """The folders of Pathfront's packages and of Optuna."""
    modules = [sys.modules[name] for name in INSTALLED if name in sys.modules]
    return [Path(module.__file__).parent for module in modules if module.__file__ is not None]


def _is_of_optuna(kind: object) -> bool:
    """Whether a class is a sampler of Optuna's interface; Optuna is not imported to find out."""
    samplers: Any = sys.modules.get("optuna.samplers")
    return samplers is not None and isinstance(kind, type) and issubclass(kind, samplers.BaseSampler)


def _check_arguments(
    name: str, kind: Callable[..., Any], arguments: Mapping[str, Any], given: tuple[Any, ...] = ()
) -> None:
    """Check the names of a sampler's arguments.

    Raises:
        StudyFileError: the class does not take one of them, or needs another one.
    """
    signature = inspect.signature(kind)
    named = [
        p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if given:
        named = named[1:]
    open_ended = any(p.kind == p.VAR_KEYWORD for p in signature.parameters.values())
    for argument in arguments:
        if not given and argument == "seed":
            raise StudyFileError("search.sampler_args: the seed is the key search.seed, got 'seed'")
        if argument not in named and not open_ended:
            hint = nearest(argument, [n for n in named if n != "seed"]) or "; it takes none"
            raise StudyFileError(f"search.sampler_args: arguments of '{name}', got '{argument}'{hint}")
    try:
        signature.bind(*given, **arguments)
    except TypeError as error:
        raise StudyFileError(f"search.sampler_args: arguments of '{name}', which refuses: {error}") from None
