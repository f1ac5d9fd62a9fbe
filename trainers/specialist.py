"""A small dense network trained on one task alone, through the pipeline that trains candidates.

It is the expert of tasks that have no scripted one, measured once (`pathfront tasks measure python-docs
--specialist trainers.specialist:dense_specialist`), and it shows that a task can be learned
(`tests/benchmarks/specialists.py`).
"""

import sys
import time
from collections.abc import Mapping

from space.candidate import Architecture, CandidateConfig
from space.contract import Budget, Report, Silent
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
MINUTES = 30.0
PILOT = 65_536  # tokens that tell how fast a task is trained on
DECAY_SHARE = 0.25
BATCH_TOKENS = 2048
SAY_EVERY = 500_000  # tokens


def dense_specialist(task: BaseTask, tokens: int = TOKENS, minutes: float = MINUTES) -> Policy:
    """Train a specialist of a task under the settings of its suite, with progress on stderr.

    Args:
        task: the task.
        tokens: input tokens before the decay.
        minutes: that the training may take. How many tokens that is, is found by training on a few first;
            where it is fewer than `tokens`, so many are trained on.
    """
    first = _Timed()
    pilot = train_specialist(task.suite, task.name, PILOT, first)
    fitting = round(first.rate * 60 * minutes / (1 + DECAY_SHARE))
    chosen = max(PILOT, min(tokens, fitting))
    print(f"specialist: {chosen:,} of {tokens:,} tokens, {minutes:g} minutes at most", file=sys.stderr)
    if chosen == PILOT:
        return ModelPolicy(pilot)
    return ModelPolicy(train_specialist(task.suite, task.name, chosen, _Loud()))


def train_specialist(suite: SuiteRecord, task: str, tokens: int, report: Report | None = None) -> Decoder:
    """Train a small dense decoder on one task.

    Args:
        suite: sequence settings.
        task: its name.
        tokens: input tokens before the decay, which adds `DECAY_SHARE` of them.
        report: receives the progress; None for nobody.
    """
    alone = suite.model_copy(update={"name": task, "tasks": (task,), "batch_tokens": BATCH_TOKENS})
    candidate = CandidateConfig(
        architecture=ARCHITECTURE, mixture=TaskMixture.uniform(alone.tasks), learning_rate=LEARNING_RATE
    )
    budget = Budget(tokens=tokens, decay_tokens=round(tokens * DECAY_SHARE), checkpoint_seconds=1e9)
    return fit_candidate(candidate, alone, budget, None, report or Silent()).decoder


class _Timed(Silent):
    """Tells tokens per second, without what comes before the first step."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Note the time."""
        self._seen.append((time.perf_counter(), tokens))

    @property
    def rate(self) -> float:
        """Tokens per second."""
        (begun, before), (now, tokens) = self._seen[0], self._seen[-1]
        return (tokens - before) / (now - begun)


class _Loud(Silent):
    """Prints the loss."""

    _said = 0

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Print tokens and loss every `SAY_EVERY` tokens."""
        if tokens - self._said >= SAY_EVERY:
            self._said = tokens
            print(f"specialist: {tokens:,} tokens, loss {loss:.3f}", file=sys.stderr, flush=True)
