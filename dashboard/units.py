"""Format numbers with units: 1.2M tokens, 3.4 TFLOPs, 2 h 05 min."""

from datetime import UTC, datetime

from search.read.rows import FrontRow
from space import words
from space.words import Z95 as Z95  # the figures use it

UNKNOWN = "\N{EN DASH}"


def short(value: float | None, unit: str = "") -> str:
    """Three significant digits and a prefix: 1234567 -> "1.23M"; a dash where nothing is known."""
    return words.short(value, unit, UNKNOWN)


def flops(value: float | None) -> str:
    """FLOPs with a prefix: 2.5e12 -> "2.5 TFLOPs"."""
    return short(value, "FLOPs")


def duration(seconds: float | None) -> str:
    """Two units at most: 7505 -> "2 h 05 min"."""
    return words.duration(seconds, UNKNOWN)


def moment(when: datetime | None) -> str:
    """A moment in UTC to the minute; a dash if there is none."""
    if when is None:
        return UNKNOWN
    aware = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return aware.strftime("%Y-%m-%d %H:%M")


def half_interval(row: FrontRow) -> float:
    """Half of the 95% interval of a candidate on the front: that of its confirmed mean, if there is one."""
    if row.interval is None:
        return Z95 * row.score_stderr
    return (row.interval[1] - row.interval[0]) / 2


def signed(value: float | None, stderr: float | None = None) -> str:
    """A score with its 95% interval: "0.412 ± 0.020"; the caller's label says that it is an interval."""
    if value is None:
        return UNKNOWN
    return words.plus_minus(value, stderr) if stderr else f"{value:.3f}"
