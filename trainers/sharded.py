"""Lightning's side of weights, gradients and optimizer state that are divided among the devices.

Checkpoints hold whole tensors, as those of any other strategy do. `trainers.shares` divides the weights.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh

from trainers.group import Member, Together
from trainers.lightning import ModelParallelStrategy, ParallelStrategy
from trainers.shares import divided, gathered


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for modules that divide their weights in `configure_model`.

    Lightning's own numbers the parameters of a checkpoint in another order than torch's optimizers do where
    they have several groups; here a checkpoint is what one device alone would write.
    """

    def __init__(self, member: Member) -> None:
        super().__init__(save_distributed_checkpoint=False)
        self.cluster_environment = Together(member)
        self._size = member.size

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning restores it, by `load_optimizer_state_dict`."""
        return True

    def setup_environment(self) -> None:
        """Take the group as it is formed, as a mesh of one dimension."""
        ParallelStrategy.setup_environment(self)
        self._setup_distributed()
        module: Any = self.lightning_module
        module._device_mesh = self._device_mesh = init_device_mesh(self.root_device.type, (self._size,))

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors on the CPU on the first device; nothing on the others, which take part."""
        assert self.lightning_module is not None
        return gathered(self.lightning_module.state_dict(), keep=self.is_global_zero)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The same of an optimizer."""
        state = optimizer.state_dict()
        return {**state, "state": gathered(state["state"], keep=self.is_global_zero)}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Map a checkpoint into memory: a device reads no more than its shares."""
        return torch.load(checkpoint_path, map_location="cpu", weights_only=weights_only, mmap=True)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this device's shares of whole weights."""
        module = self.lightning_module
        assert module is not None
        state = {
            name: divided(checkpoint["state_dict"][name], at) for name, at in module.state_dict().items()
        }
        module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this device's shares of a whole optimizer state."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            state = {
                number: {name: divided(value, parameters[number]) for name, value in values.items()}
                for number, values in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})
