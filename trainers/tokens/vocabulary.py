"""One vocabulary for all senses: which id means what.

It knows ranges of ids only; how a value becomes a bin is `values`, how text becomes pieces is `text`.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Int, Int32

from space.records import SuiteRecord

IdRange = tuple[int, int]  # low <= id < high


@dataclass(frozen=True)
class Vocabulary:
    """Text [0, text) | bins [text, text + bins) | discrete values | separator | a placeholder per encoder.

    Attributes:
        text: SentencePiece pieces.
        bins: bins of a continuous value.
        discrete: largest discrete value plus one.
        encoders: names of the patch encoders, in the order of their placeholders.
    """

    text: int
    bins: int
    discrete: int
    encoders: tuple[str, ...] = ()

    @classmethod
    def of(cls, suite: SuiteRecord) -> Self:
        """The vocabulary that every candidate of a suite shares."""
        return cls(suite.text_vocab, suite.bins, suite.discrete, tuple(suite.encoders))

    @property
    def text_range(self) -> IdRange:
        """Ids of text pieces."""
        return 0, self.text

    @property
    def continuous_range(self) -> IdRange:
        """Ids of the bins of continuous values, lowest value first."""
        return self.text, self.text + self.bins

    @property
    def discrete_range(self) -> IdRange:
        """Ids of discrete values, 0 first."""
        low = self.text + self.bins
        return low, low + self.discrete

    @property
    def separator(self) -> int:
        """The id between an observation and the action that answers it."""
        return self.discrete_range[1]

    @property
    def size(self) -> int:
        """Number of ids."""
        return self.separator + 1 + len(self.encoders)

    def placeholder(self, encoder: str) -> int:
        """The id of the placeholder for a patch of this encoder.

        Raises:
            ValueError: there is no encoder of that name.
        """
        return self.separator + 1 + self.encoders.index(encoder)

    def continuous_ids(self, bins: Int[np.ndarray, "*shape"]) -> Int32[np.ndarray, "*shape"]:
        """Bins in [0, bins) -> ids, of the same shape.

        Raises:
            ValueError: a bin is out of range.
        """
        return _shift(bins, self.bins, self.continuous_range[0], "bin")

    def continuous_bins(self, ids: Int[np.ndarray, "*shape"]) -> Int32[np.ndarray, "*shape"]:
        """Ids -> bins in [0, bins), of the same shape.

        Raises:
            ValueError: an id is not a bin.
        """
        return _unshift(ids, self.continuous_range, "bin")

    def discrete_ids(self, values: Int[np.ndarray, "*shape"]) -> Int32[np.ndarray, "*shape"]:
        """Discrete values in [0, discrete) -> ids, of the same shape.

        Raises:
            ValueError: a value is out of range.
        """
        return _shift(values, self.discrete, self.discrete_range[0], "discrete value")

    def discrete_values(self, ids: Int[np.ndarray, "*shape"]) -> Int32[np.ndarray, "*shape"]:
        """Ids -> discrete values in [0, discrete), of the same shape.

        Raises:
            ValueError: an id is not a discrete value.
        """
        return _unshift(ids, self.discrete_range, "discrete value")

    def choices(self, number: int) -> IdRange:
        """Ids of the first `number` discrete values: what an action among `number` may be.

        Raises:
            ValueError: there are fewer discrete values.
        """
        if not 0 < number <= self.discrete:
            raise ValueError(f"choices are 1 to {self.discrete} discrete values, got {number}")
        low = self.discrete_range[0]
        return low, low + number


def _shift(values: np.ndarray, size: int, offset: int, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.size and (values.min() < 0 or values.max() >= size):
        raise ValueError(f"a {what} lies in [0, {size}), got {values.min()} to {values.max()}")
    return (values + offset).astype(np.int32)


def _unshift(ids: np.ndarray, id_range: IdRange, what: str) -> np.ndarray:
    low, high = id_range
    ids = np.asarray(ids)
    if ids.size and (ids.min() < low or ids.max() >= high):
        raise ValueError(f"the id of a {what} lies in [{low}, {high}), got {ids.min()} to {ids.max()}")
    return (ids - low).astype(np.int32)
