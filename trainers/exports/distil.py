"""Distil a pruned decoder from its parent on a small share of the tokens.

The loss mixes the divergence from the parent's distribution with the cross-entropy of the data, both over the
scored positions and weighted by task as in any training (Hinton 2015, https://arxiv.org/abs/1503.02531;
Minitron, https://arxiv.org/abs/2407.14679, section 3).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from space.candidate import CandidateConfig
from space.contract import Budget, Report
from trainers.batch import Batch
from trainers.data import Mixer, MixtureData
from trainers.model.decoder import Decoder
from trainers.model.routing import Routing
from trainers.module import CandidateModule, Schedule, Work
from trainers.train import fit
from trainers.trial import Trial

PARENT_SHARE = 0.5  # of the divergence from the parent in the loss
RATE_SHARE = 0.3  # of the candidate's learning rate: at the whole of it, what pruning has kept is lost
WARMUP_SHARE = 0.05  # of the steps


@dataclass(frozen=True)
class Fade(Schedule):
    """A short warm-up, then linearly to 0: no later training resumes, so there is no trunk."""

    def factor(self, step: int) -> float:
        """Factor of the learning rate at a step."""
        warm = min(1.0, (step + 1) / (1 + WARMUP_SHARE * self.steps))
        return warm * max(0.0, 1 - step / self.steps)


class DistilModule(CandidateModule):
    """A pruned decoder with its parent, and a loss that mixes data and the parent's distribution.

    Args:
        candidate: the pruned architecture and the learning rate.
        schedule: how long.
        child: where the weights start.
        parent: what it learns from; it is frozen and no part of a checkpoint.
    """

    def __init__(
        self, candidate: CandidateConfig, schedule: Schedule, child: Decoder, parent: Decoder
    ) -> None:
        super().__init__(candidate, child.suite, schedule, seed=0)
        self.decoder.load_state_dict(child.state_dict())
        self._parent = (parent.eval(),)  # in a tuple, or Lightning would train and save it

    def on_fit_start(self) -> None:
        """Take the parent to where the child is."""
        self._parent[0].to(self.device)

    def training_step(self, batch: Batch) -> Tensor:
        """The mixed loss of each task weighted by its share of the sequences, plus the routers' losses."""
        logits, routings = answers(self.decoder, batch)
        with torch.no_grad():
            wanted, _ = answers(self._parent[0], batch)
        entropy = F.cross_entropy(logits, batch.targets, reduction="none")
        losses = PARENT_SHARE * divergence(logits, wanted) + (1 - PARENT_SHARE) * entropy
        loss = (losses * batch.weights).sum() * self.parts
        self.meter.add(loss.detach(), losses.detach(), batch.task)
        self.work.add(batch, self.recomputed)
        self.routings = routings
        return loss + self.decoder.router_loss(routings)


def divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each target's distribution from the parent's, in nats: (targets,).

    Args:
        logits: (targets, vocabulary) of the child.
        wanted: (targets, vocabulary) of the parent.
    """
    ours, theirs = F.log_softmax(logits, dim=-1), F.log_softmax(wanted, dim=-1)
    return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=-1)


class Distilled(NamedTuple):
    """A retrained pruned decoder, and the work of its training."""

    decoder: Decoder
    work: Work


def distil(
    child: Decoder,
    parent: Decoder,
    candidate: CandidateConfig,
    mixer: Mixer,
    budget: Budget,
    resume: Path | None,
    report: Report,
) -> Distilled:
    """Retrain a copy of a pruned decoder with its parent; neither argument is changed.

    Args:
        child: where the weights start.
        parent: what it learns from.
        candidate: the child's architecture, and the learning rate of its parent's training.
        mixer: the data.
        budget: how many tokens.
        resume: checkpoint of an earlier call with the same arguments.
        report: takes progress and checkpoints, and may ask to stop.

    Raises:
        CheckpointError: `resume` is missing, damaged or another candidate's.
        Interrupted: a stop was requested; the training can be resumed from its last checkpoint.
        PathfrontError: training diverged.
    """
    schedule = Fade(distil_steps(mixer, budget), 0)
    gentle = candidate.model_copy(update={"learning_rate": RATE_SHARE * candidate.learning_rate})
    trial = Trial(gentle, budget, report, schedule, mixer.step_tokens)
    if resume is not None:
        trial.check_resumable(resume)
    module = DistilModule(gentle, schedule, child, parent)
    fit(module, MixtureData(mixer), trial, resume)
    return Distilled(module.decoder, module.work)


def distil_steps(mixer: Mixer, budget: Budget) -> int:
    """Whole steps within a budget, at least one."""
    return max(1, budget.tokens // mixer.step_tokens)


def answers(decoder: Decoder, batch: Batch) -> tuple[Tensor, list[Routing]]:
    """Logits (targets, vocabulary) float32 at the scored positions, and the routing of each sparse layer."""
    hidden, routings = decoder(batch.tokens, batch.local, batch.patches, batch.segment)
    return decoder.logits(hidden.flatten(0, 1)[batch.at]).float(), routings
