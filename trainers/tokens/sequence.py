"""Runs of tokens, and the order of the parts of a timestep.

A timestep is observation, separator, action. An observation is text, then patches in raster order, then
values row by row; parts of a nested observation are in the lexicographic order of their keys (Gato
section 2.1). The tokens before the first timestep of an episode are its instruction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int16, Int32

from space.cost import LOCAL_POSITIONS
from space.images import PICTURE
from trainers.tokens.vocabulary import Vocabulary


@dataclass(frozen=True)
class Chunk:
    """A run of tokens: an observation, an action, a whole episode.

    Attributes:
        tokens: (length,) int32, vocabulary ids; for a patch, its encoder's placeholder.
        local: (length,) int16, position within the timestep, below `LOCAL_POSITIONS`; 0 in running text.
        scored: (length,) bool, whether the token is a target of the loss.
        starts: (length,) bool, whether a training window may begin at the token. The tokens before an
            episode's first start are its instruction, which is put before each of its windows.
        patches: encoder -> (count, size) float32, in the order of their placeholders.
        placeholders: encoder -> the id of the placeholders of its patches, for each encoder in `patches`.
    """

    tokens: Int32[np.ndarray, " length"]
    local: Int16[np.ndarray, " length"]
    scored: Bool[np.ndarray, " length"]
    starts: Bool[np.ndarray, " length"]
    patches: Mapping[str, Float[np.ndarray, "count size"]] = field(default_factory=dict)
    placeholders: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.patches.keys() != self.placeholders.keys():
            raise ValueError(
                f"every encoder with patches has a placeholder, got patches of {sorted(self.patches)}"
                f" and placeholders of {sorted(self.placeholders)}"
            )

    def __len__(self) -> int:
        return len(self.tokens)

    @staticmethod
    def concat(chunks: "Sequence[Chunk]") -> "Chunk":
        """Concatenate chunks; no chunks give the empty chunk."""
        if not chunks:
            return text([], scored=False)
        names = sorted({name for chunk in chunks for name in chunk.patches})
        return Chunk(
            tokens=np.concatenate([chunk.tokens for chunk in chunks]),
            local=np.concatenate([chunk.local for chunk in chunks]),
            scored=np.concatenate([chunk.scored for chunk in chunks]),
            starts=np.concatenate([chunk.starts for chunk in chunks]),
            patches={n: np.concatenate([c.patches[n] for c in chunks if n in c.patches]) for n in names},
            placeholders={name: i for chunk in chunks for name, i in chunk.placeholders.items()},
        )

    def slice(self, start: int, stop: int) -> "Chunk":
        """Tokens start <= i < stop with their patches."""
        patches = {}
        for name, placeholder in self.placeholders.items():
            here = self.tokens == placeholder
            first, last = int(here[:start].sum()), int(here[:stop].sum())
            if last > first:
                patches[name] = self.patches[name][first:last]
        return Chunk(
            tokens=self.tokens[start:stop],
            local=self.local[start:stop],
            scored=self.scored[start:stop],
            starts=self.starts[start:stop],
            patches=patches,
            placeholders={name: self.placeholders[name] for name in patches},
        )


def text(ids: Sequence[int] | Int[np.ndarray, " length"], scored: bool, starts: bool = False) -> Chunk:
    """Running text; with `starts`, a training window may begin at any of its tokens."""
    tokens = np.asarray(ids, dtype=np.int32)
    length = len(tokens)
    return Chunk(
        tokens=tokens,
        local=np.zeros(length, dtype=np.int16),
        scored=np.full(length, scored),
        starts=np.full(length, starts),
    )


def instruction(ids: Sequence[int] | Int[np.ndarray, " length"]) -> Chunk:
    """The instruction of an episode, in text; it is part of each of its windows."""
    return text(ids, scored=False)


def observation(
    vocabulary: Vocabulary,
    *,
    prompt: Sequence[int] | Int[np.ndarray, " pieces"] = (),
    patches: Mapping[str, Float[np.ndarray, "count size"]] | None = None,
    ids: Sequence[int] | Int[np.ndarray, " values"] = (),
) -> Chunk:
    """What a policy sees before it acts: text, patches, values, separator; a window may begin here.

    Args:
        vocabulary: the suite's.
        prompt: ids of text pieces.
        patches: encoder -> (count, size), each in raster order.
        ids: ids of values, row by row.
    """
    patches = patches or {}
    names = sorted(patches)
    placeholders = {name: vocabulary.placeholder(name) for name in names}
    images = [np.full(len(patches[name]), placeholders[name]) for name in names]
    tokens = np.concatenate([prompt, *images, ids, [vocabulary.separator]]).astype(np.int32)
    local = np.minimum(np.arange(len(tokens)) - len(prompt), LOCAL_POSITIONS - 1).clip(0).astype(np.int16)
    first = len(prompt)
    for name in names:
        count = len(patches[name])
        if name == PICTURE and count > LOCAL_POSITIONS:
            local[first : first + count] = _in_square(count)
        first += count
    starts = np.zeros(len(tokens), dtype=bool)
    starts[0] = True
    return Chunk(
        tokens=tokens,
        local=local,
        scored=np.zeros(len(tokens), dtype=bool),
        starts=starts,
        patches={name: patches[name].astype(np.float32) for name in names},
        placeholders=placeholders,
    )


def _in_square(count: int) -> Int16[np.ndarray, " count"]:
    """Local positions of the patches of a square, more than there are positions: neighbours share one.

    As in Gato, a patch's position is that of its row and its column in fractions of the sides (section 2.2).
    """
    side, cells = isqrt(count), isqrt(LOCAL_POSITIONS)
    row, column = np.divmod(np.arange(count), side)
    return (row * cells // side * cells + column * cells // side).astype(np.int16)


def action(
    ids: Sequence[int] | Int[np.ndarray, " length"], local: Int[np.ndarray, " places"], scored: bool = True
) -> Chunk:
    """An action's tokens at their local positions, (length,) each; unscored where no expert chose it."""
    tokens = np.asarray(ids, dtype=np.int32)
    return Chunk(
        tokens=tokens,
        local=np.asarray(local, dtype=np.int16)[: len(tokens)],
        scored=np.full(len(tokens), scored),
        starts=np.zeros(len(tokens), dtype=bool),
    )


def action_local(observed: Chunk, length: int) -> Int16[np.ndarray, " length"]:
    """Local positions of the `length` tokens that follow an observation in its timestep, (length,) int16."""
    return np.minimum(observed.local[-1] + 1 + np.arange(length), LOCAL_POSITIONS - 1).astype(np.int16)


def leaves(tree: Any) -> Iterable[np.ndarray]:
    """The arrays of a nested observation in the lexicographic order of its keys, each row by row."""
    if isinstance(tree, Mapping):
        for key in sorted(tree):
            yield from leaves(tree[key])
    else:
        yield np.asarray(tree).reshape(-1)


def flatten(tree: Any) -> np.ndarray:
    """All values of a nested observation, (values,), in Gato's order."""
    parts = list(leaves(tree))
    return np.concatenate(parts) if parts else np.empty(0)
