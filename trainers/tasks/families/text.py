"""Python's own documentation as text, in bits per byte: language topics, and docstrings from the sources.

Docstrings are parsed from source files, so no module is imported. A repeated paragraph (topics quote each
other, docstrings are copied) is kept at its first place only, so no split repeats another.
"""

import ast
import sysconfig
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np

from space.errors import TaskError
from space.records import Sense, Split
from trainers.tasks.base import Policy
from trainers.tasks.cache import cached_arrays
from trainers.tasks.code.fingerprints import object_fingerprint
from trainers.tasks.ngram import NGramPolicy
from trainers.tasks.sessions import BaseTask
from trainers.tasks.versions import versions_of
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import BOS, well_formed

EXCERPT = 1000  # characters
SHORTEST_EXCERPT = 400
REPEATABLE = 40  # characters; shorter paragraphs may be repeated
ORDER = 6
MOST_READ = 10_000_000  # tokens; an n-gram of more takes gigabytes and minutes
SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo"}


class TextTask(BaseTask):
    """Bits per byte on excerpts of documents that training has not seen; subclasses say which documents."""

    family = "text"
    domain = "text"
    modality: Sense = "text"
    metric = "bits per byte"
    unit = "bits/byte"
    lower_is_better = True
    eval_episodes = 32
    reference_episodes = 120
    num_train_episodes = 100_000  # more than there are: all documents

    @abstractmethod
    def texts(self, split: Split) -> Sequence[str]:
        """The documents of a split."""

    @abstractmethod
    def excerpts(self, split: Split) -> list[str]:
        """Pieces of the split's documents that do not overlap, in random order."""

    def demonstrations(self) -> Sequence[Chunk]:
        """Every document of the train split; a window may begin at any token."""
        documents = self.texts("train")[: self.train_episodes]
        return [
            Chunk.concat(
                [
                    sequence.text([BOS], scored=False, starts=True),
                    sequence.text(self.tokenizer.encode(document), scored=True, starts=True),
                ]
            )
            for document in documents
        ]

    def score(self, policy: Policy, split: Split, count: int) -> np.ndarray:
        """Bits per byte of each of `count` excerpts, (count,); lower is better.

        Raises:
            TaskError: the split has fewer excerpts.
        """
        chosen = self.excerpts(split)[:count]
        if len(chosen) < count:
            raise TaskError(f"{self.name} has {len(chosen)} excerpts of {split}, got a request for {count}")
        pieces = [np.r_[BOS, self.tokenizer.encode(excerpt)] for excerpt in chosen]
        windows = [list(overlapping(len(ids), self.suite.context)) for ids in pieces]
        chunks = [
            sequence.text(ids[start:stop], scored=True)
            for ids, spans in zip(pieces, windows, strict=True)
            for start, stop, _ in spans
        ]
        nats = iter(policy.nats(chunks))
        totals = [sum(next(nats)[-new:].sum() for *_, new in spans) for spans in windows]
        sizes = [len(well_formed(excerpt).encode()) for excerpt in chosen]
        return np.array(totals, dtype=np.float64) / np.log(2) / sizes

    def floor_policies(self) -> dict[str, Policy]:
        """The frequencies of single tokens."""
        return {"unigram": self._ngram(1)}

    def expert_policy(self) -> tuple[str, Policy]:
        """A smoothed n-gram that has read the train split, or `MOST_READ` tokens of a longer one."""
        return f"Kneser-Ney {ORDER}-gram", self._ngram(ORDER)

    def _ngram(self, order: int) -> NGramPolicy:
        return NGramPolicy(self._read, order, self.vocabulary.text)

    @cached_property
    def _read(self) -> list[np.ndarray]:
        """Tokens of documents of the train split, drawn until there are enough."""
        documents = self.texts("train")
        read: list[np.ndarray] = []
        missing = MOST_READ
        for i in np.random.default_rng(0).permutation(len(documents)):
            if missing > 0:
                read.append(np.r_[BOS, self.tokenizer.encode(documents[int(i)])])
                missing -= len(read[-1])
        return read


class PythonDocs(TextTask):
    """Python's own documentation."""

    name = "python-docs"

    def texts(self, split: Split) -> list[str]:
        """The documents of a split."""
        return texts(split)

    def excerpts(self, split: Split) -> list[str]:
        """Pieces of the split's documents that do not overlap, in random order."""
        return excerpts(split)


TASKS = {"python-docs": PythonDocs}


def overlapping(length: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Windows (start, stop, fresh) over a text: half a window overlaps, the last `fresh` tokens are new.

    Each token but the first is new once, and a window has at most `context + 1` tokens.
    """
    start, done = 0, 1
    while done < length:
        stop = min(length, start + context + 1)
        yield start, stop, stop - done
        start, done = start + context // 2, stop


def document_split(name: str) -> Split:
    """The split of a document: 80% train, 10% select, 10% report."""
    share = sha256(name.encode()).digest()[0] / 256
    return "train" if share < 0.8 else "select" if share < 0.9 else "report"


@cache
def texts(split: Split) -> list[str]:
    """The documents of a split."""
    return [text for name, text in _documents() if document_split(name) == split]


@cache
def excerpts(split: Split) -> list[str]:
    """Pieces of the split's documents that do not overlap, in random order."""
    return cut_excerpts(texts(split))


def cut_excerpts(documents: Iterable[str]) -> list[str]:
    """Pieces of documents that do not overlap, in random order, without short ends."""
    cut = [text[i : i + EXCERPT] for text in documents for i in range(0, len(text), EXCERPT)]
    long = [piece for piece in cut if len(piece) >= SHORTEST_EXCERPT]
    return [long[i] for i in np.random.default_rng(0).permutation(len(long))]


@cache
def _documents() -> list[tuple[str, str]]:
    """(name, text) of each document, read from the cache once they are extracted."""
    key = {"code": object_fingerprint(_extract), "versions": versions_of([])}
    arrays = cached_arrays("documents", key, _extract)
    names = arrays["names"].tobytes().decode().split("\n")
    text = arrays["text"].tobytes()
    spans = pairwise([0, *arrays["ends"].tolist()])
    return [(name, text[i:j].decode()) for name, (i, j) in zip(names, spans, strict=True)]


def _extract() -> dict[str, np.ndarray]:
    known: set[str] = set()
    documents = {name: fresh(text, known) for name, text in (*_topics(), *_docstrings())}
    documents = {name: text for name, text in documents.items() if text}
    encoded = [text.encode() for text in documents.values()]
    return {
        "names": np.frombuffer("\n".join(documents).encode(), dtype=np.uint8),
        "text": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "ends": np.cumsum([len(text) for text in encoded]),
    }


def paragraphs(text: str) -> list[str]:
    """Runs of lines between empty ones."""
    return [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]


def fresh(text: str, known: set[str]) -> str:
    """A text without the paragraphs in `known`; its own paragraphs are added to `known`."""
    kept = []
    for paragraph in paragraphs(text):
        words = " ".join(paragraph.split())
        if len(words) < REPEATABLE or words not in known:
            kept.append(paragraph)
            known.add(words)
    return "\n\n".join(kept)


def _topics() -> Iterator[tuple[str, str]]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield f"topics/{name}", topics[name]


def _docstrings() -> Iterator[tuple[str, str]]:
    """Each module's docstrings in one document."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library)
        if SKIPPED.intersection(name.parts):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes that a later Python will refuse
            tree = ast.parse(path.read_bytes())
        nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, nodes)]
        yield name.as_posix(), "\n\n".join(text for text in found if text)
