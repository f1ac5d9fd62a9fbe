"""Spaces of Gymnasium as records: what an observation holds, what an action is, and both as arrays.

A record is all that a task needs of a space, so neither Minari nor the source has to be there later. Parts of
a nested observation are in the lexicographic order of their keys. Nothing here knows an environment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import Space, spaces

from space.errors import TaskError
from space.records import Frozen
from trainers.tasks.control import Box, Choices, Interval, Several
from trainers.tasks.datasets.images import LARGE
from trainers.tasks.datasets.pictures import to_pixels
from trainers.tasks.parts.grids import NUM_COLOURS, NUM_STATES, NUM_THINGS, VIEW
from trainers.tokens.values import M
from trainers.tokens.vocabulary import Vocabulary

Limits = tuple[float, float]
Actor = Choices | Several | Box

WIDEST = 2 * M  # of linear bins: where a value may vary by more, mu-law is finer about 0
LARGEST_WHOLE = 1 << 24  # which a float of 32 bits holds exactly
IMAGE_BYTES = LARGE * LARGE * 3
CELL_BYTES = VIEW * VIEW * 3
LONGEST_SHOWN = 60  # characters of a space in messages


class Leaf(Frozen):
    """A part of an observation that is not nested.

    Attributes:
        path: keys and places that lead to it.
        kind: numbers on a scale, whole numbers, an image, MiniGrid's cells in view, or text.
        shape: of the array; empty for a single value.
        limits: of each number; None for a float without limits.
    """

    path: tuple[str | int, ...]
    kind: Literal["floats", "whole", "image", "cells", "text"]
    shape: tuple[int, ...] = ()
    limits: tuple[Limits | None, ...] = ()

    @property
    def pixels(self) -> int:
        """Bytes that are kept of it: of an image as patches show it, or of cells."""
        return {"image": IMAGE_BYTES, "cells": CELL_BYTES}.get(self.kind, 0)

    @property
    def where(self) -> str:
        """Its place, for messages."""
        return "/".join(map(str, self.path)) or "the observation"


class Actions(Frozen):
    """What an environment takes.

    Attributes:
        whole: whether it is whole numbers, from `low` to `high` each; floats between them otherwise.
        low: of each number.
        high: of each number.
        shape: of the array that the environment takes; None where it takes a single number.
        dtype: numpy's name of its numbers.
    """

    whole: bool
    low: tuple[float, ...]
    high: tuple[float, ...]
    shape: tuple[int, ...] | None
    dtype: str

    def actor(self, vocabulary: Vocabulary) -> Actor:
        """Actions as tokens."""
        low, high = np.array(self.low), np.array(self.high)
        if not self.whole:
            return Interval(vocabulary, low, high)
        sizes = (high - low).astype(int) + 1
        if self.shape is None and not low[0]:
            return Choices(vocabulary, int(sizes[0]))
        return Several(vocabulary, low.astype(int), sizes)

    def native(self, decoded: int | np.ndarray) -> Any:
        """An action as the environment takes it, from what an actor decodes."""
        if self.shape is None:
            return int(np.asarray(decoded).reshape(-1)[0])
        return np.asarray(decoded, dtype=self.dtype).reshape(self.shape)

    def read(self, recorded: Any, count: int) -> np.ndarray:
        """Recorded actions as numbers, (count, size) float32.

        Raises:
            TaskError: they are of another shape, no numbers, or beyond the limits of whole numbers.
        """
        array = np.asarray(recorded)
        if array.shape[:1] != (count,) or array.size != count * len(self.low):
            raise TaskError(f"{count} actions of {len(self.low)} numbers each, got shape {array.shape}")
        found = _numbers(array.reshape(count, -1), "the actions")
        if self.whole:
            _check_whole(found, np.array(self.low), np.array(self.high), "the actions")
        return found


@dataclass(frozen=True)
class Rows:
    """Some observations.

    Attributes:
        numbers: (count, numbers) float32.
        pixels: (count, bytes) uint8, images as patches show them and cells.
        text: of all of them; empty where there is none.
    """

    numbers: np.ndarray
    pixels: np.ndarray
    text: str


def encode(actor: Actor, action: np.ndarray) -> np.ndarray:
    """Numbers of an action, (size,), -> ids (size,)."""
    if isinstance(actor, Box):
        return actor.encode(action)
    whole = np.rint(action).astype(int)
    return actor.encode(int(whole[0])) if isinstance(actor, Choices) else actor.encode(whole)


def observed(space: Space, grids: bool) -> tuple[Leaf, ...]:
    """The parts of an observation.

    Args:
        space: the observations'.
        grids: whether a box of (7, 7, 3) bytes is MiniGrid's view.

    Raises:
        TaskError: a part of it is not supported; the message names it.
    """
    return tuple(_leaves(space, (), grids))


def _leaves(space: Space, path: tuple[str | int, ...], grids: bool) -> list[Leaf]:
    if isinstance(space, spaces.Dict):
        return [leaf for key in sorted(space.spaces) for leaf in _leaves(space[key], (*path, key), grids)]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, part in enumerate(space.spaces) for leaf in _leaves(part, (*path, i), grids)]
    if isinstance(space, spaces.Text):
        return [Leaf(path=path, kind="text")]
    if isinstance(space, spaces.Box):
        return [_box_leaf(space, path, grids)]
    if (limits := _whole(space)) is not None:
        if max(high - low for low, high in limits) >= LARGEST_WHOLE:
            raise _unsupported("observations", space, path)
        return [Leaf(path=path, kind="whole", shape=tuple(space.shape or ()), limits=tuple(limits))]
    raise _unsupported("observations", space, path)


def _box_leaf(space: spaces.Box, path: tuple[str | int, ...], grids: bool) -> Leaf:
    shape = tuple(space.shape)
    if space.dtype == np.uint8 and not space.low.any() and (space.high == 255).all():
        if grids and shape == (VIEW, VIEW, 3):
            return Leaf(path=path, kind="cells", shape=shape)
        if len(shape) in (2, 3) and min(shape[:2]) >= LARGE and shape[2:] in ((), (1,), (3,)):
            return Leaf(path=path, kind="image", shape=shape)
    low, high = (limit.reshape(-1).astype(np.float64) for limit in (space.low, space.high))
    with np.errstate(over="ignore"):
        linear = (high > low) & (high - low <= WIDEST)
    limits = [
        (a, b) if fits else None for a, b, fits in zip(low.tolist(), high.tolist(), linear, strict=True)
    ]
    return Leaf(path=path, kind="floats", shape=shape, limits=tuple(limits))


def acted(space: Space, most: int) -> Actions:
    """What an action is; a float without limits has infinite ones, which `bounded` replaces.

    Args:
        space: the actions'.
        most: discrete values that there are.

    Raises:
        TaskError: actions of this space are not supported; the message names it.
    """
    if isinstance(space, spaces.Box):
        low, high = (limit.reshape(-1).astype(np.float64) for limit in (space.low, space.high))
        return Actions.model_construct(
            whole=False, low=tuple(low), high=tuple(high), shape=tuple(space.shape), dtype=space.dtype.name
        )
    limits = _whole(space)
    if limits is None:
        raise _unsupported("actions", space, ())
    if max(high - low for low, high in limits) >= most:
        raise TaskError(f"an action is one of {most} choices at most, the data's are {_shown(space)}")
    single = isinstance(space, spaces.Discrete)
    low, high = zip(*limits, strict=True)
    shape = None if single else tuple(space.shape or ())
    return Actions(whole=True, low=low, high=high, shape=shape, dtype=str(space.dtype))


def bounded(actions: Actions, least: np.ndarray, most: np.ndarray) -> Actions:
    """Actions whose limits are finite: those of the space, or of what was done where it has none.

    Args:
        actions: of a space.
        least: smallest number that was done, (size,).
        most: largest number that was done, (size,).
    """
    low = np.where(np.isfinite(actions.low), actions.low, least).astype(np.float64)
    high = np.where(np.isfinite(actions.high), actions.high, most).astype(np.float64)
    high = np.where(high > low, high, low + 1)
    return Actions(
        whole=actions.whole, low=tuple(low), high=tuple(high), shape=actions.shape, dtype=actions.dtype
    )


def read_rows(leaves: Sequence[Leaf], observations: Any, count: int) -> Rows:
    """Recorded observations as arrays.

    Args:
        leaves: their parts.
        observations: nested as their space is, each part with `count` rows.
        count: observations.

    Raises:
        TaskError: they do not fit, or their text changes.
    """
    numbers: list[np.ndarray] = [np.empty((count, 0), np.float32)]
    pixels: list[np.ndarray] = [np.empty((count, 0), np.uint8)]
    texts: list[str] = []
    for leaf in leaves:
        part = _at(observations, leaf)
        if leaf.kind == "text":
            texts.append(_same_text(part, count, leaf))
            continue
        array = np.asarray(part)
        if array.shape != (count, *leaf.shape):
            raise TaskError(f"{leaf.where} has shape {leaf.shape}, got {array.shape[1:]}")
        if leaf.kind == "image":
            pixels.append(np.stack([_pixels(image, leaf) for image in array]).reshape(count, -1))
        elif leaf.kind == "cells":
            pixels.append(_cells(array, leaf).reshape(count, -1))
        else:
            found = _numbers(array.reshape(count, -1), leaf.where)
            if leaf.kind == "whole":
                low, high = np.array(leaf.limits).T
                _check_whole(found, low, high, leaf.where)
            numbers.append(found)
    return Rows(np.concatenate(numbers, axis=1), np.concatenate(pixels, axis=1), " ".join(texts))


def read_row(leaves: Sequence[Leaf], observation: Any) -> Rows:
    """One observation of an environment as arrays with one row; arguments and errors as `read_rows`."""
    return read_rows(leaves, _with_row(leaves, observation), 1)


def _with_row(leaves: Sequence[Leaf], observation: Any) -> Any:
    """The observation with a first axis; flat, by the paths of its parts."""
    return _Flat({leaf.path: [_at(observation, leaf)] for leaf in leaves})


class _Flat(dict[tuple[str | int, ...], Any]):
    """Parts by their paths."""


def _at(tree: Any, leaf: Leaf) -> Any:
    if isinstance(tree, _Flat):
        return tree[leaf.path]
    for key in leaf.path:
        kind = Mapping if isinstance(key, str) else tuple
        if not isinstance(tree, kind) or (isinstance(tree, Mapping) and key not in tree):
            raise TaskError(f"an observation has {leaf.where}, got {type(tree).__name__}")
        if isinstance(tree, tuple) and int(key) >= len(tree):
            raise TaskError(f"an observation has {leaf.where}, got {len(tree)} parts")
        found: Any = tree
        tree = found[key]
    return tree


def _same_text(part: Any, count: int, leaf: Leaf) -> str:
    found = set(part)
    if len(part) != count or not all(isinstance(text, str) for text in found):
        raise TaskError(f"{leaf.where} is text, got {type(next(iter(found), None)).__name__}")
    if len(found) > 1:
        raise TaskError(f"{leaf.where} is text, the same for a whole episode, got {sorted(found)[:2]}")
    return found.pop()


def _numbers(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "buif" or np.isnan(array).any():
        raise TaskError(f"{where} is numbers, got {array.dtype}{' with NaN' * (array.dtype.kind == 'f')}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _check_whole(found: np.ndarray, low: np.ndarray, high: np.ndarray, where: str) -> None:
    if found.size and ((found < low).any() or (found > high).any() or (found % 1).any()):
        raise TaskError(
            f"{where} is whole numbers from {low.min():g} to {high.max():g}, got {found.min():g} to"
            f" {found.max():g}"
        )


def _pixels(image: np.ndarray, leaf: Leaf) -> np.ndarray:
    from PIL import Image

    if image.dtype != np.uint8:
        raise TaskError(f"{leaf.where} is an image of bytes, got {image.dtype}")
    return to_pixels(Image.fromarray(image.squeeze(-1) if leaf.shape[2:] == (1,) else image), LARGE)


def _cells(array: np.ndarray, leaf: Leaf) -> np.ndarray:
    most = (NUM_THINGS, NUM_COLOURS, NUM_STATES)
    if array.dtype.kind not in "ui" or (array < 0).any() or (array >= most).any():
        raise TaskError(f"{leaf.where} is cells of MiniGrid below {most}, got {array.dtype} to {array.max()}")
    return array.astype(np.uint8)


def _whole(space: Space) -> list[Limits] | None:
    """Smallest and largest value of each place of a discrete space; None for another space."""
    if isinstance(space, spaces.Discrete):
        return [(float(space.start), float(space.start + space.n - 1))]
    if isinstance(space, spaces.MultiDiscrete):
        first, count = space.start.reshape(-1).tolist(), space.nvec.reshape(-1).tolist()
        return [(float(a), float(a + n - 1)) for a, n in zip(first, count, strict=True)]
    if isinstance(space, spaces.MultiBinary):
        return [(0.0, 1.0)] * int(np.prod(space.shape))
    return None


def _unsupported(what: str, space: Space, path: tuple[str | int, ...]) -> TaskError:
    known = "Box, Discrete, MultiDiscrete or MultiBinary"
    if what == "observations":
        known = f"{known}, Text, or Dict or Tuple of these"
    at = f" at {'/'.join(map(str, path))}" if path else ""
    return TaskError(f"{what} are of the spaces {known}, the data's are {_shown(space)}{at}")


def _shown(space: Space) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
