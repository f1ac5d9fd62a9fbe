"""The pairs of a data set as text: questions and accepted answers, read from mapped arrays."""

import re
import string
from collections import Counter
from collections.abc import Mapping

import numpy as np

from space.records import HELD_OUT, SPLITS
from trainers.tasks.mapped import release

BETWEEN = "\0"  # accepted answers; no text has it
NONE = -1  # the medium of a pair that has none
MOST_COUNTED, MOST_ASKED = 100_000, 10_000  # training and held-out pairs of which answers are compared
FREQUENT, COVERED, LONGEST_EXACT = 1_000, 0.8, 48  # answers, share of held-out pairs, bytes
EXACT_RULE = f"the {FREQUENT:,} most frequent training answers"

_PUNCTUATION = re.compile(
    rf"(?<!\d)[{re.escape(string.punctuation)}]|[{re.escape(string.punctuation)}](?!\d)"
)


class PairRows:
    """Questions and answers by the place of a pair.

    Args:
        arrays: as in `Content`, of pairs.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._text = arrays["text"]
        self._questions, self._answers = arrays["question_ends"], arrays["answer_ends"]

    def __len__(self) -> int:
        return len(self._answers)

    def question(self, place: int) -> str:
        """The question; empty where the medium alone is asked about."""
        first = int(self._answers[place - 1]) if place else 0
        return self._text[first : int(self._questions[place])].tobytes().decode()

    def answers(self, place: int) -> list[str]:
        """All accepted answers, the most frequent one first."""
        found = self._text[int(self._questions[place]) : int(self._answers[place])]
        return found.tobytes().decode().split(BETWEEN)

    def release(self) -> None:
        """Give back the memory that the map of the text takes."""
        release(self._text)


def plain(answer: str) -> str:
    """An answer as it is compared: without case, punctuation, and white space at its ends or repeated.

    A mark between digits stays; an answer of nothing but marks stays as it is.
    """
    small = answer.casefold()
    bare = _PUNCTUATION.sub(" ", small)
    return " ".join(bare.split()) or " ".join(small.split())


def covered_share(rows: PairRows, splits: np.ndarray) -> float:
    """Share of held-out pairs that one of the most frequent training answers, if short, is right for.

    Args:
        rows: the pairs.
        splits: (pairs,) uint8, places in `SPLITS`.
    """
    counts: Counter[str] = Counter()
    for place in _some(np.flatnonzero(splits == SPLITS.index("train")), MOST_COUNTED):
        counts[plain(rows.answers(place)[0])] += 1
    rows.release()
    common = {answer for answer, _ in counts.most_common(FREQUENT) if len(answer.encode()) <= LONGEST_EXACT}
    held_out = np.flatnonzero(np.isin(splits, [SPLITS.index(split) for split in HELD_OUT]))
    asked = _some(held_out, MOST_ASKED)
    found = sum(any(plain(answer) in common for answer in rows.answers(place)) for place in asked)
    rows.release()
    return found / len(asked)


def _some(places: np.ndarray, most: int) -> list[int]:
    """All places, or so many at even distances."""
    return places[np.linspace(0, len(places) - 1, min(len(places), most)).astype(int)].tolist()
