"""The display of a launch on stderr: bars of the study and of each running trial, and a table of rungs.

If stderr is not a terminal, it prints one plain line every 15 seconds instead.
"""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from search.operations import console
from space.words import counted, duration, short

if TYPE_CHECKING:
    from rich.console import RenderableType

    from search.read.results import Reader
    from search.read.rows import RunningTrial, StudyStatus


STOPPING = "stopping: running trials continue to their next checkpoint; Ctrl-C again stops at once"


class LaunchDisplay:
    """Shows the progress of a study each time that `tick` is called.

    Args:
        reader: the database.
        study: the study's name.
    """

    def __init__(self, reader: "Reader", study: str) -> None:
        self._reader, self._study = reader, study
        self._ticker = console.Ticker()
        self._live: Any = None
        self._stopping = False

    def __enter__(self) -> Self:
        """Start the display."""
        if sys.stderr.isatty():
            from rich.live import Live

            self._live = Live(console=console.console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def stop(self) -> None:
        """Show from now on that trials are stopping at their next checkpoint."""
        self._stopping = True
        if self._live is None:
            console.say(STOPPING)

    def tick(self) -> None:
        """Read the status and show it."""
        if self._live is not None:
            from rich.console import Group

            drawing = draw(self._reader.status(self._study), self._reader.url)
            self._live.update(Group(drawing, STOPPING) if self._stopping else drawing, refresh=True)
        elif self._ticker.due():
            console.say(line(self._reader.status(self._study)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the display with one last line."""
        if self._live is not None:
            self._live.stop()
        console.say(line(self._reader.status(self._study)))


def line(status: "StudyStatus") -> str:
    """A study's progress as one plain line."""
    rungs = " ".join(
        f"{rung.done}/{'?' if rung.expected is None else rung.expected}" for rung in status.rungs
    )
    parts = [
        f"{status.study}: {status.fraction_done:.0%}",
        f"{_trials(status)} (rungs {rungs})",
        f"{len(status.running)} running",
    ]
    if status.confirmation is not None:
        parts.insert(2, f"confirmed {status.confirmation.done}/{status.confirmation.wanted}")
    if status.states.get("failed"):
        parts.append(f"{status.states['failed']} failed{_reason(status)}")
    if status.at_floor:
        parts.append(f"{counted(status.at_floor, 'candidate')} at the floor")
    if status.best:
        parts.append(f"best {console.score(status.best.score, status.best.stderr)}")
    parts.append(f"{short(status.training_flops)} FLOPs")
    if status.seconds_left:
        parts.append(f"about {duration(status.seconds_left)} left")
    return ", ".join(parts)


def draw(status: "StudyStatus", url: str) -> "RenderableType":
    """A study's progress: a bar, a table of rungs, failures and the running trials."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from search.read.remarks import at_floor, failures

    head = Table.grid(padding=(0, 2))
    head.add_row(
        f"[bold]{status.study}[/]",
        ProgressBar(total=1.0, completed=status.fraction_done, width=24),
        f"{status.fraction_done:.0%}",
        _trials(status),
        f"{duration(status.seconds_left)} left" if status.seconds_left else "",
    )
    found = f"  best {_best(status)}, {short(status.training_flops)} FLOPs spent"
    rungs = Table.grid(padding=(0, 2))
    for rung in status.rungs:
        expected = "" if rung.expected is None else f" of {rung.expected}"
        state = f"{rung.running} running" if rung.running else ""
        failed = f"{rung.failed} failed" if rung.failed else ""
        tokens = f"{short(rung.tokens)} tokens"
        rungs.add_row(f"  rung {rung.rung}", tokens, f"{rung.done}{expected} done", state, failed)
    trials = Table.grid(padding=(0, 2))
    for trial in status.running:
        trials.add_row(*_trial(trial))
    troubles = [Text(f"  {remark}") for remark in [*failures(status, url), *at_floor(status)]]
    return Group(head, found, rungs, *troubles, trials)


def _trial(trial: "RunningTrial") -> tuple[Any, ...]:
    from rich.progress_bar import ProgressBar

    done = trial.progress_tokens - trial.start_tokens
    scoring = trial.progress_tokens >= trial.tokens
    loss = "" if trial.loss is None else f"loss {trial.loss:.3f}"
    return (
        f"  trial {'-' if trial.number is None else trial.number}",
        f"rung {trial.rung}",
        ProgressBar(total=trial.tokens - trial.start_tokens, completed=done, width=16),
        f"{short(trial.progress_tokens)} of {short(trial.tokens)}",
        "scoring" if scoring else loss,
        trial.description.label,
    )


def _trials(status: "StudyStatus") -> str:
    done = status.states.get("done", 0)
    expected = [rung.expected for rung in status.rungs if rung.expected is not None]
    if expected and done <= sum(expected):
        return f"{done} of {counted(sum(expected), 'trial')}"
    return counted(done, "trial")


def _reason(status: "StudyStatus") -> str:
    """The most frequent reason of failures, until a trial is scored."""
    if status.states.get("done") or not status.failures:
        return ""
    return f" ({status.failures[0].reason})"


def _best(status: "StudyStatus") -> str:
    if status.best is None:
        return "-"
    return f"{console.score(status.best.score, status.best.stderr)} (trial {status.best.number})"
