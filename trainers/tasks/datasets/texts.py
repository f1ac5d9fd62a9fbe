"""Text: documents cut into contiguous blocks of paragraphs, each of one split.

A text is read once, as a stream. Memory does not grow with it, but for some bytes of each document.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from space.errors import TaskError
from space.records import HELD_OUT, SPLITS, Split
from trainers.tasks.datasets.content import (
    FEWEST_HELD_OUT,
    MAPPED,
    PLACES,
    Content,
    LeftOut,
    Progress,
    is_about,
)
from trainers.tasks.datasets.documents import LONGEST_PIECE, is_text, read_documents
from trainers.tasks.datasets.spool import Columns, Spool, key_hash
from trainers.tasks.families.text import EXCERPT, SHORTEST_EXCERPT
from trainers.tasks.mapped import open_columns

LARGEST_BLOCK, SMALLEST_BLOCK = 10_000, LONGEST_PIECE  # characters
MOST_BLOCKS = 100  # where blocks would be smaller than the largest
ENOUGH_EXCERPTS = 10
"""Of a split; with fewer, every fifth block is held out, and the scores are coarse."""
HUNDREDTH, MANY_EXCERPTS = 100, 1_000
"""Every hundredth is held out where that gives so many excerpts of a split."""
EVERY = {HUNDREDTH: "hundredth", 10: "tenth", 5: "fifth"}


def read_text(
    source: Path, files: Sequence[Path], progress: Progress, left_out: LeftOut, scratch: Path, field: str
) -> Content:
    """Read files as documents.

    A repeated paragraph is kept at its first place only, so no split repeats another. A document is of one
    split if there are enough of them; otherwise its blocks are, and few paragraphs continue in another split.

    Args:
        source: the folder or the file.
        files: all files that are there.
        progress: called with the number of bytes read and their total.
        left_out: what is not in the data set is noted there.
        scratch: an empty folder; the files of the arrays, named after them, are left in it.
        field: of a record, which has its text.

    Raises:
        TaskError: too many documents cannot be read, or there is too little text for three splits.
    """
    prose = [path for path in files if is_text(path)] or files
    prose = [path for path in prose if not is_about(path, source)]
    (scratch / "spool").mkdir()
    with Spool(scratch / "spool") as spool:
        _read(source, prose, progress, left_out, spool, field)
    kept = spool.kept()
    size = spool.characters(kept)
    limit = min(LARGEST_BLOCK, max(SMALLEST_BLOCK, size // MOST_BLOCKS))
    blocks = _write_blocks(spool, kept, limit, scratch)
    splits, rule, excerpts = _split(blocks)
    _check_length(source, size, excerpts)
    (scratch / "splits.bin").write_bytes(splits.tobytes())
    repeated = len(kept) - int(kept.sum())
    return Content("text", open_columns(scratch, MAPPED["text"]), (), rule, repeated)


def _read(
    source: Path, prose: Sequence[Path], progress: Progress, left_out: LeftOut, spool: Spool, field: str
) -> None:
    total, done, count = sum(_size(path) for path in prose), 0, 0
    for path in prose:
        name = path.relative_to(source).as_posix() if path != source else path.name
        for document in read_documents(path, name, field):
            count += 1
            try:
                spool.add(document.key, document.pieces)
            except TaskError as error:
                left_out.note_bad(error)
            progress(done + document.position, total, "B")
        done += _size(path)
    left_out.check(source, count)


def _size(path: Path) -> int:
    """Bytes of a file; 0 if it cannot be asked, since reading it will say why."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _write_blocks(spool: Spool, kept: np.ndarray, limit: int, scratch: Path) -> Columns:
    """Write all blocks, end to end, and a row of facts for each."""
    columns = Columns(
        scratch, ends="<i8", characters_of_block="<i8", document="<i8", of_document="<u8", of_block="<u8"
    )
    end = 0
    with (scratch / "text.bin").open("wb") as text, columns:
        for content, characters, document, key, place in spool.blocks(kept, limit):
            text.write(content)
            end += len(content)
            columns.append(end, characters, document, key_hash(key), key_hash(f"{key}#{place}"))
    return columns


def _split(blocks: Columns) -> tuple[np.ndarray, str, dict[Split, int]]:
    """Places of the blocks' splits, how they were chosen, and how many excerpts each split has.

    Whole documents are held out, every hundredth, tenth or fifth, whichever first gives enough excerpts; if
    none does, blocks are.
    """
    lengths = blocks.read("characters_of_block")
    excerpts = lengths // EXCERPT + (lengths % EXCERPT >= SHORTEST_EXCERPT)
    documents = blocks.read("document")
    first = np.flatnonzero(np.diff(documents, prepend=-1))
    by_document = blocks.read("of_document")[first], np.diff(np.append(first, len(documents)))
    by_block = blocks.read("of_block"), np.ones(len(documents), dtype=np.int64)
    splits, rule, counts = np.empty(0, dtype=np.uint8), "", dict.fromkeys(SPLITS, 0)
    for (hashes, repeats), unit in ((by_document, "document"), (by_block, "block")):
        for every, name in EVERY.items():
            if unit == "document" and len(hashes) < every * FEWEST_HELD_OUT:
                continue
            splits = np.repeat(_held_out(hashes, every), repeats)
            rule = f"every {name} {unit} for {' and for '.join(HELD_OUT)}, by hash"
            found = np.bincount(splits, weights=excerpts, minlength=len(SPLITS)).astype(int)
            counts = dict(zip(SPLITS, found.tolist(), strict=True))
            enough = MANY_EXCERPTS if every == HUNDREDTH else ENOUGH_EXCERPTS
            if min(counts.values()) >= enough and 2 * counts["train"] >= sum(counts.values()):
                return splits, rule, counts
    return splits, rule, counts


def _held_out(hashes: np.ndarray, every: int) -> np.ndarray:
    """Places in `SPLITS`, (count,) uint8; in the order of the hashes, one of `every` is held out for each."""
    order = np.argsort(hashes, kind="stable")
    splits = np.full(len(hashes), SPLITS.index("train"), dtype=np.uint8)
    for split, place in PLACES[min(every, max(PLACES))].items():
        splits[order[place::every]] = SPLITS.index(split)
    return splits


def _check_length(source: Path, size: int, excerpts: dict[Split, int]) -> None:
    for split, count in excerpts.items():
        if count < FEWEST_HELD_OUT:
            raise TaskError(
                f"text has {FEWEST_HELD_OUT} excerpts of {SHORTEST_EXCERPT} to {EXCERPT:,} characters in each"
                f" split, which some 10,000 characters give; '{source}' has {size:,} characters,"
                f" {count} excerpts for {split}"
            )
