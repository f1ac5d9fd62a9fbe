"""Documents of text as streams: plain files, JSON lines and Parquet, also compressed, whatever their size.

A document's text comes in pieces of bounded length, so a file of one line takes no more memory than another.
"""

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from space.errors import TaskError
from trainers.tasks.datasets.content import unreadable
from trainers.tasks.families.text import paragraphs

PLAIN = frozenset(
    {".txt", ".text", ".md", ".rst", ".tex", ".org", ".html", ".py", ".c", ".h", ".js", ".java"}
)
LINES = frozenset({".jsonl", ".ndjson"})
PARQUET = ".parquet"
COMPRESSED = frozenset({".gz", ".zst"})
FIELD = "text"
READ, FRAME_READ = 1 << 20, 1 << 14  # bytes at once, and of compressed ones
ROWS, BUFFER = 64, 1 << 16  # of a Parquet file, at once
LONGEST_PIECE = 2_000  # characters


@dataclass(frozen=True)
class Document:
    """One document, to be read before the next one.

    Attributes:
        key: tells it from all others, and is the same on every machine.
        pieces: its paragraphs, long ones cut; a TaskError if it cannot be read.
        position: bytes of its file that were read so far.
    """

    key: str
    pieces: Iterator[str]
    position: int


def is_text(path: Path) -> bool:
    """Whether a file is text, by its name."""
    return suffix_of(path) in PLAIN | LINES or path.suffix.lower() == PARQUET


def is_records(path: Path) -> bool:
    """Whether a file has many documents, by its name."""
    return suffix_of(path) in LINES or path.suffix.lower() == PARQUET


def read_documents(path: Path, name: str, field: str) -> Iterator[Document]:
    """The documents of a file: itself, or each line of JSON or row of Parquet.

    Args:
        path: the file.
        name: begins their keys.
        field: of a record, which has its text.

    Raises:
        TaskError: a file of records cannot be read to its end.
    """
    if path.suffix.lower() == PARQUET:
        yield from _rows(path, name, field)
    elif is_records(path):
        yield from _lines(path, name, field)
    else:
        yield Document(name, _plain(path), path.stat().st_size)


def cut(blocks: Iterable[str]) -> Iterator[str]:
    """The paragraphs of a text that comes in blocks; long ones are cut at ends of lines or words if possible.

    The time is linear in the length of the text, and memory is that of a block.
    """
    rest = ""
    for block in blocks:
        *whole, rest = (rest + block).split("\n\n")
        for paragraph in whole:
            yield from _pieces(paragraph)
        start, ends = 0, 2 * LONGEST_PIECE
        while len(rest) - start > ends:  # what stays is long enough to be cut as if all of it were here
            piece, start = _first(rest, start)
            if piece.strip():
                yield piece
        rest = rest[start:]
    yield from _pieces(rest)


def _pieces(text: str) -> Iterator[str]:
    """The paragraphs of a text, long ones cut."""
    for paragraph in paragraphs(text):
        start, length = 0, len(paragraph)  # a text of one long line is walked along, never copied whole
        while length - start > LONGEST_PIECE:
            piece, start = _first(paragraph, start)
            if piece.strip():
                yield piece
        rest = paragraph[start:]
        if rest.strip():
            yield rest


def _first(text: str, start: int) -> tuple[str, int]:
    """The longest piece from a place on, and where the next one begins."""
    limit, length = start + LONGEST_PIECE, len(text)
    ends = [text.rfind(mark, start + 1, limit) for mark in ("\n", " ")]
    end = next((end for end in ends if end > start), limit)
    after = end
    while after < length and text[after] in "\n ":
        after += 1
    return text[start:end], after


def _plain(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as raw:
            yield from cut(_decoded(opened(path, raw), path))
    except (OSError, EOFError, zlib.error, zstd_error()) as error:
        raise unreadable(path, error) from None


def _decoded(file: BinaryIO, path: Path) -> Iterator[str]:
    """Text of a file of UTF-8, in blocks."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = io.IncrementalNewlineDecoder(decoder, translate=True)
    done = 0
    while True:
        content = file.read(READ)
        pending = len(decoder.getstate()[0])
        try:
            text = lines.decode(content, final=not content)  # pyright: ignore[reportArgumentType]
        except UnicodeDecodeError as error:
            raise TaskError(
                f"text is UTF-8, '{path}' is not at byte {done - pending + error.start}; convert it or"
                " remove it"
            ) from None
        if "\0" in text:
            raise TaskError(f"text has no NUL characters, '{path}' has; remove it")
        yield text if done else text.removeprefix("\ufeff")
        done += len(content)
        if not content:
            return


def _lines(path: Path, name: str, field: str) -> Iterator[Document]:
    try:
        with path.open("rb") as raw:
            for number, line in enumerate(opened(path, raw), start=1):
                if line.strip():
                    pieces = _record(line, field, f"{path}:{number}")
                    yield Document(f"{name}:{number}", pieces, raw.tell())
    except (OSError, EOFError, zlib.error, zstd_error()) as error:
        raise unreadable(path, error, "all lines of a file") from None


def _rows(path: Path, name: str, field: str) -> Iterator[Document]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        size, number = path.stat().st_size, 0
        with ParquetFile(path, memory_map=False, buffer_size=BUFFER, pre_buffer=False) as file:
            names = file.schema_arrow.names
            if field not in names:
                raise TaskError(
                    f"records have their text in '{field}' (--field), '{path}' has {', '.join(names)}"
                )
            for batch in file.iter_batches(ROWS, columns=[field]):
                for value in batch.column(0).to_pylist():
                    number += 1
                    pieces = _value(value, field, f"{path}:{number}")
                    yield Document(f"{name}:{number}", pieces, size * number // file.metadata.num_rows)
    except (OSError, pyarrow.ArrowException) as error:
        raise unreadable(path, error, "all rows of a file") from None


def _record(line: bytes, field: str, where: str) -> Iterator[str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"a line holds JSON, '{where}' does not: {error}; repair or remove it") from None
    if not isinstance(record, dict):
        raise TaskError(f"a line holds a JSON object, '{where}' does not; repair or remove it")
    if field not in record:
        raise TaskError(f"records have their text in '{field}' (--field), '{where}' has {', '.join(record)}")
    yield from _value(record[field], field, where)


def _value(value: Any, field: str, where: str) -> Iterator[str]:
    if not isinstance(value, str):
        raise TaskError(f"the field '{field}' holds text, '{where}' holds {type(value).__name__} there")
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text or text.encode(errors="ignore").decode() != text:
        raise TaskError(f"text has neither NUL nor half characters, '{where}' has; repair or remove it")
    yield from cut([text])


def opened(path: Path, raw: BinaryIO) -> BinaryIO:
    """What a file holds, decompressed."""
    if path.suffix.lower() == ".gz":
        return gzip.GzipFile(fileobj=raw)  # pyright: ignore[reportReturnType]
    if path.suffix.lower() == ".zst":
        return io.BufferedReader(_Zstandard(raw), READ)  # pyright: ignore[reportReturnType]
    return raw


class _Zstandard(io.RawIOBase):
    """What a file of Zstandard frames holds; EOFError where the last one is cut off.

    The package's own reader takes a frame that is cut off for a whole one.
    """

    def __init__(self, raw: BinaryIO) -> None:
        from zstandard import ZstdDecompressor

        self._raw, self._decompressor = raw, ZstdDecompressor()
        self._frame: Any = None
        self._waiting = memoryview(b"")

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return how many bytes were read."""
        while not self._waiting:
            content = self._raw.read(FRAME_READ)
            if not content:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("its last frame is cut off")
                return 0
            self._waiting = memoryview(self._decompressed(content))
        count = min(len(buffer), len(self._waiting))
        buffer[:count], self._waiting = self._waiting[:count], self._waiting[count:]
        return count

    def _decompressed(self, content: bytes) -> bytes:
        found = []
        while content:
            if self._frame is None or self._frame.eof:
                self._frame = self._decompressor.decompressobj()
            found.append(self._frame.decompress(content))
            content = self._frame.unused_data if self._frame.eof else b""
        return b"".join(found)


def zstd_error() -> type[Exception]:
    """What a damaged file of Zstandard raises."""
    from zstandard import ZstdError

    return ZstdError


def suffix_of(path: Path) -> str:
    """The suffix of a file's name in small letters, without that of its compression."""
    name = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return name.suffix.lower()
