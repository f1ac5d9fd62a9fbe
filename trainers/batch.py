"""One step's data, and how it moves between processes.

Every array that is passed to another process costs as much time as a small batch takes to assemble, so a
batch moves as one.
"""

import pickle
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers.model.embedding import Patches

ALIGNED = 16  # bytes, at which each array begins


class Counts(NamedTuple):
    """What a step costs: input tokens, targets, and the patches of each encoder, of all devices."""

    tokens: int
    targets: int
    patches: dict[str, int]


NOTHING = Counts(0, 0, {})


class Batch(NamedTuple):
    """One step's data, or a device's share of it.

    Attributes:
        tokens: (sequences, context) int64.
        local: (sequences, context) int64, position within the timestep.
        segment: (sequences, context) int64; attention stays within a segment.
        patches: encoder -> the patches among the tokens.
        at: (targets,) int64, index into the flattened tokens of what a target follows.
        targets: (targets,) int64.
        weights: (targets,) float32: the task's share of the step's sequences over its number of targets in
            the step, so that the weighted losses of all devices add up to that of the step.
        task: (targets,) int64, index of the task of each target.
        sequence_task: (sequences,) int64.
        counts: of the whole step; nothing if another part of it is counted.
    """

    tokens: Tensor
    local: Tensor
    segment: Tensor
    patches: dict[str, Patches]
    at: Tensor
    targets: Tensor
    weights: Tensor
    task: Tensor
    sequence_task: Tensor
    counts: Counts


class Packed(NamedTuple):
    """A batch as one array.

    Attributes:
        data: (bytes,) uint8, all arrays one after another.
        layout: pickled: type, shape and first byte of each array, the encoders, and the counts.
    """

    data: Tensor
    layout: bytes


def pack(batch: Batch) -> Packed:
    """Put a batch into one array."""
    tensors = [part for part in batch if isinstance(part, Tensor)]
    tensors += [part for patches in batch.patches.values() for part in patches]
    arrays = [np.ascontiguousarray(tensor.numpy()) for tensor in tensors]
    sizes = [-(-array.nbytes // ALIGNED) * ALIGNED for array in arrays]
    starts = np.cumsum([0, *sizes]).tolist()
    data = np.empty(starts[-1], dtype=np.uint8)
    for array, start in zip(arrays, starts[:-1], strict=True):
        data[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
    places = [(t.dtype, tuple(t.shape), start) for t, start in zip(tensors, starts[:-1], strict=True)]
    layout = places, tuple(batch.patches), batch.counts
    return Packed(torch.from_numpy(data), pickle.dumps(layout))


def unpack(packed: Packed) -> Batch:
    """The batch of `pack`; its arrays are views of the one array."""
    places, encoders, counts = pickle.loads(packed.layout)
    tensors = [_view(packed.data, *place) for place in places]
    pixels = tensors[-2 * len(encoders) :] if encoders else []
    pairs = zip(pixels[::2], pixels[1::2], strict=True)
    patches = {name: Patches(*pair) for name, pair in zip(encoders, pairs, strict=True)}
    tokens, local, segment, *others = tensors[: len(tensors) - len(pixels)]
    return Batch(tokens, local, segment, patches, *others, counts=counts)


def _view(data: Tensor, dtype: torch.dtype, shape: tuple[int, ...], start: int) -> Tensor:
    size = int(np.prod(shape)) * dtype.itemsize
    return data[start : start + size].view(dtype).view(shape)
