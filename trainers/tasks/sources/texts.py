"""Text: files cut into contiguous blocks of paragraphs, each a document of one split."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from space.errors import TaskError
from trainers.tasks.families.text import cut_excerpts, fresh, paragraphs
from trainers.tasks.sources.content import SPLITS, Content, Item, Progress, assign_splits, is_about

SUFFIXES = frozenset(
    {".txt", ".text", ".md", ".rst", ".tex", ".org", ".html", ".py", ".c", ".h", ".js", ".java"}
)
LARGEST_BLOCK, SMALLEST_BLOCK = 10_000, 2_000  # characters
MOST_BLOCKS = 100  # where blocks would be smaller than the largest
FEWEST_EXCERPTS = 10


def is_text(path: Path) -> bool:
    """Whether a file is text, by its name."""
    return path.suffix.lower() in SUFFIXES


def read_text(source: Path, files: Sequence[Path], progress: Progress) -> Content:
    """Read files as documents.

    A paragraph that stands twice is kept where it stands first, so that no split repeats another; neighbours
    stay together in a block, so that few paragraphs have the next one in another split.

    Raises:
        TaskError: a file is not UTF-8, or there is too little text.
    """
    known: set[str] = set()
    texts: dict[str, str] = {}
    repeated = 0
    prose = [path for path in files if is_text(path)] or files
    for count, path in enumerate(prose, start=1):
        if not is_about(path, source):
            whole = "\n\n".join(_pieces(_decoded(path)))
            kept = fresh(whole, known)
            repeated += len(paragraphs(whole)) - len(paragraphs(kept))
            texts[path.relative_to(source).as_posix() if path != source else path.name] = kept
        progress(count, len(prose))
    size = sum(map(len, texts.values()))
    limit = min(LARGEST_BLOCK, max(SMALLEST_BLOCK, size // MOST_BLOCKS))
    documents = {
        f"{name}#{i}": block for name, text in texts.items() for i, block in enumerate(_blocks(text, limit))
    }
    items = [Item(lambda: np.empty(0), "", name) for name in documents]
    splits, rule = assign_splits(items)
    encoded = [document.encode() for document in documents.values()]
    arrays = {
        "text": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
        "splits": splits,
    }
    _check_length(source, size, list(documents.values()), splits)
    return Content("text", arrays, (), rule, repeated)


def _decoded(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"text is UTF-8, '{path}' is not at byte {error.start}; convert it or take it away"
        ) from None
    if "\0" in text:
        raise TaskError(f"text has no NUL characters, '{path}' has; take it away")
    return text


def _pieces(text: str) -> Iterator[str]:
    """Paragraphs; those longer than the smallest block are cut, at ends of lines or of words if they can."""
    for paragraph in paragraphs(text):
        while len(paragraph) > SMALLEST_BLOCK:
            ends = [paragraph.rfind(mark, 1, SMALLEST_BLOCK) for mark in ("\n", " ")]
            cut = next((end for end in ends if end > 0), SMALLEST_BLOCK)
            yield paragraph[:cut]
            paragraph = paragraph[cut:].lstrip("\n ")
        if paragraph.strip():
            yield paragraph


def _blocks(text: str, limit: int) -> Iterator[str]:
    """Paragraphs that stand together, about `limit` characters in each block."""
    block: list[str] = []
    for paragraph in paragraphs(text):
        block.append(paragraph)
        if sum(map(len, block)) >= limit:
            yield "\n\n".join(block)
            block = []
    if block:
        yield "\n\n".join(block)


def _check_length(source: Path, size: int, documents: Sequence[str], splits: np.ndarray) -> None:
    for place, split in enumerate(SPLITS):
        own = [text for text, at in zip(documents, splits.tolist(), strict=True) if at == place]
        if len(cut_excerpts(own)) < FEWEST_EXCERPTS:
            raise TaskError(
                f"text has {FEWEST_EXCERPTS} excerpts in each split, which 100,000 characters give;"
                f" '{source}' has {size:,} characters, {len(cut_excerpts(own))} excerpts for {split}"
            )
