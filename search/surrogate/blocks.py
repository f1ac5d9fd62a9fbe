"""Work in blocks: arrays of a megabyte go back to the system after each operation, and cost page faults."""

from collections.abc import Iterator


def blocks(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of `size` that cover `count`; the last one may be smaller."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))
