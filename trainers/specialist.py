"""A small dense network trained on one task alone, through the pipeline that trains candidates.

It is what a task without a scripted expert is measured against, once (`pathfront tasks measure python-docs
--specialist trainers.specialist:dense_specialist`), and what shows that a task can be learnt at all
(`tests/benchmarks/specialists.py`).
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from space.candidate import Architecture, CandidateConfig
from space.contract import Budget, CheckpointKind
from space.mixture import TaskMixture
from space.records import SuiteRecord
from trainers.evaluate import ModelPolicy
from trainers.model.decoder import Decoder
from trainers.tasks.base import Policy
from trainers.tasks.sessions import BaseTask
from trainers.train import fit_candidate

ARCHITECTURE = Architecture(depth=5, width=96, expert_ratio=2, head_dim=32)  # at most 1M parameters
LEARNING_RATE = 3e-3
TOKENS = 8_000_000
DECAY_SHARE = 0.25
BATCH_TOKENS = 2048
SAY_EVERY = 500_000  # tokens


def dense_specialist(task: BaseTask, tokens: int = TOKENS) -> Policy:
    """Train a specialist of a shipped task under the settings of its suite; says on stderr how it gets on."""
    return ModelPolicy(train_specialist(task.suite, task.name, tokens, say=True))


def train_specialist(suite: SuiteRecord, task: str, tokens: int, say: bool = False) -> Decoder:
    """Train a small dense decoder on one task.

    Args:
        suite: sequence settings.
        task: its name.
        tokens: input tokens before the decay, which adds `DECAY_SHARE` of them.
        say: whether to say on stderr how the loss falls.
    """
    alone = suite.model_copy(update={"name": task, "tasks": (task,), "batch_tokens": BATCH_TOKENS})
    candidate = CandidateConfig(
        architecture=ARCHITECTURE, mixture=TaskMixture.uniform(alone.tasks), learning_rate=LEARNING_RATE
    )
    budget = Budget(tokens=tokens, decay_tokens=round(tokens * DECAY_SHARE), checkpoint_seconds=1e9)
    return fit_candidate(candidate, alone, budget, None, _Loud() if say else Silent()).decoder


class Silent:
    """A report that keeps nothing and says nothing: who is interrupted begins anew."""

    stopping = False

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Nobody asks."""

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Nothing is kept."""


class _Loud(Silent):
    """Says how the loss falls."""

    _said = 0

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Say where training stands, now and then."""
        if tokens - self._said >= SAY_EVERY:
            self._said = tokens
            print(f"specialist: {tokens:,} tokens, loss {loss:.3f}", file=sys.stderr, flush=True)
