"""Arrays that are longer than memory: files of plain numbers, read and hashed in pieces."""

import contextlib
import mmap
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

PIECE = 1 << 24  # bytes, a multiple of every page size


@dataclass(frozen=True)
class Column:
    """What a row of an array is that lies in a file.

    Attributes:
        kind: numpy's name of its numbers.
        shape: of a row; a number when empty.
    """

    kind: str
    shape: tuple[int, ...] = ()


class Growing:
    """Arrays of one dimension that grow at their ends, in files without names.

    The files last as long as they are mapped.

    Args:
        folder: of a file system with room for them; it is made.
        kinds: names of the arrays, and numpy's name of the numbers of each.
    """

    def __init__(self, folder: Path, kinds: Mapping[str, str]) -> None:
        self._folder, self._kinds = folder, kinds
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Open the files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            self._files = {
                name: opened.enter_context(tempfile.TemporaryFile(dir=self._folder)) for name in self._kinds
            }
            self._open = opened.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        """Close them; what is mapped stays."""
        self._open.close()

    def write(self, name: str, numbers: np.ndarray) -> None:
        """Add numbers to an array."""
        self._files[name].write(numbers.astype(self._kinds[name], copy=False).tobytes())

    def arrays(self, *names: str) -> dict[str, np.ndarray]:
        """What has been written of some arrays, of all where none is named, mapped into memory."""
        found = {}
        for name in names or self._kinds:
            self._files[name].flush()
            found[name] = np.memmap(self._files[name], self._kinds[name], "r")
        return found


def mapped(path: Path, kind: str) -> np.ndarray:
    """A file of numbers as an array of one dimension, mapped into memory; an empty file gives no numbers.

    Raises:
        OSError: it cannot be read.
        ValueError: its size is no multiple of a number's.
    """
    if path.stat().st_size == 0:
        return np.empty(0, kind)
    return np.memmap(path, kind, "r")


def open_columns(folder: Path, columns: Mapping[str, Column]) -> dict[str, np.ndarray]:
    """Arrays that lie in a file each, `NAME.bin`, mapped into memory.

    Args:
        folder: of the files.
        columns: names of the arrays and what a row of each is.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file was cut off.
    """
    return {
        name: mapped(folder / f"{name}.bin", column.kind).reshape(-1, *column.shape)
        for name, column in columns.items()
    }


def pieces(array: np.ndarray) -> Iterator[memoryview]:
    """The bytes of an array in order; what a memory map has brought into memory is given back behind them."""
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    if not array.nbytes:
        return
    view = array.data.cast("B")
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]
        release(array)


def release(array: np.ndarray) -> None:
    """Give memory back that holds parts of a mapped file; they are read again when they are needed."""
    if isinstance(array, np.memmap):
        with contextlib.suppress(AttributeError):  # Windows gives memory back by itself
            array._mmap.madvise(mmap.MADV_DONTNEED)  # pyright: ignore[reportAttributeAccessIssue]
