"""Expert episodes end to end in a few long arrays: small on disk, and shared between processes.

Patches are stored as levels of eight bits, or as single bits if they are one-hot: a quarter or a thirtieth of
their size. Restored values are within half a level of the original ones.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, UInt8

from trainers.tokens.sequence import Chunk

LEVELS = 255
FIELDS = ("tokens", "local", "scored", "starts")

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class PatchStore:
    """Patches of one encoder, compressed.

    Attributes:
        stored: (patches, size) uint8 levels, or (patches, ceil(size / 8)) uint8 where each is a bit.
        scale: (4,) float64: value of level 0, value of a level, size of a patch, 1 where stored as bits.
    """

    stored: UInt8[np.ndarray, "patches bytes"]
    scale: Float64[np.ndarray, " 4"]

    @classmethod
    def of(cls, patches: Float[np.ndarray, "patches size"]) -> "PatchStore":
        """Keep patches (patches, size)."""
        low, high = (float(patches.min()), float(patches.max())) if patches.size else (0.0, 0.0)
        size = patches.shape[1]
        if np.all((patches == low) | (patches == high)):
            bits = np.packbits(patches > low, axis=1)
            return cls(bits, np.array([low, high - low, size, 1]))
        step = (high - low) / LEVELS
        return cls(np.rint((patches - low) / step).astype(np.uint8), np.array([low, step, size, 0]))

    def __len__(self) -> int:
        return len(self.stored)

    def rows(self, which: Int[np.ndarray, " chosen"] | slice) -> Float32[np.ndarray, "chosen size"]:
        """The values of some patches, (patches, size) float32."""
        low, step, size, bits = self.scale
        rows = self.stored[which]
        levels = np.unpackbits(rows, axis=1, count=int(size)) if bits else rows
        return levels * np.float32(step) + np.float32(low)


@dataclass(frozen=True)
class Episodes(Sequence[Chunk]):
    """Episodes of one task.

    Attributes:
        tokens: (length,) int32, of all episodes; the other fields are those of `Chunk`.
        local: (length,) int16.
        scored: (length,) bool.
        starts: (length,) bool.
        offsets: (episodes + 1,) int64, where each episode begins, and the end.
        patches: encoder -> its patches in the order of their placeholders.
        placeholders: encoder -> the id of its placeholder.
        places: encoder -> (patches,) int64, the tokens where they stand.
    """

    tokens: np.ndarray
    local: np.ndarray
    scored: np.ndarray
    starts: np.ndarray
    offsets: np.ndarray
    patches: Mapping[str, PatchStore] = field(default_factory=dict)
    placeholders: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places = {name: np.flatnonzero(self.tokens == i) for name, i in self.placeholders.items()}
        object.__setattr__(self, "places", places)

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> "Episodes":
        """Put episodes end to end; `Episodes` are returned as they are."""
        if isinstance(chunks, Episodes):
            return chunks
        whole = Chunk.concat(chunks)
        return cls(
            **{name: getattr(whole, name) for name in FIELDS},
            offsets=np.cumsum([0, *(len(chunk) for chunk in chunks)]),
            patches={name: PatchStore.of(patches) for name, patches in whole.patches.items()},
            placeholders=whole.placeholders,
        )

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Episodes":
        """The inverse of `arrays`."""
        names = [key.partition("/")[2] for key in arrays if key.startswith("stored/")]
        return cls(
            **{name: arrays[name] for name in FIELDS},
            offsets=arrays["offsets"],
            patches={name: PatchStore(arrays[f"stored/{name}"], arrays[f"scale/{name}"]) for name in names},
            placeholders={name: int(arrays[f"placeholder/{name}"][0]) for name in names},
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays."""
        found = {name: getattr(self, name) for name in (*FIELDS, "offsets")}
        for name, store in self.patches.items():
            found[f"stored/{name}"], found[f"scale/{name}"] = store.stored, store.scale
            found[f"placeholder/{name}"] = np.array([self.placeholders[name]])
        return found

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> list[Chunk]: ...
    def __getitem__(self, index: int | slice) -> Chunk | list[Chunk]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        first, last = self.offsets[index % len(self)], self.offsets[index % len(self) + 1]
        return self.chunk(np.arange(first, last))

    def __iter__(self) -> Iterator[Chunk]:
        return (self[i] for i in range(len(self)))

    def chunk(self, index: Int[np.ndarray, " length"]) -> Chunk:
        """The tokens at places (length,) of the long arrays, as a chunk."""
        patches = {name: self.patches_at(name, index) for name in self.placeholders}
        patches = {name: found for name, found in patches.items() if len(found)}
        return Chunk(
            **{name: np.asarray(getattr(self, name)[index]) for name in FIELDS},
            patches=patches,
            placeholders={name: self.placeholders[name] for name in patches},
        )

    def patches_at(
        self, encoder: str, index: Int[np.ndarray, " length"]
    ) -> Float32[np.ndarray, "patches size"]:
        """The patches of an encoder among some tokens, (patches, size) float32."""
        here = index[self.tokens[index] == self.placeholders[encoder]]
        return self.patches[encoder].rows(np.searchsorted(self.places[encoder], here))


@dataclass(frozen=True, kw_only=True)
class DrawnEpisodes(Episodes):
    """Episodes whose patches are made when a window is drawn. They are of one encoder, and come first.

    Attributes:
        size: of a patch.
        make: episode, what varies it or None -> its patches, (patches, size) float32.
        digest: of all that the patches are made from.
    """

    size: int
    make: Callable[[int, np.random.Generator | None], Float32[np.ndarray, "patches size"]]
    digest: str

    def __post_init__(self) -> None:
        """Places of patches follow from the offsets."""
        object.__setattr__(self, "places", {})

    def patches_at(
        self, encoder: str, index: Int[np.ndarray, " length"]
    ) -> Float32[np.ndarray, "patches size"]:
        """The patches among some tokens, as they are in an evaluation."""
        return self.drawn_at(encoder, index, None)

    def drawn_at(
        self, encoder: str, index: Int[np.ndarray, " length"], draw: tuple[int, ...] | None
    ) -> Float32[np.ndarray, "patches size"]:
        """The patches among some tokens.

        Args:
            encoder: theirs.
            index: of the tokens.
            draw: numbers from which each episode is varied in its own way; None leaves them as they are.
        """
        here = index[self.tokens[index] == self.placeholders[encoder]]
        episodes = np.searchsorted(self.offsets, here, side="right") - 1
        places = here - self.offsets[episodes]
        begins = (np.diff(episodes, prepend=-1) != 0) | (np.diff(places, prepend=-1) != 1)
        firsts = np.flatnonzero(begins)
        found = [np.empty((0, self.size), dtype=np.float32)]
        for number, (first, stop) in enumerate(zip(firsts, np.append(firsts[1:], len(here)), strict=True)):
            rng = None if draw is None else np.random.default_rng((*draw, number))
            found.append(self.make(int(episodes[first]), rng)[places[first:stop]])
        return np.concatenate(found)
