"""Confirmation: the best candidates are trained again with fresh seeds and scored on the report episodes."""

from typing import Annotated

from pydantic import Field

from space.knobs import Whole
from space.records import Frozen

TOP, SEEDS = 3, 2  # by default
MOST_TOP = 10_000
MOST_SEEDS = 1_000
APART = 1_000  # from one fresh seed to the next


class Confirm(Frozen):
    """Which candidates are confirmed when a study ends.

    Attributes:
        top: candidates of the front that are trained again, the best scores first.
        seeds: fresh seeds for each of them.
        uniform: whether the uniform mixture is trained at the architecture of the best of them, too.
    """

    top: Annotated[Whole, Field(ge=1, le=MOST_TOP)] = TOP
    seeds: Annotated[Whole, Field(ge=1, le=MOST_SEEDS)] = SEEDS
    uniform: bool = True


def fresh_seeds(seed: int, count: int, largest: int) -> list[int]:
    """Seeds that a study has not used: neither its own nor the one of its repeats.

    More seeds begin with the same ones. Studies whose seeds lie less than `APART` apart share none.

    Args:
        seed: the study's seed.
        count: how many; at most `MOST_SEEDS`.
        largest: the largest seed that there is.
    """
    found: list[int] = []
    offset = APART
    while len(found) < count:
        fresh = (seed + offset) % (largest + 1)
        offset += APART
        if fresh not in (seed, seed + 1, *found):
            found.append(fresh)
    return found
