"""Writes pairs while they are read: media once, repeated pairs once, groups that are in one split.

Media that an interrupted writer decoded are taken from its folder. Memory grows by some bytes for each pair;
digests of what was seen are in a database on the disk.
"""

import errno
import sqlite3
import struct
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Self

import numpy as np

from space.errors import TaskError
from space.records import HELD_OUT, SPLITS, Split
from trainers.tasks.datasets.content import ENOUGH_HELD_OUT, PLACES
from trainers.tasks.datasets.media import KINDS, Medium, read_medium
from trainers.tasks.datasets.pair_rows import BETWEEN, NONE
from trainers.tasks.datasets.spool import Columns
from trainers.tasks.journal import Journal

EVERY = {100: "hundredth", 10: "tenth", 5: "fifth"}
MANY_HELD_OUT = 1_000  # pairs of a split; every hundredth group is held out where that gives so many
DIGEST = 16  # bytes
POSITION = "<q"


class PairWriter:
    """Writes pairs, each once, with the media that they share.

    Args:
        folder: for the files of the arrays and others; it may have media of pairs that were read before.
        side: pixels that the shorter side of an image keeps at most.
        seconds: that a sound lasts at most.

    Attributes:
        repeated: pairs that were there already.
        position: bytes of the source up to the next pair, set before it is added.
        begun: the position up to which media were decoded before.
    """

    def __init__(self, folder: Path, side: int, seconds: float) -> None:
        self._folder, self._side, self._seconds = folder, side, seconds
        self._open = ExitStack()
        self.repeated = self.position = self.begun = 0
        self._size = 0  # bytes of text
        self._groups = _Groups()
        self._media = {kind: _Media(folder, kind) for kind in KINDS}

    def __enter__(self) -> Self:
        """Open the files."""
        self._seen = self._open.enter_context(_Seen(self._folder / "seen.sqlite"))
        self._text = self._open.enter_context((self._folder / "text.bin").open("wb"))
        self._rows = self._open.enter_context(
            Columns(
                self._folder, question_ends="<i8", answer_ends="<i8", image="<i8", audio="<i8", group="<i8"
            )
        )
        for media in self._media.values():
            self._open.enter_context(media)
        self.begun = max(media.begun for media in self._media.values())
        return self

    def __exit__(self, *raised: object) -> None:
        """Close them."""
        self._open.__exit__(*raised)  # pyright: ignore[reportArgumentType]

    def add(
        self,
        question: str,
        answers: Sequence[str],
        media: dict[str, bytes],
        group: str | None,
        split: Split | None,
        where: str,
    ) -> None:
        """Add a pair; if it is there already, its split and group count nevertheless.

        Args:
            question: its text, which may be empty.
            answers: those that are accepted, the first one is learnt.
            media: kind -> encoded image or sound.
            group: of which all pairs are in one split; none beside that of the media when None.
            split: where the source puts it, if it says so.
            where: its place, for messages.

        Raises:
            TaskError: a medium cannot be decoded; nothing is added then but media before it.
        """
        ids = {kind: self._medium(kind, content, where) for kind, content in media.items()}
        keys = [f"{kind} {number}".encode() for kind, number in ids.items()]
        if group is not None:
            keys.append(b"group " + group.encode())
        if not keys:
            keys.append(b"question " + " ".join(question.casefold().split()).encode())
        place = self._group(keys, split)
        said = BETWEEN.join([question, *answers])
        _, is_new = self._seen.number(b"pair " + repr(sorted(ids.items())).encode() + said.encode(), 0)
        if not is_new:
            self.repeated += 1
            return
        asked, told = question.encode(), BETWEEN.join(answers).encode()
        self._text.write(asked + told)
        self._rows.append(
            self._size + len(asked),
            self._size + len(asked) + len(told),
            ids.get("image", NONE),
            ids.get("audio", NONE),
            place,
        )
        self._size += len(asked) + len(told)

    def splits(self, group: str) -> tuple[np.ndarray, str]:
        """The split of each pair, (pairs,) uint8 places in `SPLITS`, and how it was found, in words.

        Args:
            group: the name of a group, in words; that of media when empty.
        """
        roots = np.fromiter((self._groups.root(int(g)) for g in self._rows.read("group")), dtype=np.int64)
        groups, of_row = np.unique(roots, return_inverse=True)
        stated, hashes = self._groups.facts(groups)
        if not (stated <= 1).any():  # nothing to train on
            stated[:] = 0
        splits = np.maximum(stated, 1) - 1
        missing: list[Split] = [split for split in HELD_OUT if not (splits == SPLITS.index(split)).any()]
        free = np.flatnonzero(splits == SPLITS.index("train"))
        free = free[np.argsort(hashes[free], kind="stable")]
        parts = ["the source's own"] if stated.any() else []
        if missing:
            every = _spread(splits, free, of_row, missing)
            parts.append(f"every {EVERY[every]} {group or 'image or sound'} for {' and for '.join(missing)},"
                         " by hash")  # fmt: skip
        return splits[of_row].astype(np.uint8), "; ".join(parts)

    def _medium(self, kind: str, content: bytes, where: str) -> int:
        """The number of an image or a sound, which is decoded and kept where it is new."""
        key = f"content of {kind} ".encode() + content
        if (known := self._seen.find(key)) is not None:
            return known
        decode = partial(read_medium, kind, content, where, self._side, self._seconds)
        number, seen = self._media[kind].add(_digest(key), self.position, decode)
        self._seen.number(key, number)
        same = f"seen of {kind} ".encode() + seen
        self._group([f"{kind} {number}".encode(), same], None)  # what a model cannot tell apart is one group
        return number

    def _group(self, keys: Sequence[bytes], split: Split | None) -> int:
        """The group that all keys are of from now on."""
        places = []
        for key in keys:
            place, is_new = self._seen.number(b"key " + key, len(self._groups))
            if is_new:
                self._groups.add(key)
            places.append(place)
        return self._groups.join(places, 0 if split is None else 1 + SPLITS.index(split))


class _Seen:
    """Numbers of contents by their digests, on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        self._database = sqlite3.connect(self._path, isolation_level=None)
        for line in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._execute(f"PRAGMA {line}")
        self._execute("CREATE TABLE seen (key BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID")
        self._execute("BEGIN")
        return self

    def __exit__(self, *raised: object) -> None:
        self._database.close()
        self._path.unlink(missing_ok=True)

    def find(self, content: bytes) -> int | None:
        """The number of a content; None if it is new."""
        row = self._execute("SELECT number FROM seen WHERE key = ?", (_digest(content),)).fetchone()
        return None if row is None else int(row[0])

    def number(self, content: bytes, new: int) -> tuple[int, bool]:
        """The number of a content, a new one if there is none yet, and whether it is new."""
        if (known := self.find(content)) is not None:
            return known, False
        self._execute("INSERT INTO seen VALUES (?, ?)", (_digest(content), new))
        return new, True

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:  # its file cannot be read or written
            code = errno.ENOSPC if "full" in str(error) else errno.EIO
            raise OSError(code, str(error), str(self._path)) from error


class _Media:
    """Images or sounds, end to end as they are kept, and as a model sees them.

    Those that were decoded before come first, in the same order; from the first other one on, they are cut.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._ends = Columns(folder, **{f"{kind}_ends": "<i8"})
        self._keys = folder / f"{kind}_keys.bin"
        files = (f"{kind}_{what}" for what in ("content", "seen", "keys", "unreadable"))
        self._journal = Journal(folder, *files, rows=f"{kind}_journal")
        self._size = 0

    def __enter__(self) -> Self:
        self.begun = self._last_position()
        self._ends.__enter__()
        self._journal.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            self._journal.__exit__(*raised)
        finally:
            self._ends.__exit__(*raised)  # pyright: ignore[reportArgumentType]

    def add(self, key: bytes, position: int, decode: Callable[[], Medium]) -> tuple[int, bytes]:
        """Keep one, and return its number and what a model sees of it.

        Args:
            key: digest of what is decoded.
            position: where it is in the source, for progress.
            decode: called where it was not decoded before.

        Raises:
            TaskError: it cannot be decoded, now or before.
        """
        found = self._journal.read(lambda parts: parts[2].startswith(key))
        if found is None:
            told = key + struct.pack(POSITION, position)
            try:
                medium = decode()
            except TaskError as error:
                self._journal.append(b"", b"", told, str(error).encode(errors="backslashreplace"))
                raise
            found = (medium.content, medium.seen.tobytes(), told, b"")
            self._journal.append(*found)
        content, seen, _, error = found
        if error:
            raise TaskError(error.decode())
        number = len(self._ends)
        self._size += len(content)
        self._ends.append(self._size)
        return number, seen

    def _last_position(self) -> int:
        """The position of the last one that was decoded before; 0 if there is none."""
        row = DIGEST + struct.calcsize(POSITION)
        if not self._keys.exists() or (count := self._keys.stat().st_size // row) == 0:
            return 0
        with self._keys.open("rb") as keys:
            keys.seek(count * row - struct.calcsize(POSITION))
            return struct.unpack(POSITION, keys.read(struct.calcsize(POSITION)))[0]


class _Groups:
    """Groups of pairs, which may be joined: a forest in which each root is the oldest group."""

    def __init__(self) -> None:
        self._parents, self._stated, self._hashes = array("q"), array("B"), array("Q")

    def __len__(self) -> int:
        return len(self._parents)

    def add(self, key: bytes) -> None:
        """Add a group; the hash of its key orders it."""
        self._parents.append(len(self._parents))
        self._stated.append(0)
        self._hashes.append(int.from_bytes(_digest(key)[:8], "big"))

    def root(self, group: int) -> int:
        """The oldest group that it is joined with."""
        while self._parents[group] != group:
            self._parents[group] = self._parents[self._parents[group]]
            group = self._parents[group]
        return group

    def join(self, groups: Sequence[int], stated: int) -> int:
        """Join groups, and note which split the source states for them: the one furthest from training."""
        roots = [self.root(group) for group in groups]
        oldest = min(roots)
        for root in roots:
            self._parents[root] = oldest
            self._stated[oldest] = max(self._stated[oldest], self._stated[root], stated)
        return oldest

    def facts(self, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of some roots: 0 or one more than the place of the stated split in `SPLITS`, and their hashes."""
        return np.array(self._stated)[roots], np.array(self._hashes, dtype=np.uint64)[roots]


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST).digest()


def _spread(splits: np.ndarray, free: np.ndarray, of_row: np.ndarray, missing: Sequence[Split]) -> int:
    """Hold out every hundredth, tenth or fifth group, whichever first gives pairs enough; returns which."""
    for every in EVERY:
        found = splits.copy()
        for split in missing:
            found[free[PLACES[min(every, max(PLACES))][split] :: every]] = SPLITS.index(split)
        counts = np.bincount(found[of_row], minlength=len(SPLITS))
        fewest = min(int(counts[SPLITS.index(split)]) for split in missing)
        if fewest >= (MANY_HELD_OUT if every == max(EVERY) else ENOUGH_HELD_OUT) or every == min(EVERY):
            splits[:] = found
            return every
    raise AssertionError("the last one is taken")
