"""Grow an architecture: depth and width increase together, all other knobs stay.

A search trains many small models; the model of a full training may be larger. The number of experts, top-k,
the expert ratio, the head size and the share of dense layers are those of the candidate.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

from space.candidate import DEEPEST, WIDEST, Architecture
from space.cost import price
from space.errors import StudyFileError
from space.records import SuiteRecord

TILE = 16  # channels: a width is a multiple of it where heads allow
FAR = 0.10  # share of the target by which FLOPs may miss it
OVER = 0.05  # share by which they may exceed it, where another size does not
RATIO_WEIGHT = 0.25  # of a change of the ratio of depth to width, against a miss of the target, both in logs
NEIGHBOURS = 4  # depths on either side of the one that keeps the ratio


class TargetSize(NamedTuple):
    """A target size: FLOPs per token, or a multiple of those of the original architecture."""

    amount: float
    relative: bool = False

    def flops(self, own: float) -> float:
        """FLOPs per token, given those of the original architecture."""
        return self.amount * own if self.relative else self.amount


def grow(architecture: Architecture, suite: SuiteRecord, flops: float) -> Architecture:
    """Grow an architecture at its own ratio of depth to width to a number of FLOPs per token.

    Args:
        architecture: the original.
        suite: on which FLOPs are counted.
        flops: target FLOPs per token, as `space.cost.price` counts them.

    Returns:
        Of the architectures within 10% of the target, the nearest to it and to the ratio. One that exceeds
        the target by more than 5% is returned only if there is no other.

    Raises:
        StudyFileError: the target is no larger than the architecture, or nothing comes within 10% of it.
    """

    def cost(grown: Architecture) -> float:
        return price(grown, suite).flops_per_token

    own = cost(architecture)
    if flops <= own:
        raise StudyFileError(
            f"--scale asks for more FLOPs per token than the candidate's own {own:,.0f}, got {flops:,.0f};"
            " export it as it is by leaving --scale out"
        )
    ratio = architecture.depth / architecture.width

    def order(grown: Architecture) -> tuple[int, float]:
        off = math.log(cost(grown) / flops)
        if abs(math.expm1(off)) > FAR:
            return 2, abs(off)
        return int(math.expm1(off) > OVER), abs(off) + RATIO_WEIGHT * abs(
            math.log(grown.depth / grown.width / ratio)
        )

    nearest = min(_near(architecture, cost, flops), key=order)
    found = cost(nearest)
    if abs(found / flops - 1) > FAR:
        raise StudyFileError(
            f"--scale is met within {FAR:.0%} by whole layers and heads; the nearest to {flops:,.0f} FLOPs"
            f" per token is {found:,.0f}, with depth {nearest.depth} and width {nearest.width}; give that"
        )
    return nearest


def _near(
    architecture: Architecture, cost: Callable[[Architecture], float], flops: float
) -> Iterable[Architecture]:
    """Larger architectures near the ratio and near the target FLOPs; at least one."""
    unit = architecture.head_dim * architecture.kv_groups
    factor = flops / cost(architecture)  # FLOPs rise at least as fast as depth and as width
    deepest = min(DEEPEST, math.ceil(architecture.depth * factor))
    for step in dict.fromkeys((math.lcm(unit, TILE), unit)):

        def widths(depth: int, step: int = step) -> tuple[int, int]:
            most = min(WIDEST, math.ceil(architecture.width * factor) + step) // step
            multiples = range(-(-architecture.width // step), most + 1)
            above = bisect_right(
                multiples, flops, key=lambda multiple: cost(_resized(architecture, depth, multiple * step))
            )
            below = multiples[max(0, above - 1)]
            return below * step, multiples[min(above, len(multiples) - 1)] * step

        depths = range(architecture.depth, deepest + 1)
        centre = bisect_left(
            depths,
            True,
            key=lambda depth: depth * architecture.width >= widths(depth)[0] * architecture.depth,
        )
        for depth in depths[max(0, centre - NEIGHBOURS) : centre + NEIGHBOURS + 1]:
            for width in widths(depth):
                grown = _resized(architecture, depth, width)
                if grown != architecture:
                    yield grown


def _resized(architecture: Architecture, depth: int, width: int) -> Architecture:
    """The architecture at another size, with the same share of leading dense layers and at least as many."""
    dense = architecture.dense_layers
    dense = max(dense, round(dense * depth / architecture.depth))
    fields = architecture.model_dump() | {"depth": depth, "width": width, "dense_layers": dense}
    return Architecture.model_validate(fields)
