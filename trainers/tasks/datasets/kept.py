"""Labelled items in files that are mapped into memory: converted on all cores, then one behind the other.

What is kept of an item is its content, of any length, and a small view of it, which also tells items apart.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from space.errors import TaskError
from space.machine import cpu_count
from trainers.tasks.datasets.content import (
    Content,
    Item,
    LeftOut,
    Progress,
    check_items,
    check_splits,
    held_out_first,
    labelled,
    open_content,
)
from trainers.tasks.journal import Journal
from trainers.tasks.mapped import release
from trainers.tasks.processes import in_order

MOST_KEPT = 10_000_000
TOGETHER = 16  # items that a process converts at once
AHEAD = 4  # such groups that wait for each process
ALONE = 512  # items at most that this process converts by itself
RELEASED = 64  # items that are read before the memory of their map is given back
DIGEST = 16  # bytes


class Kept(NamedTuple):
    """What is kept of an item.

    Attributes:
        content: a picture file, or the levels of a sound.
        view: what models see of it where the study says nothing else, the bytes of an array.
    """

    content: bytes
    view: bytes


def collect_kept(
    source: Path,
    items: Sequence[Item],
    about: Content,
    progress: Progress,
    left_out: LeftOut,
    scratch: Path,
) -> Content:
    """Read labelled items, remove duplicates, and assign each to a split.

    Memory does not grow with the items, but for some bytes of each. Those with one view are the same. What
    was converted into the folder before, of the same items, is not converted again.

    Args:
        source: where they come from, for messages.
        items: all of them; each reads a `Kept`.
        about: kind, sizes and the rule of the source's own splits, if names state them; the rest is empty.
        progress: called with the number of items read and their total.
        left_out: unreadable items are noted there.
        scratch: a folder, empty or with what was converted before; the files of the arrays, named after them,
            are left in it.

    Raises:
        TaskError: there are too few or too many, too many are unreadable, or a label has nothing to train on.
        ProcessDied: a process that converts them died.
    """
    check_items(about.kind, source, items, MOST_KEPT)
    seen: set[bytes] = set()
    chosen: list[Item] = []
    ends = array("q")
    ordered = held_out_first(items)
    size = 0
    with Journal(scratch, "bytes", "items", "unreadable") as journal:
        if len(journal):
            progress(len(journal), len(items))
        for item, kept in zip(ordered, _converted(journal, ordered, seen, progress), strict=True):
            if isinstance(kept, TaskError):
                left_out.note_bad(kept)
            elif kept is not None:
                size += len(kept.content)
                ends.append(size)
                chosen.append(item)
    left_out.check(source, len(items))
    arrays, labels, told = labelled(items, chosen, about.rule)
    for name, numbers in (arrays | {"ends": np.array(ends, dtype="<i8")}).items():
        (scratch / f"{name}.bin").write_bytes(numbers.tobytes())
    found = replace(
        about,
        arrays=open_content(about.kind, scratch),
        labels=labels,
        rule=told,
        left_out=len(items) - left_out.bad - len(chosen),
    )
    check_splits(source, found)
    return found


class Contents:
    """What is kept of the items of a data set, by their places.

    Args:
        content: (bytes,) uint8, one behind the other.
        ends: (items,) where each ends.
    """

    def __init__(self, content: np.ndarray, ends: np.ndarray) -> None:
        self._bytes, self._ends = content, ends
        self._read = 0

    def __getitem__(self, place: int) -> np.ndarray:
        """The bytes of the item at a place among all, (bytes,) uint8, copied."""
        first = int(self._ends[place - 1]) if place else 0
        found = np.array(self._bytes[first : int(self._ends[place])])
        self._read += 1
        if self._read % RELEASED == 0:
            release(self._bytes)
        return found


def _converted(
    journal: Journal, items: Sequence[Item], seen: set[bytes], progress: Progress
) -> Iterator[Kept | TaskError | None]:
    """What is kept of each item in turn, why it cannot be read, or None where it repeats another.

    Args:
        journal: has that of the first items, and gets that of the others.
        items: all of them.
        seen: digests of views; those of all items are added.
        progress: called with the number of items read and their total.
    """
    while (found := journal.read()) is not None:
        content, view, error = found
        if view:
            seen.add(_digest(view))
        yield Kept(content, view) if view else TaskError(error.decode()) if error else None
    for kept in _read(items[len(journal) :]):
        if isinstance(kept, TaskError):
            journal.append(b"", b"", str(kept).encode(errors="backslashreplace"))
            found = kept
        elif (digest := _digest(kept.view)) in seen:
            journal.append(b"", b"", b"")
            found = None
        else:
            seen.add(digest)
            journal.append(*kept, b"")
            found = kept
        progress(len(journal), len(items))
        yield found


def _digest(view: bytes) -> bytes:
    return sha256(view).digest()[:DIGEST]


def _read(items: Sequence[Item]) -> Iterator[Kept | TaskError]:
    """What is kept of each item in turn, or why it cannot be read."""
    groups = ([item.read for item in items[i : i + TOGETHER]] for i in range(0, len(items), TOGETHER))
    if len(items) <= ALONE or cpu_count() == 1:
        found = map(read_group, groups)
    else:
        found = in_order(read_group, groups, cpu_count(), AHEAD)
    for group in found:
        yield from group


def read_group(reads: Sequence[Callable[[], Kept]]) -> list[Kept | TaskError]:
    """What is kept of some items, or why one cannot be read."""
    found: list[Kept | TaskError] = []
    for read in reads:
        try:
            found.append(read())
        except TaskError as error:
            found.append(error)
    return found
