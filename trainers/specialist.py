"""A small dense network trained on one task alone, through the pipeline that trains candidates.

It is the expert of tasks that have no scripted one, measured once (`pathfront tasks measure python-docs
--specialist trainers.specialist:dense_specialist`), and it shows that a task can be learned
(`tests/benchmarks/specialists.py`).
"""

import sys
from collections.abc import Mapping

from space.candidate import Architecture, CandidateConfig
from space.contract import Budget, Silent
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
    """Train a specialist of a shipped task under the settings of its suite, with progress on stderr."""
    return ModelPolicy(train_specialist(task.suite, task.name, tokens, say=True))


def train_specialist(suite: SuiteRecord, task: str, tokens: int, say: bool = False) -> Decoder:
    """Train a small dense decoder on one task.

    Args:
        suite: sequence settings.
        task: its name.
        tokens: input tokens before the decay, which adds `DECAY_SHARE` of them.
        say: whether to print the loss to stderr.
    """
    alone = suite.model_copy(update={"name": task, "tasks": (task,), "batch_tokens": BATCH_TOKENS})
    candidate = CandidateConfig(
        architecture=ARCHITECTURE, mixture=TaskMixture.uniform(alone.tasks), learning_rate=LEARNING_RATE
    )
    budget = Budget(tokens=tokens, decay_tokens=round(tokens * DECAY_SHARE), checkpoint_seconds=1e9)
    return fit_candidate(candidate, alone, budget, None, _Loud() if say else Silent()).decoder


class _Loud(Silent):
    """Prints the loss."""

    _said = 0

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Print tokens and loss every `SAY_EVERY` tokens."""
        if tokens - self._said >= SAY_EVERY:
            self._said = tokens
            print(f"specialist: {tokens:,} tokens, loss {loss:.3f}", file=sys.stderr, flush=True)
