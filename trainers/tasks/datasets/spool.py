"""Paragraphs of documents on the disk while a text is read, in memory that does not grow with the text.

Repeated paragraphs are found by their hashes, a share of them at a time.
"""

from array import array
from collections.abc import Iterator
from hashlib import blake2b, sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from trainers.tasks.families.text import REPEATABLE
from trainers.tasks.mapped import mapped, pieces, release

KINDS = {"<u4": "I", "<i8": "q", "<u8": "Q", "|u1": "B"}
BUFFERED = 1 << 14  # rows
SORTED = 1 << 22  # hashes that are compared at once


class Columns:
    """Columns of numbers that grow at their ends, each in a file.

    Args:
        folder: where the files are.
        kinds: numpy's name of the numbers of each column.
    """

    def __init__(self, folder: Path, **kinds: str) -> None:
        self._kinds = kinds
        self._paths = {name: folder / f"{name}.bin" for name in kinds}
        self._files: dict[str, BinaryIO] = {}
        self._waiting = {name: array(KINDS[kind]) for name, kind in kinds.items()}
        self._count = 0  # of rows that wait

    def __enter__(self) -> Self:
        """Open the files."""
        self._files = {name: path.open("w+b") for name, path in self._paths.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, and close the files."""
        try:
            if kind is None:
                self._write()
        finally:
            for file in self._files.values():
                file.close()

    def append(self, *row: int) -> None:
        """Add a number to each column, in their order."""
        for column, number in zip(self._waiting.values(), row, strict=True):
            column.append(number)
        self._count += 1
        if self._count >= BUFFERED:
            self._write()

    def __len__(self) -> int:
        name, kind = next(iter(self._kinds.items()))
        return self._files[name].tell() // np.dtype(kind).itemsize + self._count

    def truncate(self, count: int) -> None:
        """Keep the first `count` rows."""
        self._write()
        for name, file in self._files.items():
            file.truncate(count * np.dtype(self._kinds[name]).itemsize)
            file.seek(0, 2)

    def read(self, name: str) -> np.ndarray:
        """A column, after the files were closed."""
        return mapped(self._paths[name], self._kinds[name])

    def _write(self) -> None:
        for name, numbers in self._waiting.items():
            self._files[name].write(numbers.tobytes())
            del numbers[:]
        self._count = 0


class Spool:
    """The paragraphs of all documents, in order: their text, lengths and hashes.

    Args:
        folder: an empty folder for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = Columns(folder, bytes="<u4", characters="<u4", hashes="<u8")
        self._documents = Columns(folder, ends="<i8", names="<i8")

    def __enter__(self) -> Self:
        """Open the files."""
        self._rows.__enter__()
        self._documents.__enter__()
        self._text = (self._folder / "paragraphs.bin").open("w+b")
        self._names = (self._folder / "keys.bin").open("w+b")
        return self

    def __exit__(self, *raised: object) -> None:
        """Close the files."""
        self._rows.__exit__(*raised)  # pyright: ignore[reportArgumentType]
        self._documents.__exit__(*raised)  # pyright: ignore[reportArgumentType]
        self._text.close()
        self._names.close()

    def add(self, key: str, paragraphs: Iterator[str]) -> None:
        """Add a document; if its paragraphs raise an error, none of it is kept."""
        rows, size = len(self._rows), self._text.tell()
        try:
            for paragraph in paragraphs:
                content = paragraph.encode()
                self._text.write(content)
                self._rows.append(len(content), len(paragraph), _hash(paragraph))
        except BaseException:
            self._rows.truncate(rows)
            self._text.seek(size)
            self._text.truncate()
            raise
        name = key.encode()
        self._names.write(name)
        self._documents.append(len(self._rows), self._names.tell())

    def kept(self) -> np.ndarray:
        """Which paragraphs are not repeats of an earlier one, (paragraphs,) bool; the files are closed."""
        hashes = self._rows.read("hashes")
        path = self._folder / "kept.bin"
        with path.open("wb") as file:
            for piece in pieces(hashes):
                file.write(np.ones(len(piece) // hashes.itemsize, dtype=bool).tobytes())
        if not len(hashes):
            return np.empty(0, dtype=bool)
        kept = np.memmap(path, bool, "r+")
        shares = -(-len(hashes) // SORTED)
        for share in range(shares):
            places = np.concatenate(
                [
                    np.flatnonzero((part != 0) & (part % np.uint64(shares) == share)) + start
                    for start, part in _parts(hashes)
                ]
            )
            _, first = np.unique(hashes[places], return_index=True)
            repeated = np.ones(len(places), dtype=bool)
            repeated[first] = False
            kept[places[repeated]] = False
            release(kept)
        return kept

    def characters(self, kept: np.ndarray) -> int:
        """Characters of the documents' kept paragraphs, with the empty lines between them."""
        lengths, ends = self._rows.read("characters"), self._documents.read("ends")
        total = sum(int(part[kept[start : start + len(part)]].sum()) for start, part in _parts(lengths))
        first = 0
        for end in ends:
            total += 2 * max(0, int(kept[first:end].sum()) - 1)
            first = int(end)
        return total

    def blocks(self, kept: np.ndarray, limit: int) -> Iterator[tuple[bytes, int, int, str, int]]:
        """Neighbouring kept paragraphs of one document, joined until they have `limit` characters.

        Yields:
            Text, its characters, number and key of the document, and the block's place in the document.
        """
        names, name_ends = self._folder / "keys.bin", self._documents.read("names")
        with (self._folder / "paragraphs.bin").open("rb") as text, names.open("rb") as keys:
            rows = self._contents(text, kept)
            first = at = 0
            for document, end in enumerate(self._documents.read("ends")):
                key = keys.read(int(name_ends[document]) - at).decode()
                at = int(name_ends[document])
                block: list[bytes] = []
                size = place = 0
                for _ in range(int(end) - first):
                    content, characters = next(rows)
                    if content is not None:
                        block.append(content)
                        size += characters
                    if size >= limit:
                        yield b"\n\n".join(block), size + 2 * (len(block) - 1), document, key, place
                        block, size, place = [], 0, place + 1
                if block:
                    yield b"\n\n".join(block), size + 2 * (len(block) - 1), document, key, place
                first = int(end)

    def _contents(self, text: BinaryIO, kept: np.ndarray) -> Iterator[tuple[bytes | None, int]]:
        """Each paragraph with its number of characters; None where it is a repeat."""
        sizes, characters = self._rows.read("bytes"), self._rows.read("characters")
        for start, part in _parts(sizes):
            stop = start + len(part)
            for size, length, keep in zip(
                part.tolist(), characters[start:stop].tolist(), kept[start:stop].tolist(), strict=True
            ):
                content = text.read(size)
                yield (content if keep else None), length
            release(characters)
            release(kept)


def key_hash(key: str) -> int:
    """Orders keys at random, the same way on every machine, 64 bits."""
    return int.from_bytes(sha256(key.encode()).digest()[:8], "big")


def _hash(paragraph: str) -> int:
    """A paragraph's hash, whatever its white space; 0 where it is so short that it may be repeated."""
    words = " ".join(paragraph.split())
    if len(words) < REPEATABLE:
        return 0
    return int.from_bytes(blake2b(words.encode(), digest_size=8).digest(), "little") or 1


def _parts(numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """An array in parts, each with its start; memory is given back behind them."""
    for start in range(0, len(numbers), BUFFERED):
        yield start, numbers[start : start + BUFFERED]
        if start % SORTED == 0:
            release(numbers)
