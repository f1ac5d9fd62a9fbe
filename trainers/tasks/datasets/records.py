"""Records of fields as streams: JSON lines, CSV, Parquet, Arrow of `datasets`, and tar shards of WebDataset.

A few records are in memory at once, whatever the size of a file.
"""

import csv
import io
import json
import re
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from space.errors import TaskError
from space.records import Split
from trainers.tasks.datasets.class_names import class_names, named
from trainers.tasks.datasets.content import SPLIT_FOLDERS, unreadable
from trainers.tasks.datasets.documents import BUFFER, LINES, PARQUET, opened, suffix_of, zstd_error
from trainers.tasks.datasets.images import SUFFIXES as IMAGES
from trainers.tasks.datasets.sounds import SUFFIXES as SOUNDS

TABLES = {".csv": ",", ".tsv": "\t"}
ARROW, TAR = ".arrow", ".tar"
ARROW_FILE = b"ARROW1"  # begins files of Arrow that are no streams
NOTES = frozenset({"dataset_info.json", "dataset_dict.json", "state.json"})  # of `datasets.save_to_disk`
ROWS = 16  # of a table, at once: a row may have megabytes
LONGEST_FIELD = 1 << 28  # characters of a field of CSV
SPLITS: dict[str, Split] = {**SPLIT_FOLDERS, "dev": "select", "eval": "select"}
SPLIT = "split"  # the field that states it


@dataclass(frozen=True)
class Record:
    """One record.

    Attributes:
        values: field -> value; the reason if it cannot be read.
        where: file and place, for messages.
        folder: of its file, which paths are relative to.
        split: as the name of its file or of a folder above states it.
        position: bytes of its file that were read so far.
    """

    values: Mapping[str, Any] | TaskError
    where: str
    folder: Path
    split: Split | None
    position: int


def is_records(path: Path) -> bool:
    """Whether a file may have pairs, by its name."""
    return suffix_of(path) in LINES or path.suffix.lower() == PARQUET or is_only_pairs(path)


def is_only_pairs(path: Path) -> bool:
    """Whether a file has pairs and no other kind of content, by its name."""
    return suffix_of(path) in {*TABLES, TAR} or (path.suffix.lower() == ARROW and not is_note(path))


def is_note(path: Path) -> bool:
    """Whether `datasets` wrote a file beside the data: facts of it, or what was computed from it."""
    return path.name in NOTES or (path.name.startswith("cache-") and path.suffix.lower() == ARROW)


def read_records(path: Path, source: Path, wanted: Collection[str] | None = None) -> Iterator[Record]:
    """The records of a file.

    Args:
        path: the file.
        source: the folder that was added, or the file itself.
        wanted: fields that are read, in formats that can leave others out; all when None.

    Raises:
        TaskError: the file cannot be read to its end.
    """
    split = _named_split(path, source)
    for values, place, position in _read(path, wanted):
        yield Record(values, f"{path}:{place}", path.parent, split, position)


Found = tuple[Mapping[str, Any] | TaskError, object, int]


def _read(path: Path, wanted: Collection[str] | None) -> Iterator[Found]:
    import pyarrow

    kind = suffix_of(path)
    try:
        if path.suffix.lower() == PARQUET:
            yield from _parquet(path, wanted)
        elif path.suffix.lower() == ARROW:
            yield from _arrow(path, wanted)
        elif kind == TAR:
            yield from _samples(path)
        elif kind in TABLES:
            yield from _table(path, TABLES[kind])
        else:
            yield from _lines(path)
    except (
        *(OSError, EOFError, UnicodeDecodeError, zlib.error, zstd_error()),
        *(csv.Error, tarfile.TarError, pyarrow.ArrowException),
    ) as error:
        raise unreadable(path, error, "all records of a file") from None


def _lines(path: Path) -> Iterator[Found]:
    with path.open("rb") as raw:
        for number, line in enumerate(opened(path, raw), start=1):
            if line.strip():
                yield _object(line, f"{path}:{number}"), number, raw.tell()


def _object(text: bytes, where: str) -> dict[str, Any] | TaskError:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return TaskError(f"a record holds JSON, '{where}' does not: {error}; repair or remove it")
    if not isinstance(record, dict):
        return TaskError(f"a record holds a JSON object, '{where}' does not; repair or remove it")
    return record


def _table(path: Path, delimiter: str) -> Iterator[Found]:
    csv.field_size_limit(LONGEST_FIELD)
    with path.open("rb") as raw, io.TextIOWrapper(opened(path, raw), "utf-8-sig", newline="") as text:
        rows = csv.DictReader(text, delimiter=delimiter)
        for row in rows:
            if None in row:
                error = f"a row has as many fields as the first line, '{path}:{rows.line_num}' has more"
                yield TaskError(error), rows.line_num, raw.tell()
            else:
                yield row, rows.line_num, raw.tell()


def _parquet(path: Path, wanted: Collection[str] | None) -> Iterator[Found]:
    from pyarrow.parquet import ParquetFile

    size, number = path.stat().st_size, 0
    with ParquetFile(path, memory_map=False, buffer_size=BUFFER, pre_buffer=False) as file:
        columns = None if wanted is None else [n for n in file.schema_arrow.names if n in wanted]
        names = class_names(file.schema_arrow.metadata)
        for batch in file.iter_batches(ROWS, columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield named(row, names, f"{path}:{number}"), number, size * number // file.metadata.num_rows


def _arrow(path: Path, wanted: Collection[str] | None) -> Iterator[Found]:
    import pyarrow

    number = 0
    with pyarrow.memory_map(str(path)) as mapped:
        is_file = mapped.read(len(ARROW_FILE)) == ARROW_FILE
        mapped.seek(0)
        if is_file:
            table = pyarrow.ipc.open_file(mapped)
            batches = (table.get_batch(i) for i in range(table.num_record_batches))
        else:
            batches = iter(pyarrow.ipc.open_stream(mapped))
        for batch in batches:
            columns = [name for name in batch.schema.names if wanted is None or name in wanted]
            names = class_names(batch.schema.metadata)
            for start in range(0, batch.num_rows, ROWS):
                for row in batch.slice(start, ROWS).select(columns).to_pylist():
                    number += 1
                    yield named(row, names, f"{path}:{number}"), number, mapped.tell()


def _samples(path: Path) -> Iterator[Found]:
    """The samples of a shard: neighbouring members whose names differ after the first dot only."""
    with path.open("rb") as raw, tarfile.open(fileobj=opened(path, raw), mode="r|") as shard:
        key, found, wrong = "", {}, None
        for member in shard:
            name = PurePosixPath(member.name)
            if not member.isfile() or name.name.startswith("."):
                continue
            stem, _, suffix = name.name.partition(".")
            if (other := str(name.with_name(stem))) != key:
                if found or wrong:
                    yield wrong or found, key, raw.tell()
                key, found, wrong = other, {}, None
            content = shard.extractfile(member)
            assert content is not None, "a file has content"
            values = _member(suffix.lower(), content.read(), f"{path}:{member.name}")
            if isinstance(values, TaskError):
                wrong = values
            else:
                found |= values
        if found or wrong:
            yield wrong or found, key, raw.tell()


def _member(suffix: str, content: bytes, where: str) -> dict[str, Any] | TaskError:
    """Fields of a member: those of its JSON, an image or a sound, or a text, named as it is before `.txt`."""
    before, _, last = suffix.rpartition(".")
    if last == "json":
        return _object(content, where)
    for name, suffixes in (("image", IMAGES), ("audio", SOUNDS)):
        if f".{last}" in suffixes:
            return {before or name: content}
    try:
        return {before or ("text" if last == "txt" else last): content.decode()}
    except UnicodeDecodeError as error:
        return TaskError(f"text is UTF-8, '{where}' is not: {error}") if last in ("txt", "cls") else {}


def _named_split(path: Path, source: Path) -> Split | None:
    """The split that the names of a file and of the folders above it state; the nearest one counts."""
    parts = path.relative_to(source).parts if path != source else (path.name,)
    for part in reversed(parts):
        named: set[Split] = {SPLITS[word] for word in re.split(r"[^a-z]+", part.lower()) if word in SPLITS}
        if len(named) == 1:
            return named.pop()
    return None


def stated_split(values: Mapping[str, Any], where: str) -> Split | None:
    """The split that a record's own field states.

    Raises:
        TaskError: the field has another value.
    """
    value = values.get(SPLIT)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or value.strip().lower() not in SPLITS:
        raise TaskError(
            f"the field '{SPLIT}' holds train, validation or test, '{where}' holds {str(value)[:24]!r}"
        )
    return SPLITS[value.strip().lower()]
