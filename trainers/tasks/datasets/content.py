"""The content of a data set: labelled items, documents or demonstrations, each in one split.

Nothing here knows a file format, where data sets are kept, or how they are played.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from math import isqrt
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from space.errors import TaskError
from space.records import SPLITS, Split
from trainers.tasks.mapped import Column, open_columns

Kind = Literal["images", "sounds", "text", "pairs", "control"]
Arrays = dict[str, np.ndarray]

MAPPED: dict[Kind, dict[str, Column]] = {
    "images": {
        "bytes": Column("|u1"),
        "ends": Column("<i8"),
        "items": Column("|u1", (3,)),
        "labels": Column("<i4"),
        "splits": Column("|u1"),
    },
    "sounds": {
        "bytes": Column("|u1"),
        "ends": Column("<i8"),
        "items": Column("<f2", (32, 32)),
        "labels": Column("<i4"),
        "splits": Column("|u1"),
    },
    "text": {"text": Column("|u1"), "ends": Column("<i8"), "splits": Column("|u1")},
    "pairs": {
        "text": Column("|u1"),
        "question_ends": Column("<i8"),
        "answer_ends": Column("<i8"),
        "splits": Column("|u1"),
        "image": Column("<i8"),
        "image_content": Column("|u1"),
        "image_ends": Column("<i8"),
        "image_seen": Column("|u1", (16, 16, 3)),
        "audio": Column("<i8"),
        "audio_content": Column("|u1"),
        "audio_ends": Column("<i8"),
        "audio_seen": Column("|u1", (32, 32)),
    },
    "control": {
        "about": Column("|u1"),
        "numbers": Column("<f4"),
        "pixels": Column("|u1"),
        "actions": Column("<f4"),
        "ends": Column("<i8"),
        "returns": Column("<f8"),
        "missions": Column("|u1"),
        "mission_ends": Column("<i8"),
        "splits": Column("|u1"),
    },
}
"""Arrays of each kind; each is a file that is mapped into memory."""

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "select",
    "valid": "select",
    "validation": "select",
    "test": "report",
    "testing": "report",
}
PLACES: dict[int, dict[Split, int]] = {10: {"select": 2, "report": 7}, 5: {"select": 1, "report": 3}}
"""Which of every ten items, or of every five, goes to a split that the source does not have."""
TENTH, FIFTH = PLACES
ABOUT = re.compile(r"(README|LICEN[SC]E|COPYING)(\.\w+)?", re.IGNORECASE)
LONGEST_LABEL = 48  # bytes
FIRST_NAMED = 3  # of what was left out
FEWEST_HELD_OUT = 2
"""Different items or excerpts of a split; fewer have no standard error."""
ENOUGH_HELD_OUT = 20
"""Different items of a split; with fewer, every fifth is held out, and the scores are coarse."""


class Progress(Protocol):
    """Called while something long is done."""

    def __call__(self, done: int, total: int, unit: str = "", /) -> None:
        """Take the amount of work that is done and its total; items where there is no unit."""
        ...


@dataclass(frozen=True)
class Content:
    """All of a data set.

    Attributes:
        kind: what it is.
        arrays: `splits` (count,), places in `SPLITS`. Of images also `items` (count, side, side, 3) uint8, of
            sounds `items` (count, frames, bands) float16 in [-1, 1] of one second, of both `labels` (count,)
            and `bytes` (bytes,) uint8 with their `ends` (count,): picture files, or the levels of whole
            sounds. Of a text `text` (bytes,) uint8 and the `ends` (count,) of its documents. Of pairs `text`
            has each question and its answers, which end at `question_ends` and `answer_ends` (count,);
            `image` and `audio` (count,) say which medium a pair has, -1 for none. What is kept of a medium is
            in `*_content`, up to `*_ends`; `*_seen` is what a model is shown of it where the study says
            nothing else. Those of control are described in `minari_sets`.
        labels: their names, by index; of images and sounds only.
        rule: how the splits were chosen, in words.
        left_out: repeated items and paragraphs that were removed.
        side: pixels that the shorter side of an image has at most; None where there are no picture files.
        seconds: that a sound has at most; None where there are no whole sounds.
        facts: of pairs: which fields they were made of, and how answers are scored and why.
    """

    kind: Kind
    arrays: Arrays
    labels: tuple[str, ...]
    rule: str
    left_out: int
    side: int | None = None
    seconds: float | None = None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[Split, int]:
        """Items or documents of each split."""
        return {split: int((self.arrays["splits"] == i).sum()) for i, split in enumerate(SPLITS)}


@dataclass
class LeftOut:
    """What of a source is not in the data set, as far as it is told while the source is read.

    Attributes:
        most_bad: share of the items that may be unreadable.
        bad: items that could not be read.
        first_bad: why the first few of them could not.
        others: files that are of another kind.
        first_others: the first few of them.
    """

    most_bad: float = 0.0
    bad: int = 0
    first_bad: list[str] = field(default_factory=list)
    others: int = 0
    first_others: list[str] = field(default_factory=list)

    def note_bad(self, error: TaskError) -> None:
        """Count an item that cannot be read."""
        self.bad += 1
        if len(self.first_bad) < FIRST_NAMED:
            self.first_bad.append(str(error))

    def note_others(self, paths: Sequence[Path]) -> None:
        """Count files that are of another kind."""
        self.others += len(paths)
        self.first_others += [str(path) for path in paths[: FIRST_NAMED - len(self.first_others)]]

    def check(self, source: Path, total: int) -> None:
        """Check that few enough items could not be read.

        Args:
            source: where they come from, for messages.
            total: all items, unreadable ones among them.

        Raises:
            TaskError: the share of unreadable items is above `most_bad`.
        """
        if self.bad > self.most_bad * total:
            raise TaskError(
                f"a share of {self.most_bad:g} of the items may be unreadable (--max-bad), in '{source}'"
                f" {self.bad:,} of {total:,} are; the first: {self.first_bad[0]}"
            )


@dataclass(frozen=True)
class Item:
    """One labelled item.

    Attributes:
        read: makes what is kept of it. It can be pickled.
        label: what it is.
        key: tells it from all others, and is the same on every machine.
        split: where its source puts it, if it says so.
    """

    read: Callable[[], Any]
    label: str
    key: str
    split: Split | None = None


def open_content(kind: Kind, folder: Path) -> Arrays:
    """Arrays of a kind that is mapped into memory, from the files in a folder.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file was cut off.
    """
    arrays = open_columns(folder, MAPPED[kind])
    if kind == "images":  # all items of a data set have one side, 16 or 8
        count = len(arrays["splits"])
        side = isqrt(len(arrays["items"]) // max(1, count))
        arrays["items"] = arrays["items"].reshape(count, side, side, 3)
    return arrays


def items_by_folder(source: Path, paths: Sequence[Path], read: Callable[[Path], Any]) -> list[Item]:
    """Items whose labels are the names of their folders: LABEL/... or train/LABEL/... and test/LABEL/...

    One folder that holds all others, as in archives, is skipped.
    """
    if not paths:
        return []
    parts = [path.relative_to(source).parts for path in paths]
    top = _shared(parts)
    parts = [part[top:] for part in parts]
    given = {part[0].lower() for part in parts} if min(map(len, parts)) > 2 else set()
    split_first = "train" in given and given <= SPLIT_FOLDERS.keys()
    items = []
    for path, part in zip(paths, parts, strict=True):
        if len(part) < 2:
            raise TaskError(f"an item lies in a folder that is its label, got '{path}'")
        split = SPLIT_FOLDERS[part[0].lower()] if split_first else None
        items.append(Item(partial(read, path), part[int(split_first)].strip(), "/".join(part), split))
    return items


def held_out_first(items: Sequence[Item]) -> list[Item]:
    """The items of the source's held-out splits before others, so that a repeated one stays held out."""
    return sorted(items, key=lambda item: -SPLITS.index(item.split or "train"))


def labelled(
    items: Sequence[Item], chosen: Sequence[Item], rule: str = ""
) -> tuple[Arrays, tuple[str, ...], str]:
    """Label the items that are kept, and assign each to a split.

    Args:
        items: all of them, whose labels count.
        chosen: those that are kept.
        rule: how the source's own splits were found, in words.

    Returns:
        Arrays `labels` and `splits`, the names of the labels, and how the splits were chosen, in words.
    """
    names = tuple(sorted({item.label for item in items}))
    places = {name: place for place, name in enumerate(names)}
    splits, spread = _spread(chosen)
    labels = np.array([places[item.label] for item in chosen], dtype=np.int32)
    own = rule or "the source's own" * any(item.split for item in items)
    return {"labels": labels, "splits": splits}, names, "; ".join(part for part in (own, spread) if part)


def assign_splits(items: Sequence[Item], every: int = TENTH) -> tuple[np.ndarray, str]:
    """Assign items to the source's own splits; otherwise 80% to train, 10% to select and 10% to report.

    Of the items in the order of their labels, then of their keys' hashes, every tenth is held out: each label
    has its share, and the source's order does not matter.

    Args:
        items: all of them.
        every: items of which one is held out, ten or five, for each split that the source does not have.

    Returns:
        Places in `SPLITS`, (count,) uint8, and what was held out here, in words.
    """
    splits = np.array([SPLITS.index(item.split or "train") for item in items], dtype=np.uint8)
    given = {item.split for item in items}
    missing: list[Split] = [split for split in PLACES[every] if split not in given]
    free = np.flatnonzero(splits == SPLITS.index("train")).tolist()
    free.sort(key=lambda i: (items[i].label, sha256(items[i].key.encode()).digest()))
    for split in missing:
        splits[free[PLACES[every][split] :: every]] = SPLITS.index(split)
    each = f"every {'tenth' if every == TENTH else 'fifth'}"
    return splits, f"{each} for {' and for '.join(missing)}, by hash" if missing else ""


def _spread(items: Sequence[Item]) -> tuple[np.ndarray, str]:
    """As `assign_splits`, with more items held out if every tenth is too few."""
    splits, rule = assign_splits(items)
    given = {item.split for item in items}
    counts = [int((splits == i).sum()) for i, split in enumerate(SPLITS) if split not in given | {"train"}]
    return (
        assign_splits(items, FIFTH)
        if min(counts, default=ENOUGH_HELD_OUT) < ENOUGH_HELD_OUT
        else (splits, rule)
    )


def unreadable(path: Path, why: Exception | str, what: str = "files of a data set") -> TaskError:
    """The error for a file or a folder that cannot be read.

    Args:
        path: the file or folder.
        why: the reason, or the error that states it.
        what: what it should be, in words.
    """
    told = str(getattr(why, "strerror", None) or why)
    reason = told.partition(" <_io")[0]  # Pillow names the object that it reads from
    return TaskError(f"{what} can be read, '{path}' cannot: {reason}; repair or remove it")


def is_about(path: Path, source: Path) -> bool:
    """Whether a file describes the data and is not part of them: a README or a licence."""
    return path.parent == source and ABOUT.fullmatch(path.name) is not None


def _shared(parts: Sequence[tuple[str, ...]]) -> int:
    """Number of folders above the labels that all items share."""
    top = 0
    while min(map(len, parts)) > top + 2 and len({part[top] for part in parts}) == 1:
        top += 1
    return top


def check_items(kind: Kind, source: Path, items: Sequence[Item], most: int) -> None:
    """Check the number of items and their labels, before any is read.

    Raises:
        TaskError: there are none, more than `most`, fewer than two labels, or one that is too long.
    """
    labels = {item.label for item in items}
    if not items:
        raise TaskError(f"a data set of {kind} has some, '{source}' has none")
    if len(labels) < 2:
        raise TaskError(
            f"{kind} have two labels at least, each the name of the folder that they lie in,"
            f" '{source}' has only '{min(labels)}'"
        )
    if len(items) > most:
        raise TaskError(f"a data set of {kind} has at most {most:,} items, '{source}' has {len(items):,}")
    longest = max(labels, key=lambda label: len(label.encode()))
    if len(longest.encode()) > LONGEST_LABEL:
        raise TaskError(f"a label has at most {LONGEST_LABEL} bytes, got '{longest}'")


def check_splits(source: Path, content: Content) -> None:
    """Check that each split has enough items, and that each label is among those to train on.

    Raises:
        TaskError: it has not, or is not.
    """
    sizes = content.sizes
    fewest: Split = "select" if sizes["select"] < sizes["report"] else "report"
    count = sizes[fewest]
    if count < FEWEST_HELD_OUT:
        raise TaskError(
            f"select and report need {FEWEST_HELD_OUT} different items each, which"
            f" {FIFTH * FEWEST_HELD_OUT} in all give; '{source}' has {sum(sizes.values())} different ones,"
            f" {count} of them for {fewest}"
        )
    trained = np.unique(content.arrays["labels"][content.arrays["splits"] == SPLITS.index("train")])
    for place in sorted({*range(len(content.labels))} - {*trained.tolist()}):
        raise TaskError(
            f"each label needs items to train on, '{content.labels[place]}' in '{source}' has none"
        )
