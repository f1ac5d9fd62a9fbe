"""Parts that long commands share: a progress bar for each phase, data preparation, and signal handling."""

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from search.commands.output import Meter, say
from search.signals import StopRequest, stop_with_message

if TYPE_CHECKING:
    from pathlib import Path

    from space.records import SuiteRecord
    from trainers.exports.threads import Threads


class Phases:
    """Progress bars on stderr, one after another: one for each phase of a command.

    It is called with the phase's name, the amount done, the total and a few words.
    """

    def __init__(self) -> None:
        self._name = ""
        self._meter: Meter | None = None

    def __enter__(self) -> Self:
        """Nothing is shown before the first phase."""
        return self

    def __call__(self, phase: str, done: float, total: float, note: str = "") -> None:
        """Update the phase's bar; a new phase's bar replaces the last one."""
        if self._meter is None or phase != self._name:
            self._close(None, None, None)
            self._name, self._meter = phase, Meter(phase, total)
            self._meter.__enter__()
        self._meter.update(done, note, total)

    def say(self, text: str) -> None:
        """Print a line on stderr and end the current bar."""
        self._close(None, None, None)
        say(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the last bar."""
        self._close(kind, error, trace)

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._meter is not None:
            self._meter.__exit__(kind, error, trace)
            self._meter = None


def prepare_data(suite: "SuiteRecord", phases: Callable[[str, float, float, str], None]) -> None:
    """Generate the missing training data of a suite's tasks, on all cores."""
    from search.engines.devices import cpu_count
    from trainers.tasks.prepare import prepare

    prepare(suite, cpu_count(), lambda task, done, total: phases("data", done, total, task))


def threads_of(asked: int | None, phases: Phases, note: "Path | None" = None) -> "Threads":
    """An object that chooses the number of CPU threads and reports it on stderr.

    Args:
        asked: the number that the user gave; None to choose one.
        phases: prints the report.
        note: a file that stores the choice; None stores nothing.
    """
    from search.engines.devices import cpu_count
    from trainers.exports.threads import Threads

    return Threads(asked, cpu_count(), phases.say, note)


def ending_at_once(message: str) -> AbstractContextManager[StopRequest]:
    """A block that any signal ends at once, because nothing can be saved.

    Args:
        message: the line to end with.

    Raises:
        Interrupted: SIGINT or SIGHUP came; `Terminated` after SIGTERM.
    """

    def end() -> None:
        raise KeyboardInterrupt

    return stop_with_message(end, message)


@contextmanager
def ending_at_a_checkpoint(again: str) -> Iterator[Callable[[], bool]]:
    """A block in which the first signal asks for a stop at a checkpoint, and a second one ends it at once.

    Args:
        again: the command that continues; the error line names it.

    Yields:
        Returns whether to stop.

    Raises:
        Interrupted: SIGINT or SIGHUP came; `Terminated` after SIGTERM.
    """
    with stop_with_message(
        _say_stopping,
        at_once=f"stopped at once; from the last checkpoint, resume with: {again}",
        at_checkpoint=f"stopped at a checkpoint; resume with: {again}",
    ) as request:
        yield lambda: request.asked


def _say_stopping() -> None:
    """Say so from a signal handler, which may interrupt a print."""
    os.write(2, b"stopping at a checkpoint\n")


def command_line(*words: object, **options: object) -> str:
    """A command line, quoted for the shell; options whose value is None are left out."""
    given = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    return shlex.join(["pathfront", *(str(word) for word in (*words, *given))])
