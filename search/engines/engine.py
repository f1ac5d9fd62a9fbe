"""The protocol of engines: where the workers of a study run, and how they are started, watched and stopped.

An engine starts one worker at a time and says how it ended. Everything else is the launcher's
(`search.engines.launcher`): how many workers there are, which are replaced, what a failure means, when the
study ends. A worker is the command `pathfront worker STUDY`; it finds the study in the database, so an engine
passes nothing on but the job's command and environment.

Engines for many machines fit the same four calls: `start` submits a job, `poll` asks the queue, `interrupt`
sends the job SIGINT, `kill` cancels it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from search.engines.guard import GuardedEngine, blamed
from space.errors import StudyFileError
from space.plugins import load_object
from space.shipped import ENGINES, checked_name
from space.study import StudyConfig

RULE = "engine: an engine as package.module:Class"
METHODS = ("plan", "start")


@dataclass(frozen=True)
class Job:
    """One worker to start.

    Attributes:
        index: its place among the study's workers, from 0; a worker that is replaced leaves its place to
            another one.
        command: program and arguments.
        environment: variables to set beside those of the launcher; the database's URL is among them, since
            arguments can be read by others.
        log: file that the worker's output is appended to.
    """

    index: int
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path


class RunningWorker(Protocol):
    """A worker that was started."""

    def poll(self) -> int | None:
        """How it ended: its exit code, or minus the signal that killed it; None before its end."""
        ...

    def interrupt(self) -> None:
        """Ask it to stop at its next checkpoint: send it SIGINT, once for each call."""
        ...

    def kill(self) -> None:
        """End it at once; `poll` returns a number soon after."""
        ...


class Engine(Protocol):
    """Runs workers of one study; made as `Class(config)`."""

    def plan(self, workers: int | None) -> tuple[str, int]:
        """Decide what the study runs on.

        Args:
            workers: trials side by side that the user asks for; None for the study file's number.

        Returns:
            "cpu" or "cuda", and the number of workers.

        Raises:
            StudyFileError: the study cannot run here.
        """
        ...

    def start(self, job: Job) -> RunningWorker:
        """Start a worker, or submit it to a queue."""
        ...


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
