"""Prune hidden channels of every network of a decoder so that its outputs change least.

The output of a SwiGLU network is linear in its hidden channels, so their second moments on data give the
cost of dropping channels and the best compensation by the `down` columns of the others. Channels are dropped
one by one, the cheapest first, and the remaining columns are fitted each time: Optimal Brain Surgeon
(Hassibi 1993, https://doi.org/10.1109/ICNN.1993.298572) with whole channels for weights.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from space.candidate import Architecture
from trainers.batch import Batch
from trainers.lightning import move_data_to_device
from trainers.model.decoder import Decoder
from trainers.model.experts import DenseNetwork, SparseNetwork
from trainers.model.routing import Routing

DAMPING = 0.01  # of each channel's own moment: what keeps the fit from trusting few visits
LEAST_SHARE = 1e-9  # of the mean moment: added to each, so that inactive channels can be inverted
LEAST_MOMENT = 1e-30  # the same where no channel speaks

Network = DenseNetwork | SparseNetwork


@torch.no_grad()
def measure_moments(decoder: Decoder, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """Second moments of the hidden channels of every network, summed over its visits.

    A visit counts with the square of its routing weight, as it does in the squared output.

    Returns:
        Name of a network -> (experts, hidden, hidden) float32; one expert where it is dense, zeros where an
        expert saw no token.
    """
    networks = {name: part for name, part in decoder.named_modules() if isinstance(part, Network)}
    moments = {name: _no_moments(part) for name, part in networks.items()}
    hooks = [
        part.register_forward_hook(partial(_add_moments, moments[name])) for name, part in networks.items()
    ]
    try:
        for batch in batches:
            moved = move_data_to_device(batch, decoder.device)
            decoder(moved.tokens, moved.local, moved.patches, moved.segment)
    finally:
        for hook in hooks:
            hook.remove()
    return moments


@torch.no_grad()
def prune(parent: Decoder, arch: Architecture, moments: dict[str, Tensor]) -> Decoder:
    """A decoder with the narrower networks of `arch`, otherwise the parent's, on the parent's device.

    Args:
        parent: the decoder with all channels; it is not changed.
        arch: the parent's with a smaller `expert_ratio`.
        moments: of the parent's channels, from `measure_moments`.
    """
    child = Decoder(arch, parent.suite).to(parent.device)
    shapes = {name: value.shape for name, value in child.state_dict().items()}
    weights = dict(parent.state_dict())
    for name, moment in moments.items():
        gate_up, down = f"{name}.gate_up", f"{name}.down"
        narrow = narrowed(weights[gate_up], weights[down], moment, shapes[down][-1])
        for part, value in zip((gate_up, down), narrow, strict=True):
            weights[part] = value.view(shapes[part])
    child.load_state_dict(weights)
    return child


def narrowed(gate_up: Tensor, down: Tensor, moment: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The weights of experts that keep some of their hidden channels, in the order that they had.

    Args:
        gate_up: (experts, 2 * hidden, width), or without the first dimension where there is one.
        down: (experts, width, hidden), the same.
        moment: (experts, hidden, hidden).
        keep: channels to keep of each expert.

    Returns:
        (experts, 2 * keep, width) and (experts, width, keep).
    """
    hidden, width = down.shape[-1], down.shape[-2]
    gate, up = gate_up.view(-1, 2, hidden, width).unbind(1)
    kept, fitted = eliminate(down.view(-1, width, hidden), _known(moment, gate, up), keep)
    rows = kept.unsqueeze(-1).expand(-1, -1, width)  # (experts, keep, width)
    return torch.cat([gate.gather(1, rows), up.gather(1, rows)], dim=1), fitted.to(down.dtype)


def eliminate(down: Tensor, moment: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Drop channels one by one, each time the one whose loss changes the output least after the fit.

    Args:
        down: (experts, width, hidden).
        moment: (experts, hidden, hidden), positive definite.
        keep: channels to keep.

    Returns:
        Which channels are kept (experts, keep), ascending, and their fitted columns (experts, width, keep).
    """
    experts, _, hidden = down.shape
    down, inverse = down.double(), torch.linalg.inv(moment.double())
    gone = torch.zeros(experts, hidden, dtype=torch.bool, device=down.device)
    each = torch.arange(experts, device=down.device)
    for _ in range(hidden - keep):
        room = inverse.diagonal(dim1=-2, dim2=-1)  # (experts, hidden), what the others leave unexplained
        change = (down.square().sum(dim=1) / room).masked_fill(gone, torch.inf)
        drop = change.argmin(dim=-1)
        share = inverse[each, drop] / room[each, drop].unsqueeze(-1)  # (experts, hidden)
        down = down - down[each, :, drop].unsqueeze(-1) * share.unsqueeze(1)
        inverse = inverse - inverse[each, drop].unsqueeze(-1) * share.unsqueeze(1)
        gone[each, drop] = True
    kept = (~gone).nonzero()[:, 1].view(experts, keep)
    return kept, down.gather(2, kept.unsqueeze(1).expand(-1, down.shape[1], -1))


def _known(moment: Tensor, gate: Tensor, up: Tensor) -> Tensor:
    """Damped second moments; for an expert that saw no token, an estimate from the norms of its weights."""
    norms = gate.square().sum(dim=-1) * up.square().sum(dim=-1)  # (experts, hidden)
    seen = (moment.diagonal(dim1=-2, dim2=-1).sum(dim=-1) > 0).view(-1, 1, 1)
    moment = torch.where(seen, moment, norms.diag_embed()).double()
    own = moment.diagonal(dim1=-2, dim2=-1)
    more = DAMPING * own + LEAST_SHARE * own.mean(dim=-1, keepdim=True)
    return moment + more.clamp(min=LEAST_MOMENT).diag_embed()


def _add_moments(
    moments: Tensor, network: Network, arguments: tuple[Tensor], output: tuple[Tensor, Routing | None]
) -> None:
    """Add what the visits of a forward pass show: a hook, so that the network itself knows nothing of it."""
    (x,), (_, routing) = arguments, output
    if routing is None:
        hidden = _hidden(x, network.gate_up)
        moments[0] += hidden.T @ hidden
        return
    for expert, gate_up in enumerate(network.gate_up):
        weight = (routing.weights * (routing.experts == expert)).sum(dim=-1)
        visits = weight.nonzero().squeeze(-1)
        hidden = _hidden(x[visits], gate_up) * weight[visits].unsqueeze(-1)
        moments[expert] += hidden.T @ hidden


def _hidden(x: Tensor, gate_up: Tensor) -> Tensor:
    """Hidden channels (tokens, hidden) of tokens (tokens, width)."""
    gate, up = F.linear(x, gate_up).chunk(2, dim=-1)
    return F.silu(gate) * up


def _no_moments(network: Network) -> Tensor:
    """Zeros (experts, hidden, hidden)."""
    hidden = network.down.shape[-1]
    experts = 1 if isinstance(network, DenseNetwork) else len(network.down)
    return network.down.new_zeros(experts, hidden, hidden)
