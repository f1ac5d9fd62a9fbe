"""The contract between the search and a trainer: the budget of a trial, and its reports.

A trainer is a function `train_candidate(candidate, suite, budget, resume, report) -> Scorecard`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from space.records import Frozen, Split

CheckpointKind = Literal["trunk", "branch", "decayed"]
Strategy = Literal["ddp", "fsdp"]


class Spent(Frozen):
    """The resources that a trial has consumed.

    Attributes:
        tokens: input tokens of this trial, including the decay branch.
        training_flops: FLOPs of all training work.
        wall_seconds: seconds of training.
        evaluation_seconds: seconds of scoring.
        epochs: task -> passes over its training data, from the candidate's first step on.
        device: the device it ran on.
    """

    tokens: int = 0
    training_flops: float = 0
    wall_seconds: float = 0
    evaluation_seconds: float = 0
    epochs: dict[str, float] = Field(default_factory=dict)
    device: str = "cpu"


class Budget(Frozen):
    """The budget of one trial, which trains a candidate from one rung to the next.

    Attributes:
        start_tokens: trunk tokens at the start of the trial; 0 at the first rung.
        tokens: trunk tokens at the end of the trial: the rung.
        decay_tokens: tokens of the decay branch, which starts at the rung and is scored.
        rung: index of the rung, from 0.
        seed: seed of the weights and of the data order.
        split: the episodes on which the trial is scored.
        episodes: share of each task's evaluation episodes to use, in (0, 1]; subsets are nested.
        checkpoint_seconds: longest time between two checkpoints of the trunk.
        device: "cpu", "cuda" or "auto".
        precision: Lightning's name, such as "32-true" or "bf16-mixed".
        devices: that train the candidate together, each with its share of every batch.
        loaders: processes for each device that assemble batches ahead; 0 leaves it to the training process.
        compile: whether the layers are compiled before the first step.
        strategy: "ddp": each device holds all weights; "fsdp": it holds its share of them, of the gradients
            and of the optimizer's state.
        logger: Lightning logger: "csv", "tensorboard", "none" or a class by its path.
        log_dir: folder of the logger; None if the logger writes no files.
    """

    start_tokens: int = Field(default=0, ge=0)
    tokens: int = Field(gt=0)
    decay_tokens: int = Field(ge=0)
    rung: int = Field(default=0, ge=0)
    seed: int = 0
    split: Split = "select"
    episodes: float = Field(default=1.0, gt=0, le=1)
    checkpoint_seconds: float = Field(default=30.0, gt=0)
    device: str = "auto"
    precision: str = "32-true"
    devices: int = Field(default=1, ge=1)
    loaders: int = Field(default=0, ge=0)
    compile: bool = False
    strategy: Strategy = "ddp"
    logger: str = "none"
    log_dir: str | None = None


class Report(Protocol):
    """How a running trial reports to the worker that started it."""

    @property
    def stopping(self) -> bool:
        """Whether to stop at the next checkpoint; the trainer then raises `Interrupted`."""
        ...

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Report one point of the training curve, and renew the lease.

        Args:
            tokens: tokens that the candidate was trained on so far, all rungs included.
            loss: training loss.
            task_losses: task -> training loss.

        Raises:
            LeaseLost: another worker has taken the trial over; stop at once.
        """
        ...

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Store a checkpoint durably.

        Args:
            save: writes one file at the path that it is given.
            tokens: tokens that the candidate was trained on so far.
            kind: trunk, interrupted decay branch, or decayed weights.
        """
        ...


class Silent:
    """A report that discards everything: an interrupted training starts again."""

    stopping = False

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Do nothing."""

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Do nothing."""
