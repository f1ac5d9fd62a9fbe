"""Text: files cut into contiguous blocks of paragraphs, each a document of one split."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from space.errors import TaskError
from space.records import SPLITS, Split
from trainers.tasks.datasets.content import (
    FEWEST_HELD_OUT,
    PLACES,
    Content,
    Item,
    LeftOut,
    Progress,
    assign_splits,
    is_about,
    unreadable,
)
from trainers.tasks.families.text import EXCERPT, SHORTEST_EXCERPT, cut_excerpts, fresh, paragraphs

SUFFIXES = frozenset(
    {".txt", ".text", ".md", ".rst", ".tex", ".org", ".html", ".py", ".c", ".h", ".js", ".java"}
)
LARGEST_BLOCK, SMALLEST_BLOCK = 10_000, 2_000  # characters
MOST_BLOCKS = 100  # where blocks would be smaller than the largest
ENOUGH_EXCERPTS = 10
"""Of a split; with fewer, every fifth block is held out, and the scores are coarse."""


def is_text(path: Path) -> bool:
    """Whether a file is text, by its name."""
    return path.suffix.lower() in SUFFIXES


def read_text(source: Path, files: Sequence[Path], progress: Progress, left_out: LeftOut) -> Content:
    """Read files as documents.

    A repeated paragraph is kept at its first place only, so no split repeats another. Neighbours stay in one
    block, so few paragraphs continue in another split.

    Raises:
        TaskError: too many files cannot be read, or there is too little text for three splits.
    """
    known: set[str] = set()
    texts: dict[str, str] = {}
    repeated = 0
    prose = [path for path in files if is_text(path)] or files
    prose = [path for path in prose if not is_about(path, source)]
    for count, path in enumerate(prose, start=1):
        try:
            whole = "\n\n".join(_pieces(_decoded(path)))
        except TaskError as error:
            left_out.note_bad(error)
        else:
            kept = fresh(whole, known)
            repeated += len(paragraphs(whole)) - len(paragraphs(kept))
            texts[path.relative_to(source).as_posix() if path != source else path.name] = kept
        progress(count, len(prose))
    left_out.check(source, len(prose))
    size = sum(map(len, texts.values()))
    limit = min(LARGEST_BLOCK, max(SMALLEST_BLOCK, size // MOST_BLOCKS))
    documents = {
        f"{name}#{i}": block for name, text in texts.items() for i, block in enumerate(_blocks(text, limit))
    }
    splits, rule, excerpts = _split(documents)
    _check_length(source, size, excerpts)
    encoded = [document.encode() for document in documents.values()]
    arrays = {
        "text": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
        "splits": splits,
    }
    return Content("text", arrays, (), rule, repeated)


def _decoded(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"text is UTF-8, '{path}' is not at byte {error.start}; convert it or remove it"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    if "\0" in text:
        raise TaskError(f"text has no NUL characters, '{path}' has; remove it")
    return text


def _pieces(text: str) -> Iterator[str]:
    """Paragraphs; those longer than the smallest block are cut, if possible at ends of lines or words."""
    for paragraph in paragraphs(text):
        start, length = 0, len(paragraph)  # a text of one long line is walked along, never copied whole
        while length - start > SMALLEST_BLOCK:
            limit = start + SMALLEST_BLOCK
            ends = [paragraph.rfind(mark, start + 1, limit) for mark in ("\n", " ")]
            cut = next((end for end in ends if end > start), limit)
            yield paragraph[start:cut]
            start = cut
            while start < length and paragraph[start] in "\n ":
                start += 1
        rest = paragraph[start:]
        if rest.strip():
            yield rest


def _blocks(text: str, limit: int) -> Iterator[str]:
    """Blocks of neighbouring paragraphs, of about `limit` characters each."""
    block: list[str] = []
    size = 0
    for paragraph in paragraphs(text):
        block.append(paragraph)
        size += len(paragraph)
        if size >= limit:
            yield "\n\n".join(block)
            block, size = [], 0
    if block:
        yield "\n\n".join(block)


def _split(documents: dict[str, str]) -> tuple[np.ndarray, str, dict[Split, int]]:
    """Places of the documents' splits, how they were chosen, and how many excerpts each split has.

    Every tenth document is held out for a split, or every fifth where that gives too few excerpts.
    """
    items = [Item(lambda: np.empty(0), "", name) for name in documents]
    splits, rule = np.empty(0, dtype=np.uint8), ""
    excerpts: dict[Split, int] = {}
    for every in PLACES:
        splits, rule = assign_splits(items, every)
        excerpts = {
            split: len(
                cut_excerpts(text for text, at in zip(documents.values(), splits, strict=True) if at == i)
            )
            for i, split in enumerate(SPLITS)
        }
        if min(excerpts.values()) >= ENOUGH_EXCERPTS:
            break
    return splits, rule, excerpts


def _check_length(source: Path, size: int, excerpts: dict[Split, int]) -> None:
    for split, count in excerpts.items():
        if count < FEWEST_HELD_OUT:
            raise TaskError(
                f"text has {FEWEST_HELD_OUT} excerpts of {SHORTEST_EXCERPT} to {EXCERPT:,} characters in each"
                f" split, which some 10,000 characters give; '{source}' has {size:,} characters,"
                f" {count} excerpts for {split}"
            )
