"""Dropless dispatch of tokens to experts: every visit that the router chooses is computed.

`dispatch` chooses between two implementations:

- `sliced`: tokens are sorted by expert and each expert works on one slice, everywhere and in every precision;
- `grouped`: one grouped product for all experts on a GPU in bfloat16, without a wait of the host.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from trainers.model.routing import Routing

silu_backward = torch.ops.aten.silu_backward.grad_input

GROUPED_ALIGNMENT = 8  # bfloat16 elements in the 16 bytes that rows of grouped products are multiples of


def dispatch(
    x: Float[Tensor, "tokens width"],
    routing: Routing,
    gate_up: Float[Tensor, "experts gate_up width"],
    down: Float[Tensor, "experts width hidden"],
) -> Float[Tensor, "tokens width"]:
    """Send each token to its experts and add up their outputs, weighted by the router.

    Products run in the precision of the autocast, if one is active, as those of dense layers do. The result
    has that precision.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    aligned = all(size % GROUPED_ALIGNMENT == 0 for size in down.shape[1:])
    way = grouped if device == "cuda" and dtype == torch.bfloat16 and aligned else sliced
    return way(x.to(dtype), routing, gate_up.to(dtype), down.to(dtype))


def sliced(x: Tensor, routing: Routing, gate_up: Tensor, down: Tensor) -> Tensor:
    """`dispatch`, one product after another for each expert's slice of the sorted tokens."""
    quantum = row_quantum(x.dtype, routing.experts.numel() // len(gate_up))
    slots = Slots.of(routing.experts, len(gate_up), quantum)
    return _Sliced.apply(x, routing.weights.to(x.dtype), gate_up, down, slots)


def grouped(x: Tensor, routing: Routing, gate_up: Tensor, down: Tensor) -> Tensor:
    """`dispatch`, one grouped product for all experts; no count of visits leaves the device."""
    visits, order = routing.experts.flatten().sort(stable=True)
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
    experts = torch.arange(len(gate_up), device=x.device)
    stops = torch.searchsorted(visits, experts, right=True, out_int32=True)
    hidden = F.grouped_mm(_Sorted.apply(x, order, back), gate_up.transpose(1, 2), offs=stops)
    gate, up = hidden.chunk(2, dim=-1)
    said = F.grouped_mm(F.silu(gate) * up, down.transpose(1, 2), offs=stops)
    said = _Sorted.apply(said, back, order).view(*routing.experts.shape, -1)
    return (said * routing.weights.to(said.dtype).unsqueeze(-1)).sum(dim=1)


class Slots(NamedTuple):
    """The position of each visit among the rows that the experts' slices are made of.

    Attributes:
        rows: rows of each expert's slice; where a quantum is asked for, a multiple of it.
        of_visit: (tokens, top_k) int64, the row of each visit.
        token: (all rows,) int64, the token on each row; token 0 on rows that no visit fills.
    """

    rows: list[int]
    of_visit: Tensor
    token: Tensor

    @classmethod
    def of(cls, experts: Tensor, num_experts: int, quantum: int) -> "Slots":
        """Slots of the visits to `experts` (tokens, top_k), each expert's in the order of their tokens.

        Numpy sorts small integers by their digits, in a tenth of the time of PyTorch's sort on CPU.
        """
        tokens, top_k = experts.shape
        visits = experts.flatten().cpu().numpy().astype(np.int16)
        order = visits.argsort(kind="stable")
        counts = np.bincount(visits, minlength=num_experts)
        rows = (counts + quantum - 1) // quantum * quantum
        before = (rows - counts).cumsum() - (rows - counts)  # rows that nothing fills in earlier slices
        place = np.arange(len(order)) + before[visits[order]]
        of_visit, token = np.empty_like(order), np.zeros(rows.sum(), np.int64)
        of_visit[order] = place
        token[place] = order // top_k
        of_visit, token = (torch.from_numpy(index).to(experts.device) for index in (of_visit, token))
        return cls(rows.tolist(), of_visit.view(tokens, top_k), token)


def row_quantum(dtype: torch.dtype, mean_visits: int) -> int:
    """What rows of a slice are rounded up to.

    On CPU, oneDNN compiles a kernel for each new shape of a product in half precision, which takes as long as
    tens of products: shapes have to come back. A sixteenth of the mean makes 3% of rows too many.
    """
    if dtype in (torch.float32, torch.float64):
        return 1
    return max(8, 1 << (mean_visits // 16).bit_length())


class _Sliced(torch.autograd.Function):
    """Experts on their slices, forward and backward with as few copies as there can be.

    Hidden channels stand before rows, (hidden, rows), so that gates, ups and their gradients are whole blocks
    of memory. Rows are gathered, weighted and added up in one pass of `embedding_bag`, both ways.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor, slots: Slots) -> Tensor:
        rows = _rows(x, slots.token.unsqueeze(-1))
        said = torch.empty_like(rows)
        hidden = []
        for part, answer, wide, narrow in zip(*_parts(slots, rows, said), gate_up, down, strict=True):
            both = part.new_empty(2, narrow.shape[1], len(part))
            torch.mm(wide, part.t(), out=both.flatten(0, 1))
            gate, up = both
            active = F.silu(gate)
            product = active * up
            torch.mm(product.t(), narrow.t(), out=answer)
            hidden += [gate, up, active, product]
        ctx.save_for_backward(rows, said, weights, gate_up, down, *hidden)
        ctx.slots = slots
        return _rows(said, slots.of_visit, weights)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        slots: Slots = ctx.slots
        rows, said, weights, gate_up, down, *hidden = ctx.saved_tensors
        asked = _rows(upstream[0], slots.token.unsqueeze(-1))
        rows_grad, gate_up_grad, down_grad = (torch.empty_like(t) for t in (rows, gate_up, down))
        dots = torch.mul(asked, said, out=rows_grad).sum(dim=-1)  # the memory is there, and written later
        scale = weights.new_zeros(len(rows)).scatter_(0, slots.of_visit.flatten(), weights.flatten())
        asked *= scale.unsqueeze(-1)  # and none of it goes to rows that no visit fills
        slices = zip(
            *_parts(slots, rows, asked, rows_grad), gate_up, down, gate_up_grad, down_grad, strict=True
        )
        for expert, (part, ask, part_grad, wide, narrow, wide_grad, narrow_grad) in enumerate(slices):
            gate, up, active, product = hidden[4 * expert : 4 * expert + 4]
            torch.mm(ask.t(), product.t(), out=narrow_grad)
            product_grad = torch.mm(narrow.t(), ask.t())
            both = part.new_empty(2, *gate.shape)
            torch.mul(product_grad, active, out=both[1])
            silu_backward(product_grad.mul_(up), gate, grad_input=both[0])
            both = both.flatten(0, 1)
            torch.mm(both, part, out=wide_grad)
            torch.mm(both.t(), wide, out=part_grad)
        return _rows(rows_grad, slots.of_visit), dots[slots.of_visit], gate_up_grad, down_grad, None


def _parts(slots: Slots, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Each tensor's rows (all rows, ...) by expert."""
    return [tensor.split(slots.rows) for tensor in tensors]


def _rows(x: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sums of rows of x (some, width) by index (rows, terms) and weight (rows, terms), (rows, width)."""
    return F.embedding_bag(index, x, mode="sum", per_sample_weights=weights)


class _Sorted(torch.autograd.Function):
    """Rows of tokens in the order of their visits; as each visit has one place, so has its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.back, ctx.visits = back, len(order) // len(x)
        return x[order // ctx.visits]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        return upstream[0][ctx.back].unflatten(0, (-1, ctx.visits)).sum(dim=1), None, None
