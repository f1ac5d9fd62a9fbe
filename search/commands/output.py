"""Output of commands: data on stdout, everything else on stderr, progress bars on terminals only.

rich respects NO_COLOR. It is imported inside functions, so that `--help` stays fast.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 15.0  # between two lines of progress where no bar can be drawn
PLAIN_WIDTH = 180  # columns if stdout is not a terminal
ANY_WIDTH = 10_000  # columns that a table may ask for: none is cut


def print_json(value: Any) -> None:
    """Print rows, models or plain values as JSON on stdout."""
    from search.read.rows import as_json

    print(json.dumps(as_json(value), indent=2, ensure_ascii=False))


def say(text: str = "") -> None:
    """Print a message on stderr."""
    print(text, file=sys.stderr, flush=True)


def console(stderr: bool = False) -> "Console":
    """A rich console that does not truncate tables when its output goes to a file or a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None, stderr: bool = False
) -> None:
    """Print a table; columns whose name starts with '>' are aligned to the right.

    Nothing is truncated: a narrow terminal wraps the lines. Brackets are text, not rich's markup.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        title=title and Text(title),
        title_justify="left",
        title_style="bold",
        pad_edge=False,
    )
    table.collapse_padding = True
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    printer = console(stderr)
    needed = printer.measure(table, options=printer.options.update_width(ANY_WIDTH)).maximum
    printer.width = max(printer.width, needed)
    printer.print(table)


def short(value: float | None) -> str:
    """A number in three digits: 1234567 -> 1.23M."""
    if value is None:
        return "-"
    for suffix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{suffix}" if value < 999.5 * size else f"{value / size:.0f}{suffix}"
    return f"{value:.3g}" if value % 1 else f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 200 -> 3 min 20 s."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole / 86400:.1f} days"


def score(value: float | None, stderr: float | None = None) -> str:
    """A score with its standard error: 0.512 ± 0.014 s.e."""
    if value is None:
        return "-"
    return f"{value:.3f}" if stderr is None else f"{value:.3f} ± {stderr:.3f} s.e."


class Ticker:
    """Limits lines of progress to one every 15 seconds."""

    def __init__(self) -> None:
        self._last = -LINE_SECONDS

    def due(self) -> bool:
        """Whether to print a line now."""
        now = time.monotonic()
        if now - self._last < LINE_SECONDS:
            return False
        self._last = now
        return True


class Meter:
    """Progress of a long task with a known end, on stderr.

    A bar on a terminal, else a line every 15 seconds.
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
        """Set the amount done, with a short note."""
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
