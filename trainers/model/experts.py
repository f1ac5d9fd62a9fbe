"""SwiGLU networks, dense and sparse."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.model.dispatch import dispatch
from trainers.model.routing import ROUTERS, Routing


def swiglu(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """down(silu(gate(x)) * up(x)) for x (tokens, width), gate_up (2 * hidden, width), down (width, hidden).

    Shazeer 2020, https://arxiv.org/abs/2002.05202. Hidden channels stand before tokens, so that gates and ups
    are whole blocks of memory: on CPU in bfloat16 an eighth quicker, otherwise as quick.
    """
    gate, up = (gate_up @ x.t()).chunk(2)
    return (F.silu(gate) * up).t() @ down.t()


class DenseNetwork(nn.Module):
    """One SwiGLU network that every token passes."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.empty(2 * hidden, width))
        self.down = nn.Parameter(torch.empty(width, hidden))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Map tokens (tokens, width); nothing is routed."""
        return swiglu(x, self.gate_up, self.down), None


class SparseNetwork(nn.Module):
    """Routed SwiGLU experts, and one that every token visits beside them if `shared`."""

    def __init__(self, width: int, hidden: int, experts: int, top_k: int, router: str, shared: bool) -> None:
        super().__init__()
        self.router = ROUTERS[router](width, experts, top_k)
        self.gate_up = nn.Parameter(torch.empty(experts, 2 * hidden, width))
        self.down = nn.Parameter(torch.empty(experts, width, hidden))
        self.shared = DenseNetwork(width, hidden) if shared else None

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """Map tokens (tokens, width) and say where they went."""
        routing = self.router(x)
        y = dispatch(x, routing, self.gate_up, self.down)
        return (y if self.shared is None else y + self.shared(x)[0]), routing
