"""A smoothed n-gram model of tokens: the floor (order 1) and an expert of text."""

from collections.abc import Sequence

import numpy as np

from trainers.tasks.base import Session
from trainers.tokens.sequence import Chunk

MAX_BITS = 62  # of the code of an n-gram


class NGramPolicy:
    """Interpolated modified Kneser-Ney (Chen and Goodman 1999, https://doi.org/10.1006/csla.1999.0128).

    An n-gram is coded as one integer, so that counts are sorted arrays.

    Args:
        documents: ids of each, (length,), with a start token first.
        order: tokens in the longest n-gram.
        size: number of ids.
    """

    def __init__(self, documents: Sequence[np.ndarray], order: int, size: int) -> None:
        self._bits = max(1, (size - 1).bit_length())
        self._size = size
        assert order * self._bits <= MAX_BITS, "an n-gram's code fits an integer"
        grams = [_count(self._codes(documents, n)) for n in range(1, order + 1)]
        for n in range(1, order):  # below the highest order, count the distinct tokens before an n-gram
            before = grams[n][0] & ((1 << self._bits * n) - 1)
            grams[n - 1] = _count(before)
        self._orders = [_Order(codes, counts, self._bits) for codes, counts in grams]

    def begin(self, count: int) -> None:
        """Do nothing: there is no state."""

    def act(
        self, live: Sequence[int], observations: Sequence[Chunk], sessions: Sequence[Session]
    ) -> list[np.ndarray]:
        """Raise TypeError: an n-gram only models text."""
        raise TypeError("an n-gram gives tokens a likelihood, and does not act")

    def nats(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Negative log-likelihoods of each chunk's tokens 1 and on, (len - 1,)."""
        return [-np.log(self._probabilities(chunk.tokens.astype(np.int64))) for chunk in chunks]

    def _probabilities(self, ids: np.ndarray) -> np.ndarray:
        """Probability of each token but the first given those before it, (length - 1,)."""
        found = np.full(len(ids) - 1, 1 / self._size)
        for n, order in enumerate(self._orders, start=1):
            codes = self._codes([ids], n)
            reach = len(codes) if n > 1 else len(ids) - 1
            if reach > 0:
                found[-reach:] = order.interpolate(codes[-reach:], found[-reach:])
        return found

    def _codes(self, documents: Sequence[np.ndarray], n: int) -> np.ndarray:
        """Codes of all n-grams; none crosses documents."""
        parts = []
        for ids in documents:
            length = max(0, len(ids) - n + 1)
            code = np.zeros(length, dtype=np.int64)
            for i in range(n):
                code = (code << self._bits) | ids[i : i + length]
            parts.append(code)
        return np.concatenate(parts)


class _Order:
    """Counts of one length: codes (grams,), ascending, and how often each occurs."""

    def __init__(self, codes: np.ndarray, counts: np.ndarray, bits: int) -> None:
        self._bits = bits
        self._codes, self._counts = codes, counts
        self._discounts = _discounts(counts)
        contexts, first = np.unique(codes >> bits, return_index=True)
        self._contexts = contexts
        self._totals = np.add.reduceat(counts, first)
        spared = np.add.reduceat(self._discounts[np.minimum(counts, 3)], first)
        self._rest = spared / self._totals

    def interpolate(self, codes: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Probabilities of n-grams' last tokens from those of the next shorter order, (grams,)."""
        context, known = _find(self._contexts, codes >> self._bits)
        gram, seen = _find(self._codes, codes)
        counts = np.where(seen, self._counts[gram], 0)
        own = (counts - self._discounts[np.minimum(counts, 3)]) / self._totals[context]
        return np.where(known, own + self._rest[context] * lower, lower)


def _count(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(codes, return_counts=True)


def _find(table: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of codes in a sorted table, and whether they are in it."""
    place = np.minimum(np.searchsorted(table, codes), len(table) - 1)
    return place, table[place] == codes


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Discounts of n-grams that occur 0, 1, 2, and 3 or more times, (4,)."""
    n1, n2, n3, n4 = (max(1, int((counts == c).sum())) for c in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    raw = [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array([0.0, *(min(max(d, 0.1), c) for c, d in enumerate(raw[1:], start=1))])
