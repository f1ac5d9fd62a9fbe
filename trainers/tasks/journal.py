"""Files that grow together, item by item; opened again, they go on after their last whole item."""

import os
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from zlib import crc32

ROWS = "journal"
FLUSHED = 1.0  # seconds of work that a kill may cost

Parts = tuple[bytes, ...]
"""What an item adds to each file; nothing where empty."""


class Journal:
    """Files to which each item adds some bytes, and a row for each item with its sizes and a checksum.

    An item whose row or bytes did not reach the disk whole is cut off, with all after it. Nothing is stored
    twice: first read the items that are there, then append others.

    Args:
        folder: of the files.
        names: of the files, which are called `NAME.bin`.
        rows: the name of the file of the rows, likewise.
    """

    def __init__(self, folder: Path, *names: str, rows: str = ROWS) -> None:
        self._paths = [folder / f"{name}.bin" for name in (*names, rows)]
        self._row = struct.Struct(f"<{len(names)}qI")
        self._open = ExitStack()
        self._writes = False

    def __enter__(self) -> Self:
        """Open the files, which are made where they are missing."""
        with ExitStack() as opened:
            for path in self._paths:
                path.touch()
            found = [opened.enter_context(path.open("r+b")) for path in reversed(self._paths)]
            self._rows, *self._files = found[0], *reversed(found[1:])  # the rows are closed last
            self._left = [os.fstat(file.fileno()).st_size for file in self._files]
            self._ends = [0] * len(self._files)
            self._count = 0
            self._flushed = time.monotonic()
            self._open = opened.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        """Write what waits, and close the files; without an error, items that were not read are cut off."""
        if raised[0] is None and not self._writes:
            self.cut()
        self._open.__exit__(*raised)  # pyright: ignore[reportArgumentType]

    def __len__(self) -> int:
        """Items that may be there, before they are read; later those that were read or appended."""
        if self._writes:
            return self._count
        return os.fstat(self._rows.fileno()).st_size // self._row.size

    def read(self, is_wanted: Callable[[Parts], bool] = lambda _: True) -> Parts | None:
        """What the next item added; None after the last whole one, or where the next one is not wanted.

        The files are then cut there.
        """
        if self._writes:
            return None
        row = self._rows.read(self._row.size)
        if len(row) == self._row.size:
            *sizes, stated = self._row.unpack(row)
            if all(0 <= size <= left for size, left in zip(sizes, self._left, strict=True)):
                parts = tuple(file.read(size) for file, size in zip(self._files, sizes, strict=True))
                if self._checksum(parts) == stated and is_wanted(parts):
                    self._left = [left - size for size, left in zip(sizes, self._left, strict=True)]
                    self._went_on(parts)
                    return parts
        self.cut()
        return None

    def cut(self) -> None:
        """Cut off the items that were not read; others can be appended from now on."""
        for file, end in zip((*self._files, self._rows), (*self._ends, self._size), strict=True):
            file.seek(end)
            file.truncate()
        self._writes = True

    def append(self, *parts: bytes) -> None:
        """Add an item: some bytes for each file, in their order; those not read before are cut off.

        Raises:
            OSError: the disk is full, or fails.
        """
        if not self._writes:
            self.cut()
        for file, part in zip(self._files, parts, strict=True):
            file.write(part)
        self._rows.write(self._row.pack(*map(len, parts), self._checksum(parts)))
        self._went_on(parts)
        if (now := time.monotonic()) - self._flushed >= FLUSHED:
            for file in (*self._files, self._rows):
                file.flush()
            self._flushed = now

    @property
    def _size(self) -> int:
        return self._count * self._row.size

    def _went_on(self, parts: Parts) -> None:
        self._ends = [end + len(part) for end, part in zip(self._ends, parts, strict=True)]
        self._count += 1

    def _checksum(self, parts: Parts) -> int:
        """Of an item at its place; zeros in place of its bytes and row are no item."""
        found = crc32(repr((self._count, *map(len, parts))).encode())
        for part in parts:
            found = crc32(part, found)
        return found
