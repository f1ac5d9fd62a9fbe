"""The decoder's state dict as that of a class of transformers, and back, bit for bit.

The names are those of a model in memory; `save_pretrained` decides their layout in a file. Some of our
tensors are fused (queries, keys and values; gate and up), so one tensor of ours is one or more of theirs,
concatenated along rows.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from space.candidate import Architecture
from space.errors import CheckpointError
from trainers.exports.huggingface.classes import PeerClass, exact_class

Names = dict[str, tuple[str, ...]]  # ours -> theirs

MODEL: Names = {
    "embedding.table.weight": ("model.embed_tokens.weight",),
    "norm.weight": ("model.norm.weight",),
    "head.weight": ("lm_head.weight",),
}
LAYER: Names = {
    "attention_norm.weight": ("input_layernorm.weight",),
    "attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "attention.out.weight": ("self_attn.o_proj.weight",),
    "network_norm.weight": ("post_attention_layernorm.weight",),
}
QK_NORM: Names = {
    "attention.query_norm": ("self_attn.q_norm.weight",),
    "attention.key_norm": ("self_attn.k_norm.weight",),
}
DENSE: Names = {"gate_up": ("gate_proj.weight", "up_proj.weight"), "down": ("down_proj.weight",)}
SPARSE: Names = {
    "router.weight": ("gate.weight",),
    "gate_up": ("experts.gate_up_proj",),
    "down": ("experts.down_proj",),
}
SIGMOID: Names = {"router.bias": ("gate.e_score_correction_bias",)}


class Link(NamedTuple):
    """A tensor of ours and what it is there.

    Attributes:
        ours: its name in the decoder.
        theirs: names of its parts, from the first row to the last.
        factor: theirs over ours.
    """

    ours: str
    theirs: tuple[str, ...]
    factor: float = 1.0


def to_peer(
    weights: Mapping[str, Tensor], arch: Architecture, shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """The exact class's state dict.

    Args:
        weights: state dict of the decoder.
        arch: its architecture.
        shapes: name -> shape of each tensor of the class. A shared expert that ours has not is zero.
    """
    shared = exact_class(arch).shared
    filled = [name for name in shapes if shared and f".mlp.{shared}" in name]
    theirs = {name: torch.zeros(shapes[name]) for name in filled}
    for link in _links(arch):
        parts = (weights[link.ours] * link.factor).split([shapes[name][0] for name in link.theirs])
        theirs |= {name: part.contiguous() for name, part in zip(link.theirs, parts, strict=True)}
    return theirs


def from_peer(theirs: Mapping[str, Tensor], arch: Architecture) -> dict[str, Tensor]:
    """The decoder's state dict, but for what `to_peer` left out: patch encoders and local positions.

    Raises:
        CheckpointError: a tensor that our decoder has not is no longer zero.
    """
    rest = dict(theirs)
    weights = {}
    for link in _links(arch):
        weights[link.ours] = torch.cat([rest.pop(name) for name in link.theirs]) / link.factor
    for name, value in rest.items():
        if value.any():
            raise CheckpointError(
                f"'{name}' has no place in a decoder of ours unless it is zero, and it is not"
            )
    return weights


def _links(arch: Architecture) -> Iterator[Link]:
    peer = exact_class(arch)
    yield from _named(MODEL)
    for index in range(arch.depth):
        ours, theirs = f"layers.{index}.", f"model.layers.{index}."
        yield from _named(LAYER | (QK_NORM if arch.qk_norm else {}), ours, theirs)
        if arch.is_sparse_layer(index):
            yield from _sparse_network(arch, peer, f"{ours}network.", f"{theirs}mlp.")
        else:
            yield from _named(DENSE, f"{ours}network.", f"{theirs}mlp.")


def _sparse_network(arch: Architecture, peer: PeerClass, ours: str, theirs: str) -> Iterator[Link]:
    yield from _named(SPARSE | (SIGMOID if arch.router == "sigmoid" else {}), ours, theirs)
    if arch.shared_experts:
        for link in _named(DENSE, f"{ours}shared.", f"{theirs}{peer.shared}."):
            doubled = peer.shared_gate and link.ours.endswith("down")
            yield link._replace(factor=2.0) if doubled else link


def _named(names: Names, ours: str = "", theirs: str = "") -> Iterator[Link]:
    for name, parts in names.items():
        yield Link(ours + name, tuple(theirs + part for part in parts))
