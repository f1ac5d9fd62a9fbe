"""Training episodes of pairs: tokens in mapped files, and patches made of the media that pairs share."""

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from space.errors import TaskError
from trainers.tasks.cache import CACHE
from trainers.tasks.episodes import FIELDS, Arrays, Episodes
from trainers.tasks.mapped import Growing, pieces
from trainers.tokens.sequence import Chunk

KINDS = {"tokens": "<u2", "local": "<i2", "scored": "?", "starts": "?"}

Look = Callable[[str, int], np.ndarray]
"""Encoder and number of a medium -> its patches (patches, size)."""


@dataclass(frozen=True, kw_only=True)
class PairEpisodes(Episodes):
    """Episodes of which each has one medium of each of some encoders; patches are made when asked for.

    Attributes:
        media: encoder -> (episodes,) int64, the number of each one's medium.
        firsts: encoder -> (episodes,) int64, the token where its patches begin.
        sizes: encoder -> numbers of a patch.
        look: makes patches.
        digest: of the media.
    """

    media: Mapping[str, np.ndarray]
    firsts: Mapping[str, np.ndarray]
    sizes: Mapping[str, int]
    look: Look
    digest: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {})  # `firsts` says where patches are

    @classmethod
    def restored(
        cls,
        arrays: Arrays,
        placeholders: Mapping[str, int],
        sizes: Mapping[str, int],
        look: Look,
        digest: str,
    ) -> "PairEpisodes":
        """The inverse of `arrays`; the other arguments are those of the attributes."""
        return cls(
            tokens=arrays["tokens"],
            local=arrays["local"],
            scored=arrays["scored"],
            starts=arrays["starts"],
            offsets=arrays["offsets"],
            media={name: arrays[f"media/{name}"] for name in placeholders},
            firsts={name: arrays[f"firsts/{name}"] for name in placeholders},
            placeholders=placeholders,
            sizes=sizes,
            look=look,
            digest=digest,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be kept, as named arrays."""
        found = {name: getattr(self, name) for name in (*FIELDS, "offsets")}
        found |= {f"media/{name}": numbers for name, numbers in self.media.items()}
        return found | {f"firsts/{name}": firsts for name, firsts in self.firsts.items()}

    def chunk(self, index: np.ndarray) -> Chunk:
        """The tokens at places (length,) of the long arrays, as a chunk."""
        patches = {name: self.patches_at(name, index) for name in self.placeholders}
        patches = {name: found for name, found in patches.items() if len(found)}
        return Chunk(
            tokens=self.tokens[index].astype(np.int32),
            local=np.asarray(self.local[index]),
            scored=np.asarray(self.scored[index]),
            starts=np.asarray(self.starts[index]),
            patches=patches,
            placeholders={name: self.placeholders[name] for name in patches},
        )

    def patches_at(self, encoder: str, index: np.ndarray) -> np.ndarray:
        """The patches of an encoder among some tokens, (patches, size) float32."""
        here = index[self.tokens[index] == self.placeholders[encoder]]
        episodes = np.searchsorted(self.offsets, here, side="right") - 1
        rows = np.empty((len(here), self.sizes[encoder]), dtype=np.float32)
        for episode in dict.fromkeys(episodes.tolist()):
            at = here[episodes == episode] - self.firsts[encoder][episode]
            rows[episodes == episode] = self.look(encoder, int(self.media[encoder][episode]))[at]
        return rows

    def content(self) -> Iterable[bytes]:
        """Everything that the episodes are, in pieces of bounded length."""
        yield self.digest.encode()
        for name, numbers in sorted(self.arrays().items()):
            told = sha256(name.encode())
            for piece in pieces(numbers):
                told.update(piece)
            yield told.digest()


def write_episodes(
    chunks: Iterable[Chunk],
    media: Iterable[Mapping[str, int]],
    placeholders: Mapping[str, int],
    done: Callable[[int], None],
) -> dict[str, np.ndarray]:
    """Put episodes end to end into temporary files, which last as long as their maps.

    Args:
        chunks: one for each pair.
        media: encoder -> number of the medium of each.
        placeholders: encoder -> the id of its placeholder.
        done: called with the number of episodes written.

    Returns:
        The arrays of `PairEpisodes`.

    Raises:
        TaskError: an id does not fit into two bytes.
        MachineError: the cache cannot be written, or its disk is full.
    """
    with CACHE.errors(), Growing(CACHE.folder, KINDS) as files:
        offsets = array("q", [0])
        numbers = {name: array("q") for name in placeholders}
        firsts = {name: array("q") for name in placeholders}
        for count, (chunk, shown) in enumerate(zip(chunks, media, strict=True), start=1):
            if len(chunk) and chunk.tokens.max() > np.iinfo(KINDS["tokens"]).max:
                raise TaskError("a data set that is added has ids below 65,536, a tokenizer has more")
            for name in KINDS:
                files.write(name, getattr(chunk, name))
            for name, placeholder in placeholders.items():
                firsts[name].append(offsets[-1] + int((chunk.tokens == placeholder).argmax()))
                numbers[name].append(shown[name])
            offsets.append(offsets[-1] + len(chunk))
            done(count)
        arrays = files.arrays()
    arrays["offsets"] = np.array(offsets)
    arrays |= {f"media/{name}": np.array(found) for name, found in numbers.items()}
    return arrays | {f"firsts/{name}": np.array(found) for name, found in firsts.items()}
