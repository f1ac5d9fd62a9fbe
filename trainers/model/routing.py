"""Routers, which choose the experts of each token, and the balancing of their experts.

Two routers: softmax, balanced by two losses, and sigmoid, balanced by a bias that affects only the choice of
experts. Both choose `top_k` experts and renormalise their weights, and both run in float32 regardless of
autocast (Switch Transformer, https://arxiv.org/abs/2101.03961, section 2.4).
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

BALANCE_COEFFICIENT = 1e-2
Z_COEFFICIENT = 1e-3
BIAS_STEP = 1e-3  # DeepSeek-V3, https://arxiv.org/abs/2412.19437, section 4.2


class Routing(NamedTuple):
    """The experts of the tokens of one layer.

    Attributes:
        logits: of the router.
        experts: that each token visits, likeliest first.
        weights: of their outputs; they sum to one.
    """

    logits: Float[Tensor, "tokens experts"]
    experts: Int[Tensor, "tokens top_k"]
    weights: Float[Tensor, "tokens top_k"]


class SoftmaxRouter(nn.Module):
    """The `top_k` likeliest experts, their probabilities renormalised (Shazeer 2017, arXiv 1701.06538)."""

    def __init__(self, width: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x: Float[Tensor, "tokens width"]) -> Routing:
        """Route tokens."""
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.float(), self.weight.float())
            experts = highest(logits.detach(), self.top_k)
            return Routing(logits, experts, shares(logits.gather(-1, experts)))

    def loss(self, routing: Routing) -> Float[Tensor, ""]:
        """The term of this layer in the training loss."""
        partition = log_partition(routing)
        return BALANCE_COEFFICIENT * balance_loss(routing, partition) + Z_COEFFICIENT * z_loss(partition)

    def rebalance(self, routing: Routing, share: float = 1) -> None:
        """Do nothing: the losses balance the experts."""


class SigmoidRouter(nn.Module):
    """An affinity per expert; the experts are chosen by affinity plus a bias that follows the load.

    DeepSeek-V3, equations 13 to 16, and Wang 2024, https://arxiv.org/abs/2408.15664.
    """

    bias: Tensor

    def __init__(self, width: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.weight = nn.Parameter(torch.empty(experts, width))
        self.register_buffer("bias", torch.zeros(experts))

    def forward(self, x: Float[Tensor, "tokens width"]) -> Routing:
        """Route tokens."""
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.float(), self.weight.float())
            experts = highest(logits.detach().sigmoid() + self.bias, self.top_k)
            # affinities over their sum, where none of them underflows
            return Routing(logits, experts, shares(F.logsigmoid(logits.gather(-1, experts))))

    def loss(self, routing: Routing) -> Float[Tensor, ""]:
        """Zero: the bias balances without affecting the gradient."""
        return routing.logits.new_zeros(())

    @torch.no_grad()
    def rebalance(self, routing: Routing, share: float = 1) -> None:
        """Move the bias of each expert a share of a step towards an even load over all devices."""
        load = over_all_devices(expert_load(routing)).float()
        self.bias += share * BIAS_STEP * (load.mean() - load).sign()


Router = SoftmaxRouter | SigmoidRouter
ROUTERS: dict[str, type[Router]] = {"softmax": SoftmaxRouter, "sigmoid": SigmoidRouter}


def highest(scores: Float[Tensor, "tokens experts"], top_k: int) -> Int[Tensor, "tokens {top_k}"]:
    """The experts with the highest scores, highest first.

    On CPU, numpy's partition takes half the time of `topk`, which sorts each token's scores.
    """
    if scores.device.type != "cpu":
        return scores.topk(top_k, dim=-1).indices
    if top_k == 1:
        return scores.argmax(dim=-1, keepdim=True)
    rest = scores.shape[-1] - top_k
    best = torch.from_numpy(np.argpartition(scores.numpy(), rest, axis=-1)[:, rest:])
    return best.gather(-1, scores.gather(-1, best).argsort(dim=-1, descending=True))


def shares(logits: Float[Tensor, "tokens top_k"]) -> Float[Tensor, "tokens top_k"]:
    """Softmax over the experts of each token; transposed, since the CPU is fast along a long dimension."""
    return logits.t().softmax(dim=0).t()


def log_partition(routing: Routing) -> Float[Tensor, "tokens 1"]:
    """Log of the softmax denominator of each token."""
    return routing.logits.logsumexp(dim=-1, keepdim=True)


def balance_loss(routing: Routing, partition: Float[Tensor, "tokens 1"]) -> Float[Tensor, ""]:
    """Number of experts times the sum of share of visits times mean probability: 1 at perfect balance.

    Switch Transformer, equation 4, with the visits counted over the batches of all devices (Qiu 2025,
    https://arxiv.org/abs/2501.11873), so that an expert may serve one task alone. The share is a constant for
    the gradient, and the mean over devices, which data parallelism takes, is the loss of the global batch.
    """
    num_experts = routing.logits.shape[-1]
    visits = over_all_devices(expert_load(routing))
    probabilities = (routing.logits - partition).exp()  # the rows are short: quicker on CPU than a softmax
    return num_experts * (visits / visits.sum() * probabilities.mean(dim=0)).sum()


def z_loss(partition: Float[Tensor, "tokens 1"]) -> Float[Tensor, ""]:
    """Mean squared log-partition of the router (ST-MoE, arXiv 2202.08906, equation 5)."""
    return partition.square().mean()


def expert_load(routing: Routing) -> Int[Tensor, " experts"]:
    """Visits of each expert."""
    visits = routing.experts.flatten()  # not counted by `bincount`, for which the host waits on a GPU
    return visits.new_zeros(routing.logits.shape[-1]).scatter_add_(0, visits, torch.ones_like(visits))


def over_all_devices(counts: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """Sum of the numbers of all devices; the numbers themselves on a single device."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        counts = counts.clone()
        torch.distributed.all_reduce(counts)
    return counts
