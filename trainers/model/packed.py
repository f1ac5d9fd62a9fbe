"""Attention within packed segments of whole sequences: who sees whom, and how it is computed.

`within` chooses between two ways, and `attend` goes it:

- a block mask: training on a GPU in half precision. Only blocks of queries and keys in which somebody sees
  somebody are computed (FlexAttention, https://arxiv.org/abs/2412.05496); memory is linear in the length;
- a mask: everywhere and in every precision.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from shutil import which
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

BLOCK = 128  # queries, and keys, of a block
HALF = (torch.bfloat16, torch.float16)
LEAST_HEAD_DIM = 16  # that the kernels are made for
CAPABILITY = (8, 0)  # of GPUs that they are made for
COMPILERS = ("cc", "gcc", "clang")  # one of which they are built with, and Triton

Mask = Bool[Tensor, "masks positions others"] | Float[Tensor, "masks positions others"]
Seen = Mask | BlockMask | None  # None is causal attention to all earlier positions of a sequence


@cache
def compiled_attention() -> Callable[..., Any]:
    """FlexAttention, compiled for each shape that it meets; made when it is first needed."""
    return torch.compile(flex_attention, dynamic=False)


def within(
    x: Float[Tensor, "sequences positions width"],
    head_dim: int,
    window: int,
    segment: Int[Tensor, "sequences positions"] | None,
) -> Seen:
    """What positions of whole sequences attend to, the same for all layers.

    Args:
        x: the stream.
        head_dim: channels of a head.
        window: positions that each attends to, itself included; 0 is all before it.
        segment: of each position, which attends to earlier ones of its own segment. None is one segment per
            sequence.

    Returns:
        A block mask; or one mask for all sequences or one for each: true where a position attends to another,
        on CPU in the form of `additive`, so that it is converted once and not by each layer; or None.
    """
    if segment is None and not 0 < window < x.shape[1]:
        return None
    if _blocks_fit(x, head_dim):
        return blocks(x.new_zeros(x.shape[:2], dtype=torch.int64) if segment is None else segment, window)
    positions = torch.arange(x.shape[1], device=x.device)
    seen = reaches(positions, positions, window).unsqueeze(0)
    if segment is not None:
        seen = (segment.unsqueeze(2) == segment.unsqueeze(1)) & seen
    return additive(seen) if x.device.type == "cpu" else seen


def reaches(positions: Tensor, others: Tensor, window: int) -> Tensor:
    """Whether positions (..., queries) attend to others (keys) or (..., keys): (..., queries, keys)."""
    ahead = positions.unsqueeze(-1) - others.unsqueeze(-2)
    return (ahead >= 0) & (ahead < window) if window else ahead >= 0


def additive(mask: Bool[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A boolean mask in the form that is added to attention scores: 0 if true, otherwise minus infinity."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -torch.inf)


def blocks(segment: Int[Tensor, "sequences positions"], window: int = 0) -> BlockMask:
    """Which blocks of keys each block of queries attends to, worked out in linear memory.

    A position attends to all keys between its first one, which never moves back along a sequence, and itself.
    So a block's keys lie between the first one of its first query and its last query, and blocks that begin
    no earlier than the first key of its last query, and end before it, are seen by all its queries.
    """
    length = segment.shape[1]
    position = torch.arange(length, device=segment.device)
    begins = F.pad(segment[:, 1:] != segment[:, :-1], (1, 0), value=True)
    first = torch.where(begins, position, 0).cummax(dim=1).values
    if window:
        first = first.maximum(position - window + 1)
    number = -(-length // BLOCK)
    block = torch.arange(number, device=segment.device)
    low = first[:, ::BLOCK] // BLOCK
    last = first[:, (block * BLOCK + BLOCK - 1).clamp(max=length - 1)]
    whole = (-(-last // BLOCK)).minimum(block)  # the first block that is seen whole, if one is
    partly = (low.unsqueeze(-1) + block).where(block < (whole - low).unsqueeze(-1), block.unsqueeze(-1))
    wholly = (whole.unsqueeze(-1) + block).clamp(max=number - 1)

    parts = [whole - low + 1, partly, block - whole, wholly]
    counts = [part.unsqueeze(1).to(torch.int32) for part in parts]
    return BlockMask.from_kv_blocks(
        *counts,
        BLOCK_SIZE=BLOCK,
        mask_mod=lambda sequence, _, query, key: (key <= query) & (key >= first[sequence, query]),
        seq_lengths=(length, length),
    )


def attend(
    q: Float[Tensor, "sequences positions heads head_dim"],
    k: Float[Tensor, "sequences others kv_heads head_dim"],
    v: Float[Tensor, "sequences others kv_heads head_dim"],
    seen: Seen,
) -> Float[Tensor, "sequences positions heads head_dim"]:
    """Attention of queries to the keys that they see."""
    grouped = q.shape[2] != k.shape[2]
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    if isinstance(seen, BlockMask):
        product = flex_attention if torch.compiler.is_compiling() else compiled_attention()
        y: Any = product(q, k, v, block_mask=seen, enable_gqa=grouped)
        return y.transpose(1, 2)
    mask = None if seen is None else seen.unsqueeze(1)
    if mask is not None and mask.is_floating_point():
        mask = mask.to(q.dtype)
    y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=seen is None, enable_gqa=grouped)
    return y.transpose(1, 2)


def _blocks_fit(x: Tensor, head_dim: int) -> bool:
    """Whether the kernels are there, and worth the seconds that they are compiled in."""
    if x.device.type != "cuda" or x.shape[1] <= BLOCK or head_dim < LEAST_HEAD_DIM:
        return False
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    if not torch.is_grad_enabled() or dtype not in HALF:
        return False
    return torch.cuda.get_device_capability(x.device) >= CAPABILITY and _can_build()


@cache
def _can_build() -> bool:
    return find_spec("triton") is not None and any(map(which, COMPILERS))
