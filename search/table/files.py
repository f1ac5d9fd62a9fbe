"""The file of a table: JSON Lines in xz, the header first, then one line for each candidate.

The same table gives the same bytes. Nothing but Python's standard library is needed to read one:
`xz -dc FILE | head -1`.
"""

import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

from search.table.records import Header, Table, TrainedCandidate
from space.errors import NotFoundError, StudyFileError, nearest, one_line
from space.files import write_atomically
from space.parsing import parse

SUFFIX = ".jsonl.xz"
MAGIC = b"\xfd7zXZ\x00"
PRESET = 6 | lzma.PRESET_EXTREME
MOST_BYTES = 2**30  # of a table's text


def shipped_tables() -> dict[str, Path]:
    """The tables that ship with Pathfront: name -> path."""
    folder = Path(__file__).resolve().parents[2] / "studies" / "tables"
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def read_table(source: str | Path) -> Table:
    """Read a table of trained candidates.

    Args:
        source: a file, or the name of a table that ships with Pathfront, such as "quick".

    Raises:
        NotFoundError: there is no such file.
        StudyFileError: it is damaged, not a table, or another version's.
    """
    shipped = shipped_tables()
    path = shipped.get(str(source), Path(source))
    if not path.is_file():
        raise NotFoundError(f"no table '{source}'{nearest(source, shipped)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"table '{source}' cannot be read: {one_line(error)}") from None

    def refused(line: int) -> Callable[[object], StudyFileError]:
        return lambda why: StudyFileError(f"table '{path.name}', line {line}: {why}")

    lines = enumerate(_lines(content, path.name), start=1)
    header: Header | None = None
    rows: list[TrainedCandidate] = []
    for number, line in lines:
        try:
            data = json.loads(line)
        except ValueError as error:
            raise refused(number)(f"not JSON: {one_line(error)}") from None
        if header is None:
            _check_kind(data, path.name)
            header = parse(Header, data, refused(number), stored=True)
        else:
            rows.append(parse(TrainedCandidate, data, refused(number), stored=True))
    if header is None:
        raise StudyFileError(f"table '{path.name}' is empty")
    if len(rows) != header.candidates:
        raise StudyFileError(
            f"table '{path.name}' is cut off: its header counts {header.candidates} candidates, and"
            f" {len(rows)} are there"
        )
    return Table(header, tuple(rows))


def write_table(table: Table, path: Path) -> int:
    """Write a table, or replace it: a reader sees the old file or the new one.

    Returns:
        The file's size in bytes.

    Raises:
        OSError: it cannot be written.
    """
    content = table_bytes(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return len(content)


def table_bytes(table: Table) -> bytes:
    """The content of a table's file."""
    records = [table.header.model_dump(mode="json")]
    for row in table.rows:
        whole = {"config": row.config.model_dump(mode="json")}  # defaults of knobs may change
        records.append(row.model_dump(mode="json", exclude_defaults=True) | whole)
    text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    return lzma.compress(text.encode(), preset=PRESET)


def _lines(content: bytes, name: str) -> Iterator[str]:
    if not content.startswith(MAGIC):
        raise StudyFileError(f"table '{name}' is not JSON Lines in xz, as `pathfront table` writes them")
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        text = decompressor.decompress(content, max_length=MOST_BYTES)
        if not decompressor.eof:
            raise StudyFileError(
                f"table '{name}' is damaged: it is cut off, or larger than {MOST_BYTES} bytes"
            )
        return iter(text.decode().splitlines())
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise StudyFileError(f"table '{name}' is damaged: {one_line(error)}") from None


def _check_kind(data: object, name: str) -> None:
    known = Header.model_fields
    found = data if isinstance(data, dict) else {}
    if found.get("format") != known["format"].default:
        raise StudyFileError(f"table '{name}' is not a table of trained candidates")
    version, ours = found.get("schema_version"), known["schema_version"].default
    if version != ours:
        raise StudyFileError(
            f"table '{name}' has format version {version}, and this version of Pathfront reads {ours}"
        )
