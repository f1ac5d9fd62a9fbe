"""Snap parameters to the nearest values that can be built together: ranges move, lists do not.

Independent draws from ranges seldom fit together: of the widths from 48 to 512, one in sixteen is a multiple
of a head of 16. The values of a list are intended as they are, so a combination that cannot be built is
rejected.
"""

from collections.abc import Iterable, Mapping
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
    if "top_k" in free:
        _move(free, new, "top_k", [min(new["top_k"], new["experts"])])
    elif "experts" in free and "top_k" not in ranges:
        _move(free, new, "experts", [max(new["top_k"], new["experts"])])
    if "dense_layers" in free:
        _move(free, new, "dense_layers", [min(new["dense_layers"], new["depth"])])
    if "expert_ratio" in free and not free["expert_ratio"].whole:
        width = new["width"]
        _move(free, new, "expert_ratio", (n / width for n in _multiples(free["expert_ratio"], width)))
    return {name: new[name] for name in ranges if name in new}


def _fit_heads(free: Mapping[str, Between], new: dict[str, Any]) -> None:
    """Make the width a multiple of an even head_dim, and kv_groups a divisor of the heads."""
    if "head_dim" in free:
        even = range(2 * -(-int(free["head_dim"].low) // 2), int(free["head_dim"].high) + 1, 2)
        fixed = "width" not in free
        _move(free, new, "head_dim", (size for size in even if not fixed or new["width"] % size == 0))
    if "width" in free:
        knob, head = free["width"], new["head_dim"]
        low, high = int(knob.low), int(knob.high)
        for unit in dict.fromkeys((head * new["kv_groups"], head)):
            multiples = range(unit * -(-low // unit), high + 1, unit)
            if multiples:
                _move(free, new, "width", multiples)
                break
    if "kv_groups" in free:
        heads = new["width"] // new["head_dim"]
        _move(free, new, "kv_groups", (n for n in range(1, heads + 1) if heads % n == 0))


def _multiples(ratio: Between, width: int) -> range:
    """Widths of an expert whose ratio to the model's width is near the range."""
    first = max(CHANNELS, CHANNELS * int(ratio.low * width // CHANNELS))
    return range(first, int(ratio.high * width) + 1, CHANNELS)


def _move(free: Mapping[str, Between], new: dict[str, Any], name: str, places: Iterable[Any]) -> None:
    """Move a knob to the nearest of some values within its range, if there is one."""
    knob = free[name]
    inside = [place for place in places if knob.low <= place <= knob.high]
    if inside:
        new[name] = min(inside, key=lambda place: abs(place - new[name]))
