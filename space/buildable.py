"""Snap parameters to the nearest values that can be built together: ranges move, lists do not.

Independent draws from ranges seldom fit together: of the widths from 48 to 512, one in sixteen is a multiple
of a head of 16. The values of a list are intended as they are, so a combination that cannot be built is
rejected. A range with steps moves from step to step.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from space.candidate import CHANNELS
from space.knobs import Between, Choices


def snapped(ranges: Mapping[str, Between | Choices], values: Mapping[str, Any]) -> dict[str, Any]:
    """Move knobs with ranges to the nearest values that can be built together.

    Args:
        ranges: knob -> its range, for the knobs that vary.
        values: knob -> its value, for all knobs of an architecture.

    Returns:
        The values of the knobs that vary; a knob without such a value in its range keeps its own.
    """
    free = {name: knob for name, knob in ranges.items() if isinstance(knob, Between)}
    new = dict(values)
    _fit_heads(free, new)
    _at_most(free, new, "top_k", "experts")
    if new["experts"] > 1:  # a model without a router has no dense layers before its sparse ones
        _at_most(free, new, "dense_layers", "depth")
    elif "dense_layers" in free:
        _move(free, new, "dense_layers", [_floor(free["dense_layers"], new["depth"])])
    if "expert_ratio" in free and not free["expert_ratio"].whole:
        width = new["width"]
        below = math.floor(new["expert_ratio"] * width / CHANNELS)
        _move(
            free,
            new,
            "expert_ratio",
            (CHANNELS * max(1, n) / width for n in (below, below + 1)),
        )
    return {name: new[name] for name in ranges if name in new}


def _at_most(free: Mapping[str, Between], new: dict[str, Any], less: str, more: str) -> None:
    """Lower one knob to another one; where its range does not reach so low, raise the other one."""
    if new[less] <= new[more]:
        return
    if less in free:
        _move(free, new, less, [_floor(free[less], new[more])])
        if new[less] > new[more] and more in free and free[less].low <= free[more].high:
            new[less] = free[less].low
    if new[less] > new[more] and more in free:
        _move(free, new, more, [_ceil(free[more], new[less])])


def _fit_heads(free: Mapping[str, Between], new: dict[str, Any]) -> None:
    """Make the width a multiple of an even head_dim, and kv_groups a divisor of the heads.

    The head nearest to the drawn one comes first for which there are a width and groups.
    """
    if free.keys() & {"head_dim", "width", "kv_groups"}:
        for head in _heads(free, new):
            fitting = _width_and_groups(free, new, head)
            if fitting is not None:
                new["head_dim"], (new["width"], new["kv_groups"]) = head, fitting
                return


def _width_and_groups(
    free: Mapping[str, Between], new: Mapping[str, Any], head: int
) -> tuple[int, int] | None:
    """A width and kv_groups for a head: the drawn groups, else those of the nearest width, else any."""
    drawn, groups = new["kv_groups"], free.get("kv_groups")
    width = _width(free, new, head * drawn)
    if width is not None or groups is None:
        return None if width is None else (width, drawn)
    width = _width(free, new, head)
    if width is None:
        return None
    most = int((free["width"].high if "width" in free else width) // head)
    some = range(int(groups.low), min(int(groups.high), most) + 1, groups.stride)
    nearest = sorted(some, key=lambda n: abs(n - drawn))
    divisors = (n for n in nearest if (width // head) % n == 0)
    found = next(divisors, None)
    if found is not None:
        return width, found
    others = ((_width(free, new, head * n), n) for n in nearest)
    return next(((width, n) for width, n in others if width is not None), None)


def _heads(free: Mapping[str, Between], new: Mapping[str, Any]) -> Iterator[int]:
    """Even sizes of a head, the nearest to the drawn one first."""
    knob, drawn = free.get("head_dim"), new["head_dim"]
    reach = 0 if knob is None else int(max(knob.high - drawn, drawn - knob.low))
    for away in range(0, reach + 1, 1 if knob is None else knob.stride):
        for size in dict.fromkeys((drawn - away, drawn + away)):
            if size % 2 == 0 and (knob is None or size in knob):
                yield size


def _width(free: Mapping[str, Between], new: Mapping[str, Any], unit: int) -> int | None:
    """The width nearest to the drawn one that is a multiple of a unit; None if there is none."""
    drawn = new["width"]
    if "width" not in free:
        return drawn if drawn % unit == 0 else None
    found = multiples(free["width"], unit)
    if not found:
        return None
    place = min(max((drawn - found.start) // found.step, 0), len(found) - 1)
    return min(found[place : place + 2], key=lambda width: abs(width - drawn))


def multiples(knob: Between, unit: int) -> range:
    """The values of a range of whole numbers that are multiples of a unit; an empty range if none is.

    These are low + n stride with n stride = -low modulo the unit, which has a solution n if the greatest
    common divisor of stride and unit divides low, and then one in each (unit / divisor) of them.
    """
    low, high, stride = int(knob.low), int(knob.high), knob.stride
    common = math.gcd(stride, unit)
    if low % common:
        return range(0)
    period = unit // common
    first = -(low // common) * pow(stride // common, -1, period) % period
    return range(low + first * stride, high + 1, stride * period)


def _floor(knob: Between, most: int) -> int:
    """The largest value of a range that is at most a number, or the lowest value."""
    low = int(knob.low)
    return low + max(0, (min(int(knob.high), most) - low) // knob.stride) * knob.stride


def _ceil(knob: Between, least: int) -> int:
    """The smallest value of a range that is at least a number; beyond the range if there is none."""
    low = int(knob.low)
    return low + max(0, -((low - least) // knob.stride)) * knob.stride


def _move(free: Mapping[str, Between], new: dict[str, Any], name: str, places: Iterable[Any]) -> None:
    """Move a knob to the nearest of some values of its range, if there is one."""
    inside = [place for place in places if place in free[name]]
    if inside:
        new[name] = min(inside, key=lambda place: abs(place - new[name]))
