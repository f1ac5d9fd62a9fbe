"""Numbers in messages for people: 1.23M, 2 h 05 min, 3 workers, 0.412 ± 0.020."""

import math

Z95 = 1.96  # standard errors on either side of a 95% interval (normal distribution)
UNKNOWN = "-"
_STEPS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float | None, unit: str = "", unknown: str = UNKNOWN) -> str:
    """A number with three significant digits and an SI prefix: 1234567 -> "1.23M".

    Args:
        value: the number.
        unit: goes behind the prefix, after a space: "2.5 TFLOPs".
        unknown: the text for None, infinity and NaN.
    """
    if value is None or not math.isfinite(value):
        return unknown
    space = " " if unit else ""
    for step, prefix in _STEPS:
        if abs(value) >= 0.9995 * step:
            return f"{_three_digits(value / step)}{space}{prefix}{unit}"
    return f"{_three_digits(value)}{space}{unit}"


def duration(seconds: float | None, unknown: str = UNKNOWN) -> str:
    """Seconds in two units at most: 200 -> "3 min 20 s", 7505 -> "2 h 05 min", 200000 -> "2 d 7 h"."""
    if seconds is None or not math.isfinite(seconds):
        return unknown
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def plus_minus(value: float, stderr: float, digits: int = 3) -> str:
    """A value with its 95% interval, given its standard error: "0.412 ± 0.020"."""
    return f"{value:.{digits}f} ± {Z95 * stderr:.{digits}f}"


def interval(value: float, stderr: float) -> str:
    """A value with the ends of its 95% interval, given its standard error: "0.412 [0.392, 0.432]"."""
    return f"{value:.3f} [{value - Z95 * stderr:.3f}, {value + Z95 * stderr:.3f}]"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun: 1 worker, 2 workers, 1,200 trials.

    Args:
        number: how many.
        noun: the singular.
        plural: the plural, where it is not the singular with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
