"""Grouped-query attention with rotary positions, over whole windows or over a key/value cache.

RoPE: Su 2021, https://arxiv.org/abs/2104.09864. The weights are in the half-split layout of transformers;
the channels of queries and keys are reordered into pairs, which does not change their products.
Grouped queries: Ainslie 2023, https://arxiv.org/abs/2305.13245.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from space.candidate import Architecture
from trainers.model.norm import rms_norm
from trainers.model.packed import Seen, attend, reaches

ROPE_BASE = 10_000.0


def rotary_table(head_dim: int, context: int) -> Float[Tensor, "{context} {head_dim//2} 2"]:
    """Cosine and sine of each position's angles."""
    rates = ROPE_BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(context, dtype=torch.float32), rates)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate(
    x: Float[Tensor, "*batch positions heads head_dim"], rotation: Float[Tensor, "positions half 2"]
) -> Float[Tensor, "*batch positions heads head_dim"]:
    """Rotate the channels of heads, in `paired` order, by the angles of their positions.

    A product of complex numbers: one pass over memory. A compiler does as well with real ones, and knows no
    others. The result is in float32 at least.
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    planes, rotation = x.to(exact).unflatten(-1, (-1, 2)), rotation.to(exact).unsqueeze(-3)
    if torch.compiler.is_compiling():
        (a, b), (cos, sin) = planes.unbind(-1), rotation.unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    turned = torch.view_as_complex(planes) * torch.view_as_complex(rotation)
    return torch.view_as_real(turned).flatten(-2)


def paired(halves: Float[Tensor, "heads head_dim *rest"]) -> Float[Tensor, "heads head_dim *rest"]:
    """Reorder channels from the half-split layout so that the two of a plane are side by side."""
    return halves.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


@dataclass(frozen=True)
class Slots:
    """Positions of the new tokens of many rows, row after row, each row's tokens in order.

    Attributes:
        row: of each token.
        position: of each token within the row's sequence.
        offset: of each token among the row's new tokens.
        last: index of each row's last new token.
        most: largest number of new tokens of a row.
        reach: positions of the cache in use after these tokens.
        even: whether all rows have equally many new tokens.
        rows: rows of the cache that these are; None is all of them.
    """

    row: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    offset: Int[Tensor, " tokens"]
    last: Int[Tensor, " rows"]
    most: int
    reach: int
    even: bool
    rows: Int[Tensor, " rows"] | None

    @classmethod
    def of(
        cls, done: np.ndarray, new: np.ndarray, device: torch.device, rows: Sequence[int] | None = None
    ) -> "Slots":
        """Slots of `new` tokens (rows,), at least one per row, after the `done` (rows,) of the cache."""
        row = np.repeat(np.arange(len(new)), new)
        last = new.cumsum() - 1
        offset = np.arange(len(row)) - (last - new + 1)[row]
        index = torch.from_numpy(np.stack([row, done[row] + offset, offset])).to(device)
        most, reach = int(new.max()), int((done + new).max())
        even = bool((new == most).all())
        some = None if rows is None else torch.tensor(rows, device=device)
        last = torch.from_numpy(last).to(device)
        return cls(index[0], index[1], index[2], last, most, reach, even, some)


class Past(NamedTuple):
    """What one layer's new tokens attend to in addition to themselves.

    Attributes:
        slots: positions of the new tokens.
        keys: those of the new tokens are written to it.
        values: likewise.
    """

    slots: Slots
    keys: Float[Tensor, "rows positions kv_heads head_dim"]
    values: Float[Tensor, "rows positions kv_heads head_dim"]


class Cache:
    """Keys and values of all layers for many rows, left-aligned; it grows with them.

    With a window, only the last `window` positions of a row are kept: position p is at p % window.

    Attributes:
        keys: (layers, rows, positions, kv heads, head_dim).
        values: the same.
    """

    def __init__(self, arch: Architecture, rows: int, like: Tensor) -> None:
        self.keys = like.new_zeros(arch.depth, rows, 0, arch.num_kv_heads, arch.head_dim)
        self.values = torch.zeros_like(self.keys)
        self.window = arch.window

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.keys.shape[1]

    def reserve(self, positions: int) -> None:
        """Make room for a number of positions per row; room is doubled, so that this is rare."""
        there = self.keys.shape[2]
        room = max(positions, 2 * there) if positions > there else there
        room = min(room, self.window or room)
        if room > there:
            more = (0, 0, 0, 0, 0, room - there)
            self.keys, self.values = F.pad(self.keys, more), F.pad(self.values, more)

    def keep(self, rows: list[int]) -> None:
        """Drop all rows but these."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]

    def add(self, rows: int) -> None:
        """Add empty rows at the end."""
        more = (0, 0, 0, 0, 0, 0, 0, rows)
        self.keys, self.values = F.pad(self.keys, more), F.pad(self.values, more)

    def layers(self, slots: Slots) -> list[Past]:
        """What each layer's new tokens attend to."""
        self.reserve(slots.reach)
        return [Past(slots, keys, values) for keys, values in zip(self.keys, self.values, strict=True)]


def _ragged(x: Tensor, slots: Slots) -> Tensor:
    """New tokens (tokens, ...) by row, (rows, most, ...); zeros after a row's last."""
    shape = (len(slots.last), slots.most)
    if slots.even:
        return x.unflatten(0, shape)
    ragged = x.new_zeros(*shape, *x.shape[1:])
    ragged[slots.row, slots.offset] = x
    return ragged


def _write(past: Past, k: Tensor, v: Tensor, position: Tensor, which: Tensor | slice = slice(None)) -> None:
    """Write keys and values of new tokens, or some of them, to a layer's cache."""
    slots = past.slots
    row = slots.row if slots.rows is None else slots.rows[slots.row]
    place = row[which], position[which]
    past.keys[place], past.values[place] = k[which].to(past.keys.dtype), v[which].to(past.values.dtype)


class Attention(nn.Module):
    """Causal self-attention: no biases, optional RMSNorm on the queries and keys of each head."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = arch.num_heads, arch.num_kv_heads, arch.head_dim
        inner = self.heads * self.head_dim
        self.qkv = nn.Linear(arch.width, inner + 2 * self.kv_heads * self.head_dim, bias=False)
        self.out = nn.Linear(inner, arch.width, bias=False)
        self.window = arch.window
        self.query_norm = nn.Parameter(torch.ones(self.head_dim)) if arch.qk_norm else None
        self.key_norm = nn.Parameter(torch.ones(self.head_dim)) if arch.qk_norm else None

    def forward(
        self,
        x: Float[Tensor, "*tokens width"],
        rotation: Float[Tensor, "positions half 2"],
        seen: Seen = None,
        past: Past | None = None,
    ) -> Float[Tensor, "*tokens width"]:
        """Attend within whole sequences, or from new tokens to the cache.

        Args:
            x: (sequences, positions, width); with `past`, the new tokens of all rows (tokens, width).
            rotation: of each position, with `past` of each token.
            seen: what the positions of whole sequences attend to, from `trainers.model.packed.within`.
            past: the cache, which is updated in place.
        """
        q, k, v = self._project(x, rotation)
        if past is not None:
            return self.out(self._attend_past(q.to(v.dtype), k, v, past).flatten(-2))
        # in half precision the gradient of attention takes a CPU two to three times as long
        precision = q.dtype if v.device.type == "cpu" else v.dtype
        with torch.autocast(x.device.type, enabled=False):
            y = attend(q.to(precision), k.to(precision), v.to(precision), seen)
        return self.out(y.to(v.dtype).flatten(-2))

    def _attend_past(self, q: Tensor, k: Tensor, v: Tensor, past: Past) -> Tensor:
        """Attention of new tokens (tokens, heads, head_dim), whose keys and values go into the cache."""
        slots, keys, values = past
        queries, position = _ragged(q, slots), _ragged(slots.position, slots)
        if self.window:
            (keys, values), others = self._recent(k, v, position, past)
        else:
            _write(past, k, v, slots.position)
            rows = slice(None) if slots.rows is None else slots.rows
            keys, values = keys[rows, : slots.reach], values[rows, : slots.reach]
            others = torch.arange(slots.reach, device=q.device)
        seen = reaches(position, others, self.window)
        if self.window:
            seen &= (others >= 0).unsqueeze(-2)
        y = attend(queries, keys.to(q.dtype), values.to(q.dtype), seen)
        return y.flatten(0, 1) if slots.even else y[slots.row, slots.offset]

    def _recent(
        self, k: Tensor, v: Tensor, position: Tensor, past: Past
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Keys and values that new tokens may attend to with a window: those of the cache, then their own.

        The cache is updated afterwards, since tokens that are new together overwrite what the first of them
        still attends to.

        Returns:
            Keys and values (rows, others, kv heads, head_dim); positions (rows, others), -1 where nothing is.
        """
        slots, keys, values = past
        rows = slice(None) if slots.rows is None else slots.rows
        place = torch.arange(keys.shape[1], device=k.device)
        last = position[:, :1] - 1  # the last position of each row that the cache holds
        held = last - (last - place) % self.window
        own = position if slots.even else position.masked_fill(_ragged(slots.position + 1, slots) == 0, -1)
        both = (
            torch.cat([keys[rows].to(k.dtype), _ragged(k, slots)], dim=1),
            torch.cat([values[rows].to(v.dtype), _ragged(v, slots)], dim=1),
        )
        left = slots.last[slots.row] - torch.arange(len(slots.row), device=k.device)  # tokens after each one
        stays = left < self.window if slots.most > self.window else slice(None)
        _write(past, k, v, slots.position % self.window, stays)
        return both, torch.cat([held.clamp(min=-1), own], dim=1)

    def _project(self, x: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (..., heads, head_dim), the first two rotated."""
        turning = self.heads + self.kv_heads
        heads = self.qkv.weight.unflatten(0, (-1, self.head_dim))
        weight = torch.cat([paired(heads[:turning]), heads[turning:]])
        qkv = F.linear(x, weight.flatten(0, 1)).unflatten(-1, (-1, self.head_dim))
        qk, v = qkv.split([turning, self.kv_heads], dim=-2)
        if self.query_norm is not None and self.key_norm is not None:
            scales = self.query_norm.expand(self.heads, -1), self.key_norm.expand(self.kv_heads, -1)
            qk = rms_norm(qk, paired(torch.cat(scales)))
        q, k = rotate(qk, rotation).split([self.heads, self.kv_heads], dim=-2)
        return q, k, v
