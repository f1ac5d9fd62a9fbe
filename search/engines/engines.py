"""Make the engine that a study names: one that ships, or a class of the user's."""

from typing import Any

from search.engines.engine import Engine
from search.engines.guard import GuardedEngine, blamed
from space.errors import StudyFileError
from space.plugins import load_object
from space.shipped import ENGINES, checked_name
from space.study import StudyConfig

RULE = "engine: an engine as package.module:Class"
METHODS = ("plan", "start")


def make_engine(config: StudyConfig) -> Engine:
    """Import and make the engine that a study names; what it returns and raises is checked.

    Raises:
        StudyFileError: there is no such class, or it is no engine.
    """
    kind = load_object(ENGINES.get(config.engine, config.engine), RULE, StudyFileError)
    if not callable(kind):
        raise StudyFileError(f"{RULE}, and '{config.engine}' is a {type(kind).__name__}")
    with blamed(config.engine, kind=StudyFileError):
        engine: Any = kind(config)
    missing = [name for name in METHODS if not callable(getattr(engine, name, None))]
    if missing:
        both = " and ".join(METHODS)
        raise StudyFileError(f"{RULE} with the methods {both}, and '{config.engine}' has no {missing[0]}")
    return GuardedEngine(engine, config.engine)


def with_engine(config: StudyConfig, engine: str | None) -> StudyConfig:
    """A study on another engine than its file names.

    Args:
        config: the study.
        engine: a name or `package.module:Class`; None for the file's.

    Raises:
        StudyFileError: it is neither.
    """
    if engine is None:
        return config
    try:
        return config.model_copy(update={"engine": checked_name("engine", engine, ENGINES)})
    except ValueError as error:
        raise StudyFileError(f"--engine: {error}") from None
