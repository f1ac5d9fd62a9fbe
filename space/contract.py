"""The contract between the search and a trainer: what a trial may spend, and how it reports.

A trainer is a function `train_candidate(candidate, suite, budget, resume, report) -> Scorecard`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from space.records import Frozen, Split

CheckpointKind = Literal["trunk", "branch", "decayed"]


class Spent(Frozen):
    """What a trial has consumed.

    Attributes:
        tokens: input tokens of this trial, the decay branch included.
        training_flops: all work executed for training, in FLOPs.
        wall_seconds: training alone.
        evaluation_seconds: scoring alone.
        epochs: task -> how often its training data was seen, over the candidate's whole life.
        device: what it ran on.
    """

    tokens: int = 0
    training_flops: float = 0
    wall_seconds: float = 0
    evaluation_seconds: float = 0
    epochs: dict[str, float] = Field(default_factory=dict)
    device: str = "cpu"


class Budget(Frozen):
    """What one trial may spend: it takes a candidate from one rung to the next.

    Attributes:
        start_tokens: trunk tokens that the candidate has behind it; 0 at the first rung.
        tokens: trunk tokens that it has when the trial ends: the rung.
        decay_tokens: tokens of the decay branch that is forked at the rung and scored.
        rung: index of the rung, from 0.
        seed: seed of the weights and of the order of the data.
        split: episodes that score the trial.
        episodes: share of each task's evaluation episodes to use, in (0, 1]; subsets are nested.
        checkpoint_seconds: longest time between two checkpoints of the trunk.
        device: "cpu", "cuda" or "auto".
        precision: Lightning's name, such as "32-true" or "bf16-mixed".
        logger: Lightning logger: "csv", "tensorboard", "none" or a class by its path.
        log_dir: folder of the logger; None when nothing is logged to files.
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
    logger: str = "none"
    log_dir: str | None = None


class Report(Protocol):
    """How a running trial talks to whoever started it."""

    @property
    def stopping(self) -> bool:
        """Whether to stop at the next checkpoint; the trainer then raises `Interrupted`."""
        ...

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """One point of the training curve at a number of tokens of the candidate's life; renews the lease.

        Raises:
            LeaseLost: another worker has taken the trial over; stop at once.
        """
        ...

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Make a checkpoint durable: `save` writes one file to the path that it is given."""
        ...
