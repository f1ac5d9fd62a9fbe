"""Format numbers with units: 1.2M tokens, 3.4 TFLOPs, 2 h 05 min."""

import math
from datetime import UTC, datetime

Z95 = 1.96  # standard errors on either side of a 95% interval
UNKNOWN = "\N{EN DASH}"
_STEPS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float | None, unit: str = "") -> str:
    """Three significant digits and a prefix: 1234567 -> "1.23M"; a dash if it is unknown."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    size = abs(value)
    for step, prefix in _STEPS:
        if size >= step * 0.9995:
            return f"{_three(value / step)}{' ' if unit else ''}{prefix}{unit}"
    return f"{_three(value)}{' ' if unit else ''}{unit}"


def flops(value: float | None) -> str:
    """FLOPs with a prefix: 2.5e12 -> "2.5 TFLOPs"."""
    return short(value, "FLOPs")


def duration(seconds: float | None) -> str:
    """Two units at most: 7505 -> "2 h 05 min"."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(when: datetime | None) -> str:
    """A moment in UTC to the minute; a dash if there is none."""
    if when is None:
        return UNKNOWN
    aware = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return aware.strftime("%Y-%m-%d %H:%M")


def signed(value: float | None, stderr: float | None = None) -> str:
    """A score with its 95% interval: "0.412 ± 0.020"; the caller's label says that it is an interval."""
    if value is None:
        return UNKNOWN
    return f"{value:.3f}" if not stderr else f"{value:.3f} ± {Z95 * stderr:.3f}"


def _three(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
