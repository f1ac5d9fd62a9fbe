"""Check what an engine returns and raises, so that a mistake in it is one line that names the engine.

`make_engine` wraps every engine in `GuardedEngine`, and that wraps each worker in `GuardedWorker`.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from search.engines.engine import Engine, Job, RunningWorker
from space.errors import MachineError, PathfrontError, StudyFileError, one_line
from space.plugins import describe_error
from space.shipped import ENGINES

WORKER_METHODS = ("poll", "interrupt", "kill")
DEVICES = ("cpu", "cuda")
SIGNALS = {int(number) for number in signal.valid_signals()}


def signal_name(number: int) -> str:
    """Return the name of a signal, such as "SIGKILL"; "signal 40" for a real-time signal without one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def blamed(name: str, method: str = "", kind: type[PathfrontError] = MachineError) -> Iterator[None]:
    """Turn errors of an engine into one line that names it.

    Args:
        name: of the engine.
        method: that is called in the block; empty for the constructor.
        kind: of the error that is raised.

    Raises:
        PathfrontError: the block raised an error.
        OSError: the block raised it, and the engine ships with Pathfront: the message names a file.
    """
    try:
        yield
    except PathfrontError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and name in ENGINES:
            raise
        what = f" in {method}" if method else ""
        raise kind(f"engine: '{name}' raises {describe_error(error)}{what}") from error


class GuardedWorker:
    """A worker of an engine, whose methods raise only errors that name the engine.

    Args:
        worker: what the engine's `start` returned.
        engine: the engine's name.
    """

    def __init__(self, worker: RunningWorker, engine: str) -> None:
        self._worker = worker
        self._engine = engine

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal that killed the worker; None while it runs.

        Raises:
            PathfrontError: the worker's `poll` raises, or returns something else.
        """
        with blamed(self._engine, "poll"):
            code = self._worker.poll()
        if code is None:
            return None
        if type(code) is bool or not isinstance(code, int):
            raise MachineError(
                f"engine: '{self._engine}': poll returns None or a whole number, the exit code,"
                f" got {_shown(code)}"
            )
        if code < 0 and -code not in SIGNALS:
            raise MachineError(
                f"engine: '{self._engine}': poll returns an exit code from 0, or minus the number of a"
                f" signal, got {code}"
            )
        return int(code)

    def interrupt(self) -> None:
        """Ask the worker to stop at its next checkpoint.

        Raises:
            PathfrontError: the worker's `interrupt` raises.
        """
        with blamed(self._engine, "interrupt"):
            self._worker.interrupt()

    def kill(self) -> None:
        """End the worker at once.

        Raises:
            PathfrontError: the worker's `kill` raises.
        """
        with blamed(self._engine, "kill"):
            self._worker.kill()


class GuardedEngine:
    """An engine whose results are checked, and whose methods raise only errors that name it.

    Args:
        engine: the engine, with the methods `plan` and `start`.
        name: as the study file has it.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    def plan(self, workers: int | None) -> tuple[str, int]:
        """Return the device and the number of workers.

        Raises:
            StudyFileError: the engine refuses the study, or its `plan` returns something else.
            PathfrontError: its `plan` raises another error.
        """
        with blamed(self._name, "plan"):
            planned = self._engine.plan(workers)
        rule = f"engine: '{self._name}': plan returns a device, 'cpu' or 'cuda', and the number of workers"
        if not isinstance(planned, tuple | list) or len(planned) != 2:
            raise StudyFileError(f"{rule}, got {_shown(planned)}")
        device, count = planned
        if device not in DEVICES:
            raise StudyFileError(f"{rule}, got the device {_shown(device)}")
        if type(count) is bool or not isinstance(count, int) or count < 1:
            raise StudyFileError(f"{rule}, a whole number from 1, got {_shown(count)}")
        return device, int(count)

    def start(self, job: Job) -> GuardedWorker:
        """Start a worker.

        Args:
            job: the worker to start.

        Raises:
            PathfrontError: the engine's `start` raises, or returns no worker. An object with a `kill` is
                killed first.
        """
        with blamed(self._name, "start"):
            worker = self._engine.start(job)
        if all(callable(getattr(worker, method, None)) for method in WORKER_METHODS):
            return GuardedWorker(worker, self._name)
        with suppress(Exception):  # the error below is the one to report
            if callable(getattr(worker, "kill", None)):
                worker.kill()
        raise MachineError(
            f"engine: '{self._name}': start returns a worker with poll, interrupt and kill,"
            f" got {type(worker).__name__}"
        )


def _shown(value: object) -> str:
    return f"{one_line(repr(value), 80)} ({type(value).__name__})"
