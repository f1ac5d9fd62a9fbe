"""A small dense network trained on one task alone, through the pipeline that trains candidates.

It is what a task without a scripted expert is measured against, once:
`python -m trainers.tasks.measure --task python-docs --specialist trainers.specialist:dense_specialist`.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file

from space.candidate import Architecture, CandidateConfig
from space.catalog import load_catalog
from space.mixture import TaskMixture
from space.scores import Budget, CheckpointKind
from trainers.evaluate import ModelPolicy
from trainers.model.decoder import Decoder
from trainers.tasks.base import Policy, Task
from trainers.train import train_candidate

ARCHITECTURE = Architecture(depth=4, width=128, expert_ratio=2, head_dim=32)  # 0.9M parameters
LEARNING_RATE = 2e-3
TOKENS = 8_000_000
DECAY_TOKENS = 2_000_000
BATCH_TOKENS = 2048
SAY_EVERY = 500_000  # tokens


def dense_specialist(task: Task) -> Policy:
    """Train a specialist of a shipped task; says on stderr how it gets on."""
    suite = load_catalog().subset("quick", (task.name,)).model_copy(update={"batch_tokens": BATCH_TOKENS})
    candidate = CandidateConfig(
        architecture=ARCHITECTURE, mixture=TaskMixture.uniform(suite.tasks), learning_rate=LEARNING_RATE
    )
    budget = Budget(tokens=TOKENS, decay_tokens=DECAY_TOKENS, checkpoint_seconds=1e9)
    with tempfile.TemporaryDirectory(prefix="pathfront-") as folder:
        path = Path(folder) / "weights"
        train_candidate(candidate, suite, budget, None, _Report(path))
        decoder = Decoder(candidate.architecture, suite)
        decoder.load_state_dict(load_file(path))
    return ModelPolicy(decoder)


class _Report:
    """Keeps the decayed weights and says how the loss falls."""

    stopping = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said = 0

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Say where training stands, now and then."""
        if tokens - self._said >= SAY_EVERY:
            self._said = tokens
            print(f"specialist: {tokens:,} tokens, loss {loss:.3f}", file=sys.stderr, flush=True)

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Keep the weights at the end."""
        if kind == "decayed":
            save(self._path)
