"""Messages and progress on stderr, as lines where it is no terminal; a rich console for either stream.

rich respects NO_COLOR. It is imported inside functions, so that `--help` is fast.
"""

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from space.words import UNKNOWN

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 15.0  # between two lines of progress if stderr is not a terminal
PLAIN_WIDTH = 180  # columns if stdout is not a terminal


def say(text: str = "") -> None:
    """Print a message on stderr."""
    print(text, file=sys.stderr, flush=True)


def console(stderr: bool = False) -> "Console":
    """A rich console; output to a file or a pipe is not cut to a terminal's width."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def score(value: float | None, stderr: float | None = None) -> str:
    """A score with its standard error: 0.512 ± 0.014 s.e."""
    if value is None:
        return UNKNOWN
    return f"{value:.3f}" if stderr is None else f"{value:.3f} ± {stderr:.3f} s.e."


class Ticker:
    """Limits lines of progress to one in 15 seconds."""

    def __init__(self) -> None:
        self._last = -LINE_SECONDS

    def due(self) -> bool:
        """Whether the next line is due; the first one is due immediately."""
        now = time.monotonic()
        if now - self._last < LINE_SECONDS:
            return False
        self._last = now
        return True


class Meter:
    """Progress of one long task on stderr: a bar on a terminal, else a line every 15 seconds.

    Args:
        label: name of the task.
        total: amount of work.
    """

    def __init__(self, label: str, total: float) -> None:
        self._label, self._total = label, total
        self._done, self._note = 0.0, ""
        self._ticker = Ticker()
        self._bar: Any = None

    def __enter__(self) -> Self:
        """Show the bar."""
        if sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total, note="")
        return self

    def update(self, done: float, note: str = "", total: float | None = None) -> None:
        """Update the progress.

        Args:
            done: amount of work that is done.
            note: short text beside the bar.
            total: a new total; None keeps it.
        """
        self._done, self._note = done, note
        self._total = self._total if total is None else total
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._total, note=note)
        elif self._ticker.due():
            self._line()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar, or print a last line."""
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            self._line()

    def _line(self) -> None:
        share = self._done / self._total if self._total else 1.0
        say(f"{self._label}: {share:4.0%}  {self._note}".rstrip())
