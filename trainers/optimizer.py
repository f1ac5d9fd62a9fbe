"""The optimizer of a candidate: AdamW, or Muon for the matrices of the layers and AdamW for the rest.

Both take each parameter's own rate from `trainers.model.scaling`, so that one learning rate fits all sizes.
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from space.cost import MUON_ITERATIONS
from trainers.model.decoder import Decoder
from trainers.model.scaling import ParameterScale, scale_of
from trainers.shares import divided, holds_whole_matrices, local, together

BETAS = (0.9, 0.95)
EPS = 1e-8
WEIGHT_DECAY = 0.1
MOMENTUM = 0.95
MUON_EPS = 1e-7
MUON_SCALE = 3.2  # its best rate is that of AdamW (tests/benchmarks/learning_rates.py)
QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of Jordan 2024, https://kellerjordan.github.io/posts/muon/


def make_optimizer(decoder: Decoder, name: str, learning_rate: float) -> torch.optim.Optimizer:
    """The optimizer that a candidate names, with one group of parameters for each rate that there is.

    Only matrices decay, and their decay does not depend on their own rate.

    Args:
        decoder: whose parameters.
        name: "adamw" or "muon".
        learning_rate: of a matrix of a decoder of the base width and depth.
    """
    groups: dict[tuple[float, float, tuple[int, ...] | None], list[nn.Parameter]] = {}
    for parameter_name, parameter in decoder.named_parameters():
        if parameter.ndim == 1:
            groups.setdefault((1.0, 0.0, None), []).append(parameter)
            continue
        scale = scale_of(parameter_name, parameter, decoder.arch)
        muon = name == "muon" and scale.parts is not None
        rate = _muon_rate(parameter, scale) if muon else scale.rate
        groups.setdefault((rate, WEIGHT_DECAY / rate, scale.parts if muon else None), []).append(parameter)
    listed = [
        {"params": members, "lr": learning_rate * rate, "weight_decay": decay, "parts": parts}
        for (rate, decay, parts), members in groups.items()
    ]
    if name == "muon":
        return Muon(listed)
    return torch.optim.AdamW(listed, betas=BETAS, eps=EPS, fused=True)


def _muon_rate(parameter: Tensor, scale: ParameterScale) -> float:
    """An orthogonal update has the same spectral norm in every width: only its shape and the depth count."""
    assert scale.parts is not None
    rows, columns = max(scale.parts), parameter.shape[-1]
    return MUON_SCALE * max(1.0, rows / columns) ** 0.5 * scale.depth


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates of matrices; groups without `parts` use AdamW.

    Jordan 2024, https://kellerjordan.github.io/posts/muon/, for stacks of matrices, such as the experts of a
    layer, and for matrices that lie below each other in one parameter (queries, keys and values; gate and
    up), which `parts` tells apart by their rows. `torch.optim.Muon` takes single matrices only.

    Args:
        groups: of parameters, each with `lr`, `weight_decay` and `parts`.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, {"lr": 1e-3, "weight_decay": 0.0, "parts": None})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["parts"] is None:
                self._adamw(moving, group)
            else:
                for parameter in moving:
                    self._orthogonal(parameter, group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state; of groups that are fused torch loads steps onto the parameters' device, too."""
        groups = [{**group, "fused": True} for group in state_dict["param_groups"]]
        super().load_state_dict({**state_dict, "param_groups": groups})

    def _orthogonal(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        state, parts = self.state[parameter], group["parts"]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient, mine = local(parameter.grad), local(parameter)
        momentum = local(state["momentum"]).lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM)  # Nesterov
        mine.mul_(1 - group["lr"] * group["weight_decay"])
        apart = not holds_whole_matrices(parameter)
        ahead = together(ahead, parameter) if apart else ahead
        update = torch.cat([orthogonalised(piece) for piece in ahead.split(parts, dim=-2)], dim=-2)
        mine.add_(local(divided(update, parameter)) if apart else update, alpha=-group["lr"])

    def _adamw(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["first"] = torch.zeros_like(parameter)
                state["second"] = torch.zeros_like(parameter)
        if parameters:
            states = [self.state[parameter] for parameter in parameters]
            adamw(
                [local(parameter) for parameter in parameters],
                [local(parameter.grad) for parameter in parameters if parameter.grad is not None],
                [local(state["first"]) for state in states],
                [local(state["second"]) for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=EPS,
                maximize=False,
            )


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices, roughly: singular values come out between 0.7 and 1.2.

    Newton-Schulz iterations with a quintic; in bfloat16 on a GPU, where that is fast.

    Args:
        matrices: (..., rows, columns).
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=MUON_EPS)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    a, b, c = QUINTIC
    for _ in range(MUON_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.mT if tall else x).to(matrices.dtype)
