"""Which experts each token visits, and the two losses that keep a router healthy."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Routing(NamedTuple):
    """Where the tokens of one layer go.

    Attributes:
        logits: (tokens, experts) float32.
        experts: (tokens, top_k) int64, the experts that each token visits, likeliest first.
        weights: (tokens, top_k) float32, their softmax probabilities, renormalised to sum to one.
    """

    logits: Tensor
    experts: Tensor
    weights: Tensor


class Router(nn.Module):
    """Softmax over the experts, the `top_k` best renormalised (Shazeer 2017, arXiv 1701.06538).

    It runs in float32 whatever the autocast (Switch Transformer, arXiv 2101.03961, section 2.4).
    """

    def __init__(self, width: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x: Tensor) -> Routing:
        """Route tokens (tokens, width)."""
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.float(), self.weight.float())
            best, experts = logits.topk(self.top_k, dim=-1)
            return Routing(logits, experts, best.softmax(dim=-1))


def balance_loss(routing: Routing) -> Tensor:
    """Experts times the product of each one's share of visits and mean probability: 1 at perfect balance.

    Switch Transformer, equation 4. The share is a constant for the gradient.
    """
    num_experts = routing.logits.shape[-1]
    visits = expert_load(routing)
    return num_experts * (visits / visits.sum() * routing.logits.softmax(dim=-1).mean(dim=0)).sum()


def z_loss(routing: Routing) -> Tensor:
    """Mean squared log-partition of the router (ST-MoE, arXiv 2202.08906, equation 5)."""
    return routing.logits.logsumexp(dim=-1).square().mean()


def expert_load(routing: Routing) -> Tensor:
    """Visits of each expert. Shape (experts,), int64."""
    return routing.experts.flatten().bincount(minlength=routing.logits.shape[-1])
