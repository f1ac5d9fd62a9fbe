"""Continuous values become bins: by mu-law as in Gato, or linearly between known limits.

Mu-law wastes over half of the bins on values in [-1, 1], so each field has its own scale.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float64, Int, Int32, Real

MU = 100.0
M = 256.0


class ValueScale(Protocol):
    """Maps a field's values into [-1, 1] and back; both directions keep the shape."""

    def squash(self, values: Real[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """Values -> [-1, 1], clipped."""
        ...

    def expand(self, squashed: Real[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """[-1, 1] -> values."""
        ...


@dataclass(frozen=True)
class MuLaw:
    """Gato's companding (Reed 2022, https://arxiv.org/abs/2205.06175, appendix B), for unbounded values.

    The tasks that ship have known limits and use `Linear`; this is for tasks of users.
    """

    mu: float = MU
    m: float = M

    def squash(self, values: Real[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """sgn(x) log(|x| mu + 1) / log(m mu + 1), clipped to [-1, 1]."""
        values = np.asarray(values, dtype=np.float64)
        curve = np.sign(values) * np.log(np.abs(values) * self.mu + 1) / np.log(self.m * self.mu + 1)
        return np.clip(curve, -1, 1)

    def expand(self, squashed: Real[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """The inverse of `squash`."""
        squashed = np.asarray(squashed, dtype=np.float64)
        return np.sign(squashed) * ((self.m * self.mu + 1) ** np.abs(squashed) - 1) / self.mu


@dataclass(frozen=True)
class Linear:
    """Even bins between two limits; values beyond them are clipped.

    Attributes:
        low: lower limit, one for all values or one a field.
        high: upper limit, in the same form.
    """

    low: float | tuple[float, ...] = -1.0
    high: float | tuple[float, ...] = 1.0

    def squash(self, values: Real[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """(..., fields) -> [-1, 1], clipped."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        return np.clip(2 * (np.asarray(values, dtype=np.float64) - low) / (high - low) - 1, -1, 1)

    def expand(self, squashed: Real[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """The inverse of `squash` within the limits."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        return low + (np.asarray(squashed, dtype=np.float64) + 1) / 2 * (high - low)


def encode(values: Real[np.ndarray, "*shape"], bins: int, scale: ValueScale) -> Int32[np.ndarray, "*shape"]:
    """Values -> uniform bins of [-1, 1], int32 of the same shape; +1 falls into the last bin."""
    return np.minimum((scale.squash(values) + 1) / 2 * bins, bins - 1).astype(np.int32)


def decode(indices: Int[np.ndarray, "*shape"], bins: int, scale: ValueScale) -> Float64[np.ndarray, "*shape"]:
    """Bins -> the values at their centres, float64 of the same shape."""
    return scale.expand((np.asarray(indices) + 0.5) / bins * 2 - 1)
