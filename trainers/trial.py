"""Lightning callback of a trial: curve points, checkpoints of the trunk and the branch, and stopping."""

import math
import pickle
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from space.candidate import CandidateConfig
from space.contract import Budget, Report
from space.errors import CheckpointError, Diverged, Interrupted, one_line
from trainers.group import ALONE, Member
from trainers.lightning import L
from trainers.module import CandidateModule, Schedule, Work

CURVE_POINTS = 50  # of a trial
REPORT_SECONDS = 5.0  # maximum time between two curve points, which renew the lease
STOPPED = "stopped as asked; the trial resumes from its last checkpoint"
STATE = "pathfront"  # key of our part of a checkpoint
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)


class Trial(L.Callback):
    """Passes progress and checkpoints to the report while Lightning trains.

    A checkpoint is Lightning's own plus the identity of the candidate, the work since the previous rung
    and the random state. The position in the data is derived from the step.

    Args:
        candidate: what is trained.
        budget: from where, to where.
        report: receives progress and checkpoints.
        schedule: the same in steps.
        step_tokens: tokens of a step.
        keep_end: whether the end of the decay branch is a checkpoint as well, so that an interrupted scoring
            needs no step to be trained again.
        member: this process of those that train together; what the first decides, all do.
    """

    def __init__(
        self,
        candidate: CandidateConfig,
        budget: Budget,
        report: Report,
        schedule: Schedule,
        step_tokens: int,
        keep_end: bool = False,
        member: Member = ALONE,
    ) -> None:
        self.candidate = candidate
        self.budget = budget
        self.report = report
        self.schedule = schedule
        self.step_tokens = step_tokens
        self.keep_end = keep_end
        self.member = member
        first = round(budget.start_tokens / step_tokens)
        self._first = first
        self._every = max(1, (schedule.steps - first) // CURVE_POINTS)
        self._clock = self._saved = self._reported_at = 0.0

    def stop_if_asked(self) -> None:
        """Raise Interrupted if a stop was requested, without saving.

        Raises:
            Interrupted: a stop was requested.
        """
        if self.report.stopping:
            raise Interrupted(STOPPED)

    def check_resumable(self, path: Path) -> int:
        """Check that a checkpoint is intact, this candidate's, and of this trial's trunk or decay branch.

        Returns:
            The step that it was saved at.

        Raises:
            CheckpointError: it is not.
        """
        if not path.is_file():
            raise CheckpointError(f"a trial resumes a checkpoint that exists, and '{path}' does not")
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            step, state = found["global_step"], found[STATE]
        except UNREADABLE as error:
            reason = one_line(error, 120)
            raise CheckpointError(f"checkpoint '{path}' is damaged and cannot be read: {reason}") from None
        ours = self._identity()
        theirs = {key: state.get(key) for key in ours}
        if theirs != ours:
            raise CheckpointError(
                f"checkpoint '{path.name}' belongs to another run: needs {ours}, got {theirs}"
            )
        branch = state.get("branch")
        if branch is not None:
            if branch != self._branch():
                raise CheckpointError(
                    f"checkpoint '{path.name}' is from the decay branch of another rung: needs"
                    f" {self._branch()}, got {branch}"
                )
        elif not self._first <= step <= self.schedule.trunk_steps:
            low, high = self._first * self.step_tokens, self.schedule.trunk_steps * self.step_tokens
            raise CheckpointError(
                f"checkpoint '{path.name}' must be between the rungs at {low} and {high} tokens,"
                f" got {step * self.step_tokens}"
            )
        return int(step)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clocks."""
        self._clock = self._saved = self._reported_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report progress, save a checkpoint and stop when due."""
        assert isinstance(pl_module, CandidateModule)
        now, step = time.monotonic(), trainer.global_step
        pl_module.work.seconds += now - self._clock
        self._clock = now
        if (batch_idx + 1) % pl_module.parts:
            return
        stopping = self.report.stopping
        in_branch = step > self.schedule.trunk_steps
        milestone = step == self.schedule.trunk_steps or (self.keep_end and step == self.schedule.steps)
        save = milestone or stopping or now - self._saved >= self.budget.checkpoint_seconds
        regular = step % self._every == 0 or step == self.schedule.steps
        due = save or regular or now - self._reported_at >= REPORT_SECONDS
        stopping, save, due = self.member.agreed(stopping, save, due)
        if due:
            self._report_progress(trainer, pl_module, step)
            self._reported_at = now
        if save:
            kind = "branch" if in_branch else "trunk"
            self.report.checkpoint(trainer.save_checkpoint, step * self.step_tokens, kind)
            self._saved = time.monotonic()
        if stopping:
            raise Interrupted(STOPPED)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add our part to Lightning's checkpoint."""
        assert isinstance(pl_module, CandidateModule)
        checkpoint[STATE] = {
            **self._identity(),
            "start_tokens": self.budget.start_tokens,
            "work": asdict(pl_module.work),
            "random": torch.get_rng_state(),
            "branch": self._branch() if trainer.global_step > self.schedule.trunk_steps else None,
        }

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the work since the previous rung and the random state."""
        assert isinstance(pl_module, CandidateModule)
        state = checkpoint[STATE]
        if state["start_tokens"] == self.budget.start_tokens:
            pl_module.work = Work(**state["work"])
        torch.set_rng_state(state["random"])

    def _identity(self) -> dict[str, Any]:
        """Fields of a checkpoint that must be equal for it to be resumed."""
        return {
            "candidate": self.candidate.id,
            "seed": self.budget.seed,
            "step_tokens": self.step_tokens,
        }

    def _branch(self) -> dict[str, int]:
        """Fields that distinguish this trial's decay branch from those of other rungs."""
        return {"trunk_steps": self.schedule.trunk_steps, "decay_steps": self.schedule.decay_steps}

    def _report_progress(self, trainer: L.Trainer, module: CandidateModule, step: int) -> None:
        loss, task_losses = module.meter.read()
        if not math.isfinite(loss):
            raise Diverged(
                f"training diverged: the loss is {loss} before step {step} at learning rate"
                f" {self.candidate.learning_rate:g}; try a lower learning rate"
            )
        stage = "decay/" if step > self.schedule.trunk_steps else ""
        by_task = {f"{stage}loss/{name}": value for name, value in task_losses.items()}
        _log(trainer, {f"{stage}loss": loss, **by_task}, step)
        self.report.progress(step * self.step_tokens, loss, task_losses)


def _log(trainer: L.Trainer, values: Mapping[str, float], step: int) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(dict(values), step)
        logger.save()
