"""Text that the user added, as a task in bits per byte; it may be longer than memory.

Tokens are made on all cores and mapped from a file: two bytes each, and one that says if it is scored.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Self, overload

import numpy as np

from space.errors import TaskError
from space.files import PART
from space.images import ADDED
from space.machine import cpu_count
from space.records import HELD_OUT, Split, SuiteRecord
from trainers.tasks.begun import Begun, InUse
from trainers.tasks.cache import CACHE, begun_path, cache_path, cached_arrays
from trainers.tasks.code.fingerprints import object_fingerprint
from trainers.tasks.datasets.content import Progress
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.episodes import Arrays, Episodes
from trainers.tasks.families.text import TextTask, cut_excerpts
from trainers.tasks.journal import Journal
from trainers.tasks.mapped import Column, open_columns, release
from trainers.tasks.processes import in_order
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import BOS, Tokenizer

FAMILY = ADDED
MOST_CUT = 8_000_000  # bytes of documents from which excerpts are cut
SPAN = 2_000_000  # bytes of documents that a process encodes at once
FEW = 2  # spans; a shorter text is encoded by this process
TOGETHER = 64  # documents, of which each brings its neighbours in the file into memory
KIND = "<u2"  # of tokens on the disk
AHEAD = 2  # spans that wait for each process
ARRAYS = {"tokens": Column(KIND), "scored": Column("?"), "counts": Column("<i8")}


class Documents(Sequence[str]):
    """The documents of a split, read from the disk when they are asked for.

    Args:
        dataset: a text.
        places: of the documents among all of them, ascending.
    """

    def __init__(self, dataset: Dataset, places: np.ndarray) -> None:
        self._text, self._ends = dataset.arrays["text"], dataset.arrays["ends"]
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Documents": ...
    def __getitem__(self, index: int | slice) -> "str | Documents":
        if isinstance(index, slice):
            part = object.__new__(Documents)
            part._text, part._ends, part._places = self._text, self._ends, self._places[index]
            return part
        return self.content(int(index)).decode()

    def __iter__(self) -> Iterator[str]:
        return self.read(range(len(self)))

    def content(self, index: int) -> bytes:
        """The UTF-8 of a document."""
        first, end = self._span(index)
        return self._text[first:end].tobytes()

    def contents(self, first: int, stop: int) -> list[bytes]:
        """The UTF-8 of some documents in turn; memory that the map of their file takes is given back."""
        found = [self.content(i) for i in range(first, stop)]
        release(self._text)
        return found

    def read(self, indexes: Iterable[int]) -> Iterator[str]:
        """Some documents in turn, in memory that does not grow with their number."""
        for count, index in enumerate(indexes, start=1):
            yield self[index]
            if count % TOGETHER == 0:
                release(self._text)

    @property
    def sizes(self) -> np.ndarray:
        """Bytes of each document, (documents,) int64."""
        firsts = np.where(self._places > 0, self._ends[self._places - 1], 0)
        return self._ends[self._places] - firsts

    def _span(self, index: int) -> tuple[int, int]:
        place = self._places[index]
        return int(self._ends[place - 1]) if place else 0, int(self._ends[place])


@dataclass(frozen=True)
class RunningText(Episodes):
    """Episodes of nothing but text: tokens of two bytes, and what is the same for all is kept nowhere."""

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """The inverse of `arrays`."""
        length = len(arrays["tokens"])
        return cls(
            tokens=arrays["tokens"],
            local=np.broadcast_to(np.int16(0), length),
            scored=arrays["scored"],
            starts=np.broadcast_to(np.bool_(True), length),
            offsets=arrays["offsets"],
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be kept, as named arrays."""
        return {name: getattr(self, name) for name in ("tokens", "scored", "offsets")}

    def chunk(self, index: np.ndarray) -> Chunk:
        """The tokens at places (length,) of the long arrays, as a chunk."""
        return Chunk(
            tokens=self.tokens[index].astype(np.int32),
            local=np.asarray(self.local[index]),
            scored=np.asarray(self.scored[index]),
            starts=np.asarray(self.starts[index]),
        )


class AddedText(TextTask):
    """Documents of a file or a folder.

    Args:
        dataset: the data.
        suite: sequence settings.
        tokenizer: the suite's.
        train_episodes: how many documents of the train split are read; all when None.
    """

    family = FAMILY

    def __init__(
        self, dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.dataset = dataset
        self.name = dataset.manifest.name
        held_out = min(len(excerpts(dataset, split)) for split in HELD_OUT)
        self.eval_episodes = min(type(self).eval_episodes, held_out)
        self.reference_episodes = min(type(self).reference_episodes, held_out)
        self.num_train_episodes = max(type(self).num_train_episodes, dataset.manifest.splits["train"])
        super().__init__(suite, tokenizer, train_episodes)

    def texts(self, split: Split) -> Documents:
        """The documents of a split."""
        return documents(self.dataset, split)

    def excerpts(self, split: Split) -> list[str]:
        """Pieces of the split's documents that do not overlap, in random order."""
        return excerpts(self.dataset, split)

    def episodes(self) -> Episodes:
        """Every document of the train split, tokenised once and then mapped into memory."""
        return self.tokenise(_silent)

    def tokenise(self, progress: Progress) -> Episodes:
        """As `episodes`; the result is that of `demonstrations`, of which the cache's key is made.

        What was tokenised before an interruption is not tokenised again.

        Args:
            progress: called with the bytes of text that are tokenised and their total.

        Raises:
            ProcessDied: a process died.
            MachineError: the cache cannot be read or written, or its disk is full.
        """
        key = self.cache_key()
        folder = begun_path(cache_path(self.name, key))
        with ExitStack() as made:

            def make() -> dict[str, np.ndarray]:
                with CACHE.errors():
                    begun = made.enter_context(_held(folder))
                return self._tokenised(progress, begun).arrays()

            return RunningText.from_arrays(cached_arrays(self.name, key, make))

    def _tokenised(self, progress: Progress, folder: Path) -> Episodes:
        if self.tokenizer.size > np.iinfo(KIND).max + 1:
            raise TaskError(f"a text that is added has ids below 65,536, '{self.suite.tokenizer}' has more")
        chosen = self.texts("train")[: self.train_episodes]
        sizes, spans = chosen.sizes, _spans(chosen.sizes)
        with CACHE.errors(), Journal(folder, "tokens", "scored", "counts") as journal:
            while journal.read() is not None:
                pass
            rest = spans[len(journal) :]
            total = int(sizes.sum())
            done = total - int(sizes[rest[0][0] :].sum()) if rest else total
            if done:
                progress(done, total, "B")
            for (first, stop), (ids, counts) in zip(
                rest, _encoded(chosen, rest, self.tokenizer), strict=True
            ):
                journal.append(ids.tobytes(), _scored(counts).tobytes(), counts.tobytes())
                done += int(sizes[first:stop].sum())
                progress(done, total, "B")
        with CACHE.errors():
            arrays = open_columns(folder, ARRAYS)
        offsets = np.cumsum(np.concatenate([[0], arrays.pop("counts")]), dtype=np.int64)
        return RunningText.from_arrays(arrays | {"offsets": offsets})


@lru_cache(maxsize=16)
def documents(dataset: Dataset, split: Split) -> Documents:
    """The documents of a split of a text."""
    return Documents(dataset, dataset.places(split))


@lru_cache(maxsize=16)
def excerpts(dataset: Dataset, split: Split) -> list[str]:
    """Pieces of documents of a split that do not overlap, in random order; some documents of a long text."""
    whole = documents(dataset, split)
    sizes = whole.sizes
    chosen = np.arange(len(whole))
    if sizes.sum() > MOST_CUT:
        drawn = np.random.default_rng(0).permutation(len(whole))
        chosen = np.sort(drawn[: np.searchsorted(np.cumsum(sizes[drawn]), MOST_CUT) + 1])
    return cut_excerpts(whole.read(chosen.tolist()))


def _silent(done: int, total: int, unit: str = "") -> None:
    """No progress."""


def _spans(sizes: np.ndarray) -> list[tuple[int, int]]:
    """Runs of documents of some `SPAN` bytes each, first and stop."""
    group = (np.cumsum(sizes) - sizes) // SPAN
    firsts = np.flatnonzero(np.diff(group, prepend=-1))
    return list(zip(firsts.tolist(), [*firsts[1:].tolist(), len(sizes)], strict=True))


def _encoded(
    chosen: Documents, spans: Sequence[tuple[int, int]], tokenizer: Tokenizer
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids, (tokens,) uint16, and tokens of each document, (documents,), of each span in turn."""
    contents = (chosen.contents(*span) for span in spans)
    if len(spans) <= FEW or cpu_count() == 1:
        yield from (encode(tokenizer, content) for content in contents)
    else:
        yield from in_order(partial(encode, tokenizer), contents, cpu_count(), AHEAD)


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """A folder with what was tokenised before; one of its own where another process works in that."""
    try:
        with Begun(folder, "the tokens of a text") as begun:
            begun.resume([SPAN, object_fingerprint(encode)])
            yield begun.folder
    except InUse:
        with tempfile.TemporaryDirectory(prefix=".", suffix=PART, dir=CACHE.folder) as own:
            yield Path(own)


def _scored(counts: np.ndarray) -> np.ndarray:
    """Which tokens of some documents are scored: all but the start token of each."""
    scored = np.ones(counts.sum(), dtype=bool)
    scored[np.cumsum(counts) - counts] = False
    return scored


def encode(tokenizer: Tokenizer, contents: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Ids of some documents of UTF-8, each after a start token, and how many each has."""
    found = [np.r_[BOS, tokenizer.encode(content.decode())] for content in contents]
    return np.concatenate(found).astype(KIND), np.array([len(ids) for ids in found], dtype=np.int64)
