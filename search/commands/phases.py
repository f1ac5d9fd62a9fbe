"""What long commands share: a bar for each phase, the data made first, and signals that lose no work."""

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from search.commands.output import Meter, say
from search.signals import StopRequest, stop_signals
from space.errors import Interrupted

if TYPE_CHECKING:
    from pathlib import Path

    from space.records import SuiteRecord
    from trainers.exports.threads import Threads


class Phases:
    """One bar after another: each phase of a command has its own.

    Called with the phase's name, how much is done, of how much, and a few words.
    """

    def __init__(self) -> None:
        self._name = ""
        self._meter: Meter | None = None

    def __enter__(self) -> Self:
        """Nothing to show yet."""
        return self

    def __call__(self, phase: str, done: float, total: float, note: str = "") -> None:
        """Move the phase's bar, which takes the place of the one before."""
        if self._meter is None or phase != self._name:
            self._close(None, None, None)
            self._name, self._meter = phase, Meter(phase, total)
            self._meter.__enter__()
        self._meter.update(done, note, total)

    def say(self, text: str) -> None:
        """Say a line on stderr between two phases."""
        self._close(None, None, None)
        say(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the last bar away."""
        self._close(kind, error, trace)

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._meter is not None:
            self._meter.__exit__(kind, error, trace)
            self._meter = None


def prepare_data(suite: "SuiteRecord", phases: Phases) -> None:
    """Make the training data of a suite's tasks where they are missing, on all cores."""
    from search.engines.devices import cpu_count
    from trainers.tasks.prepare import prepare

    prepare(suite, cpu_count(), lambda task, done, total: phases("data", done, total, task))


def threads_of(asked: int | None, phases: Phases, note: "Path | None" = None) -> "Threads":
    """What chooses the number of threads, and says so on stderr."""
    from search.engines.devices import cpu_count
    from trainers.exports.threads import Threads

    return Threads(asked, cpu_count(), phases.say, note)


@contextmanager
def ending_at_once(what: str) -> Iterator[None]:
    """Let a signal end the block at once, in one line: where nothing can be saved.

    Raises:
        Interrupted: SIGINT or SIGHUP came; `Terminated` after SIGTERM.
    """
    request: StopRequest | None = None

    def end() -> None:
        raise KeyboardInterrupt

    try:
        with stop_signals(end) as request:
            yield
    except KeyboardInterrupt:
        if request is None or not request.asked:
            raise
        raise request.error(what) from None


@contextmanager
def ending_at_a_checkpoint(again: str) -> Iterator[Callable[[], bool]]:
    """Let the first signal ask for a stop at a checkpoint, and a second of its kind end the block at once.

    Args:
        again: the command that goes on.

    Yields:
        Whether to stop.

    Raises:
        Interrupted: SIGINT or SIGHUP came; `Terminated` after SIGTERM.
    """
    request: StopRequest | None = None
    try:
        with stop_signals(_say_stopping) as request:
            yield lambda: request is not None and request.asked
    except Interrupted:
        if request is None or not request.asked:
            raise
        raise request.error(f"stopped at a checkpoint; go on with: {again}") from None
    except KeyboardInterrupt:
        if request is None or not request.asked:
            raise
        raise request.error(f"stopped at once; from the last checkpoint, go on with: {again}") from None


def _say_stopping() -> None:
    """Say so in a signal handler, which may run in the middle of a print."""
    os.write(2, b"stopping at a checkpoint\n")


def command_line(*words: object, **options: object) -> str:
    """A command as one would type it; options without a value are left out."""
    given = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    return shlex.join(["pathfront", *(str(word) for word in (*words, *given))])
