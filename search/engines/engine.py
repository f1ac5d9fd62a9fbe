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
from typing import Protocol


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
