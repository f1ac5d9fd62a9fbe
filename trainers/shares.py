"""Tensors of which each device holds a share: how weights are divided, and put together again (FSDP2).

A layer is gathered when it is needed and let go afterwards, so that a device holds one or two layers in whole
at a time. This module knows neither Lightning nor what a candidate is. Most processes divide nothing, so
torch's modules of divided tensors, which take as long to import as torch itself, are imported when needed.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn

from trainers.model.decoder import Decoder

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor


def shard(decoder: Decoder, mesh: "DeviceMesh") -> None:
    """Divide a decoder's weights among the devices of a mesh, layer by layer.

    Weights are gathered in their own precision, in which routers and norms work under autocast, too;
    gradients are added up in float32. Each parameter is divided along its first dimension that all devices
    can share evenly.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from torch.distributed.tensor import Shard

    def placed(parameter: nn.Parameter) -> Shard:
        even = (dim for dim, size in enumerate(parameter.shape) if size % mesh.size() == 0)
        return Shard(next(even, 0))

    given: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32),
        "shard_placement_fn": placed,
    }
    for part in (decoder.embedding, *decoder.layers):
        fully_shard(part, **given)
    fully_shard(decoder.head, reshard_after_forward=False, **given)  # its backward pass comes next
    fully_shard(decoder, **given)


def _is_divided(value: object) -> "TypeGuard[DTensor]":
    if "torch.distributed.tensor" not in sys.modules:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def gathered(state: Mapping[Any, Any], keep: bool) -> dict[Any, Any]:
    """A state whose divided tensors are whole and on the CPU; all devices call it at the same time.

    Args:
        state: of a module or an optimizer: tensors, or mappings of them.
        keep: whether this device wants it; it gets an empty one otherwise.
    """
    found = {}
    for key, value in state.items():
        whole = gathered(value, keep) if isinstance(value, Mapping) else _whole(value)
        if keep:
            found[key] = whole
    return found


def _whole(value: Any) -> Any:
    value = value.full_tensor() if _is_divided(value) else value
    return value.cpu() if isinstance(value, Tensor) else value


def divided(value: Any, like: Tensor) -> Any:
    """This device's share of a whole tensor, divided as another of its shape is; other values as given."""
    if not (_is_divided(like) and isinstance(value, Tensor) and value.shape == like.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    value = value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def local(value: Tensor) -> Tensor:
    """This device's share of a tensor, which shares its memory; all of it where it is not divided."""
    return value.to_local() if _is_divided(value) else value


def together(share: Tensor, like: Tensor) -> Tensor:
    """The whole tensor of the devices' shares, divided as another of the same shape is."""
    if not _is_divided(like):
        return share
    from torch.distributed.tensor import DTensor

    given = DTensor.from_local(
        share, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )
    return given.full_tensor()


def holds_whole_matrices(parameter: Tensor) -> bool:
    """Whether each device has all rows and columns of the matrices (..., rows, columns) that it has."""
    if not _is_divided(parameter):
        return True
    from torch.distributed.tensor import Shard

    rows = parameter.ndim - 2
    return all(isinstance(place, Shard) and place.dim < rows for place in parameter.placements)
