"""Observations of control as tokens: which number is a bin, a discrete value or several of them."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from space.errors import TaskError
from trainers.tasks.datasets.images import LARGE
from trainers.tasks.datasets.spaces import IMAGE_BYTES, Leaf, Limits, Rows
from trainers.tasks.parts.grids import VIEW, grid_patch
from trainers.tokens import sequence, values
from trainers.tokens.image import image_patches
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

SIDE = 8  # of an image's patch
IMAGE, GRID = "image", "grid"
PATCHES = {"image": (IMAGE, (LARGE // SIDE) ** 2), "cells": (GRID, 1)}  # encoder and patches of a kind


class Layout:
    """How a task's observations become tokens.

    Floats with limits are linear bins, others mu-law's. A whole number is a discrete value, or several, the
    highest digit first, where there are more of them than discrete values.

    Args:
        leaves: parts of an observation.
        vocabulary: the suite's.

    Attributes:
        length: tokens of an observation without its separator.

    Raises:
        TaskError: the suite has no encoder for a part.
    """

    def __init__(self, leaves: Sequence[Leaf], vocabulary: Vocabulary) -> None:
        self.leaves, self.vocabulary = tuple(leaves), vocabulary
        seen = [leaf for leaf in leaves if leaf.pixels]
        self._cuts = np.cumsum([0, *(leaf.pixels for leaf in seen)]).tolist()
        self._kinds = [leaf.kind for leaf in seen]
        for leaf in seen:
            if PATCHES[leaf.kind][0] not in vocabulary.encoders:
                raise TaskError(f"{leaf.where} is an image, and the suite has no '{PATCHES[leaf.kind][0]}'")
        bounds = [(leaf.kind, one) for leaf in leaves for one in leaf.limits]
        whole = [
            (place, first, vocabulary.discrete**digit)
            for place, (kind, (first, last)) in enumerate((k, one or (0.0, 0.0)) for k, one in bounds)
            for digit in reversed(range(_digits(int(last - first) + 1, vocabulary.discrete)))
            if kind == "whole"
        ]
        self._floats = np.array([i for i, (kind, _) in enumerate(bounds) if kind == "floats"], dtype=int)
        self._scale = _Mixed([limits for kind, limits in bounds if kind == "floats"])
        self._digits = np.array([place for place, *_ in whole], dtype=int)
        self._first = np.array([first for _, first, _ in whole], dtype=np.int64)
        self._divisors = np.array([divisor for *_, divisor in whole], dtype=np.int64)
        tokens = np.concatenate([self._floats, self._digits])
        self._order = np.argsort(tokens, kind="stable")  # floats and digits, as their numbers come
        self.length = len(tokens) + sum(PATCHES[kind][1] for kind in self._kinds)

    def ids(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers of observations, (count, numbers), -> ids, (count, tokens) int32."""
        found = []
        if len(self._floats):
            bins = values.encode(numbers[:, self._floats], self.vocabulary.bins, self._scale)
            found.append(self.vocabulary.continuous_ids(bins))
        if len(self._digits):
            whole = numbers[:, self._digits].astype(np.int64) - self._first
            found.append(self.vocabulary.discrete_ids(whole // self._divisors % self.vocabulary.discrete))
        if len(found) != 2:
            return found[0] if found else np.empty((len(numbers), 0), np.int32)
        return np.concatenate(found, axis=1)[:, self._order]

    def chunks(self, seen: Rows) -> list[Chunk]:
        """Each observation with its separator."""
        return [
            sequence.observation(self.vocabulary, patches=self._patches(pixels), ids=ids)
            for pixels, ids in zip(seen.pixels, self.ids(seen.numbers), strict=True)
        ]

    def _patches(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, list[np.ndarray]] = {}
        for kind, (start, stop) in zip(self._kinds, pairwise(self._cuts), strict=True):
            part = pixels[start:stop]
            if stop - start == IMAGE_BYTES:
                patches = image_patches(part.reshape(LARGE, LARGE, 3) / 255, SIDE)
            else:
                patches = grid_patch(part.reshape(VIEW, VIEW, 3))
            found.setdefault(PATCHES[kind][0], []).append(patches)
        return {name: np.concatenate(parts) for name, parts in found.items()}


class _Mixed:
    """Linear bins for numbers with limits, mu-law's for the others.

    Args:
        limits: of each number; None where it has none.
    """

    def __init__(self, limits: Sequence[Limits | None]) -> None:
        self._linear = np.array([one is not None for one in limits], dtype=bool)
        low, high = zip(*(one or (-1.0, 1.0) for one in limits), strict=True) if limits else ((), ())
        self._scales = values.Linear(low, high), values.MuLaw()

    def squash(self, values: np.ndarray) -> np.ndarray:
        """Numbers (count, numbers) -> [-1, 1]."""
        return self._both(*(scale.squash(values) for scale in self._needed()))

    def expand(self, squashed: np.ndarray) -> np.ndarray:
        """The inverse of `squash`."""
        return self._both(*(scale.expand(squashed) for scale in self._needed()))

    def _needed(self) -> tuple[values.ValueScale, ...]:
        linear, mu_law = self._scales
        return (linear,) if self._linear.all() else (mu_law,) if not self._linear.any() else self._scales

    def _both(self, first: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
        return first if second is None else np.where(self._linear, first, second)


def check_length(what: str, observed: int, acted: int, instruction: int, context: int) -> None:
    """Check that an instruction and a timestep fit into a context.

    Args:
        what: whose they are, for messages.
        observed: tokens of an observation without its separator.
        acted: tokens of an action.
        instruction: tokens of the longest instruction.
        context: tokens that a window holds.

    Raises:
        TaskError: they do not.
    """
    needed = instruction + observed + 1 + acted
    if needed > context:
        raise TaskError(
            f"{what}: an instruction and a timestep fit into the context of {context:,} tokens, they need"
            f" {needed:,}: {instruction:,} of the instruction, {observed:,} of the observation, one between,"
            f" {acted:,} of the action"
        )


def _digits(size: int, base: int) -> int:
    """Digits of the numbers below a size."""
    count = 1
    while base**count < size:
        count += 1
    return count
