"""Embedding of tokens: a table, a learned position within the timestep, and patch encoders."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from space.cost import ENCODER_RATIO, LOCAL_POSITIONS
from space.records import SuiteRecord
from trainers.model.norm import RMSNorm

SLOWEST_WAVE = 0.5  # periods over the range of the bins
FASTEST_WAVE = 32.0


class Patches(NamedTuple):
    """Patches of one encoder in a batch.

    Attributes:
        at: index of each patch's placeholder in the flattened tokens.
        pixels: of each patch.
    """

    at: Int[Tensor, " patches"]
    pixels: Float[Tensor, "patches patch_size"]


class PatchEncoder(nn.Module):
    """A projection and one residual block (Gato, https://arxiv.org/abs/2205.06175, section 2.2)."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(patch_size, width)
        self.norm = RMSNorm(width)
        self.up = nn.Linear(width, ENCODER_RATIO * width)
        self.down = nn.Linear(ENCODER_RATIO * width, width)

    def forward(self, pixels: Float[Tensor, "patches patch_size"]) -> Float[Tensor, "patches width"]:
        """Encode patches."""
        x = self.project(pixels).to(self.norm.weight.dtype)  # autocast projects in half precision
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Embedding(nn.Module):
    """Token table plus local position; the patch of a placeholder is added at its position.

    Attributes:
        all_learn: whether encoders that a batch has no patches for have gradients all the same, which are 0:
            several devices add up the gradients of the same parameters.
    """

    def __init__(self, width: int, suite: SuiteRecord) -> None:
        super().__init__()
        self.table = nn.Embedding(suite.vocab_size, width)
        self.local = nn.Embedding(LOCAL_POSITIONS, width)
        self.all_learn = False
        self.encoders = nn.ModuleDict({name: PatchEncoder(n, width) for name, n in suite.encoders.items()})

    def forward(
        self, tokens: Int[Tensor, "*tokens"], local: Int[Tensor, "*tokens"], patches: Mapping[str, Patches]
    ) -> Float[Tensor, "*tokens width"]:
        """Embed tokens, with their positions within the timestep."""
        x = self.table(tokens.flatten()) + self.local(local.flatten())
        if patches:
            at = torch.cat([at for at, _ in patches.values()])
            encoded = torch.cat([self.encoders[name](pixels) for name, (_, pixels) in patches.items()])
            x.index_add_(0, at, encoded.to(x.dtype))
        if self.all_learn and torch.is_grad_enabled():
            absent = [encoder for name, encoder in self.encoders.items() if name not in patches]
            zeros = [0 * p.sum() for encoder in absent for p in encoder.parameters()]
            x = x + torch.stack(zeros).sum() if zeros else x
        return x.view(*tokens.shape, -1)


def waves(bins: int, width: int) -> Float[Tensor, "{bins} {width}"]:
    """Smooth features of the bins, similar for neighbours, with a standard deviation of 1."""
    place = torch.linspace(0, 1, bins).unsqueeze(-1)
    rates = torch.logspace(math.log2(SLOWEST_WAVE), math.log2(FASTEST_WAVE), (width + 1) // 2, base=2)
    angles = 2 * math.pi * place * rates
    features = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
    return features / features.std()
