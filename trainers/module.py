"""Lightning module of a candidate: loss, optimizer, schedule, and the work done so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from space.candidate import CandidateConfig
from space.cost import Cost
from space.records import SuiteRecord
from trainers.batch import NOTHING, Batch
from trainers.lightning import L, LightningOptimizer
from trainers.model.decoder import Decoder
from trainers.model.routing import Routing, over_all_devices
from trainers.optimizer import make_optimizer
from trainers.shares import shard

WARMUP_STEPS = 20
GRADIENT_CLIP = 1.0


@dataclass(frozen=True)
class Schedule:
    """Warm-up, a constant trunk, and a decay branch that falls linearly to 0.

    The trunk's rate does not depend on how far it goes, so that a rung can be resumed towards the next one.

    Attributes:
        trunk_steps: step at which the decay branch is forked.
        decay_steps: length of the branch.
    """

    trunk_steps: int
    decay_steps: int

    @property
    def steps(self) -> int:
        """All steps."""
        return self.trunk_steps + self.decay_steps

    def factor(self, step: int) -> float:
        """Factor of the learning rate at a step; 1 at the fork, which belongs to trunk and branch alike."""
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        if step <= self.trunk_steps or not self.decay_steps:
            return warm
        return warm * max(0.0, 1 - (step - self.trunk_steps) / self.decay_steps)


@dataclass
class Work:
    """Work since a rung, counted from the batches and kept in the checkpoints."""

    steps: int = 0
    tokens: int = 0
    scored_tokens: int = 0
    patches: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    recomputed_tokens: int = 0

    def add(self, batch: Batch, recomputed: bool = False) -> None:
        """Count a step, whose batch this is or is a part of, and whether its layers are computed twice."""
        tokens, targets, patches = batch.counts
        self.steps += batch.counts != NOTHING
        self.tokens += tokens
        self.scored_tokens += targets
        self.recomputed_tokens += tokens if recomputed else 0
        for name, number in patches.items():
            self.patches[name] = self.patches.get(name, 0) + number

    def flops(self, cost: Cost, optimizer: str) -> int:
        """Training FLOPs of this work, including the optimizer's own products."""
        muon_steps = self.steps if optimizer == "muon" else 0
        done = self.tokens, self.scored_tokens, self.patches
        return cost.training_flops(*done, muon_steps, self.recomputed_tokens)


class CandidateModule(L.LightningModule):
    """A decoder with its loss and its optimizer.

    Args:
        candidate: the configuration.
        suite: the tasks.
        schedule: of the learning rate.
        seed: seed of the weights.
        devices: that train it together.
    """

    def __init__(
        self,
        candidate: CandidateConfig,
        suite: SuiteRecord,
        schedule: Schedule,
        seed: int,
        devices: int = 1,
    ) -> None:
        super().__init__()
        self.devices, self.parts = devices, suite.accumulate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.decoder = Decoder(candidate.architecture, suite)
        self.decoder.embedding.all_learn = devices > 1  # a device's share may lack patches of an encoder
        if suite.checkpoint_activations:
            self.decoder.recompute_layers()
        self.recomputed = suite.checkpoint_activations
        self.routings: list[Routing] = []  # of the batch, until its backward pass has ended
        self.candidate = candidate
        self.schedule = schedule
        self.work = Work()
        self.meter = LossMeter(suite.tasks)

    def configure_model(self) -> None:
        """Divide the weights among the devices, if the strategy says so."""
        if self.device_mesh is not None:
            shard(self.decoder, self.device_mesh)

    def training_step(self, batch: Batch) -> Tensor:
        """Mean loss of each task weighted by its share of the sequences, plus the routers' losses.

        Several devices take the mean of their losses, and several parts of a batch as well: that of the whole
        step, since each multiplies its part of the tasks' losses by their number, and the routers' loss is a
        mean already.
        """
        hidden, routings = self.decoder(batch.tokens, batch.local, batch.patches, batch.segment)
        logits = self.decoder.logits(hidden.flatten(0, 1)[batch.at])
        losses = F.cross_entropy(logits.float(), batch.targets, reduction="none")
        loss = (losses * batch.weights).sum() * self.devices * self.parts
        self.meter.add(loss.detach(), losses.detach(), batch.task)
        self.work.add(batch, self.recomputed)
        self.routings = routings
        return loss + self.decoder.router_loss(routings)

    def on_after_backward(self) -> None:
        """Balance the experts; until now, layers that are computed again must choose the same ones."""
        self.decoder.rebalance(self.routings, 1 / self.parts)
        self.routings = []

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Take a step and free the gradients, which would otherwise add to the next step's activations."""
        optimizer.step(closure=optimizer_closure)
        optimizer.zero_grad()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Do nothing: `optimizer_step` has freed the gradients."""

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients; Lightning itself refuses to beside a fused optimiser in bf16."""
        torch.nn.utils.clip_grad_norm_(self.parameters(), GRADIENT_CLIP)

    def configure_optimizers(self) -> Any:
        """The candidate's optimizer, each parameter at its own rate."""
        candidate = self.candidate
        optimizer = make_optimizer(self.decoder, candidate.optimizer, candidate.learning_rate)
        # a bound method: the state of a callable object would be restored with a checkpoint
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule.factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class LossMeter:
    """Losses since they were last read, summed on the device so that no step waits for them."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self.tasks = tasks
        self._sums: Tensor | None = None  # (2, tasks + 1): sums and counts, by task and of all steps

    def add(self, loss: Tensor, losses: Tensor, task: Tensor) -> None:
        """Add a step's loss () and the losses (targets,) of targets of tasks (targets,)."""
        if self._sums is None:
            self._sums = torch.zeros(2, len(self.tasks) + 1, device=loss.device, dtype=torch.float32)
        both = torch.stack([losses.float(), torch.ones_like(losses, dtype=torch.float32)])
        self._sums.index_add_(1, task, both)
        self._sums[:, -1] += torch.stack([loss.float(), torch.ones_like(loss, dtype=torch.float32)])

    def read(self) -> tuple[float, dict[str, float]]:
        """Mean loss a step, and mean loss a target of each task that was seen; resets the sums.

        All devices read at the same step, and get the means of all.
        """
        assert self._sums is not None, "a meter is read after a step"
        sums = over_all_devices(self._sums)
        means = [value / count if count else None for value, count in sums.T.tolist()]
        self._sums.zero_()
        assert means[-1] is not None, "a meter is read after a step"
        by_task = {name: mean for name, mean in zip(self.tasks, means, strict=False) if mean is not None}
        return means[-1], by_task
