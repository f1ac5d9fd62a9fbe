"""Training batches as a pure function of (seed, step), so that a run resumes from nothing but its step.

Which task each sequence of a step belongs to comes from a low-discrepancy sequence whose shares equal the
mixture; which window of that task it is comes from a counter-based generator. Windows are cut from flat
arrays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from space.catalog import SuiteRecord
from space.errors import TaskError
from space.mixture import TaskMixture
from trainers.model.embedding import Patches
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

GOLDEN = (5**0.5 - 1) / 2


class Batch(NamedTuple):
    """One step's data.

    Attributes:
        tokens: (sequences, context) int64.
        local: (sequences, context) int64, position within the timestep.
        segment: (sequences, context) int64; attention stays within a segment.
        patches: encoder -> the patches among the tokens.
        at: (targets,) int64, index into the flattened tokens of what a target follows.
        targets: (targets,) int64.
        weights: (targets,) float32: the task's share of the sequences over its number of targets.
        task: (targets,) int64, index of the task of each target.
        sequence_task: (sequences,) int64.
    """

    tokens: Tensor
    local: Tensor
    segment: Tensor
    patches: dict[str, Patches]
    at: Tensor
    targets: Tensor
    weights: Tensor
    task: Tensor
    sequence_task: Tensor


@dataclass(frozen=True)
class Corpus:
    """All training episodes of one task, end to end.

    Attributes:
        tokens: (length,) int64.
        local: (length,) int64.
        scored: (length,) bool.
        starts: (starts,) int64, tokens where a window may begin.
        offsets: (episodes + 1,) int64, where each episode begins, and the end.
        patches: encoder -> (patches, patch_size) float32.
        before: encoder -> (length + 1,) int64, patches before each token.
    """

    tokens: np.ndarray
    local: np.ndarray
    scored: np.ndarray
    starts: np.ndarray
    offsets: np.ndarray
    patches: dict[str, np.ndarray]
    before: dict[str, np.ndarray]

    @classmethod
    def of(cls, task: str, episodes: Sequence[Chunk], vocabulary: Vocabulary) -> "Corpus":
        """Lay episodes end to end.

        Raises:
            TaskError: there is nothing to train on.
        """
        if not episodes or not any(len(e) > 1 and e.scored[1:].any() for e in episodes):
            raise TaskError(f"task '{task}' has training episodes with scored tokens, got {len(episodes)}")
        whole = Chunk.concat(episodes)
        encoders = list(whole.patches)
        return cls(
            tokens=whole.tokens.astype(np.int64),
            local=whole.local.astype(np.int64),
            scored=whole.scored,
            starts=np.flatnonzero(whole.starts),
            offsets=np.cumsum([0, *(len(e) for e in episodes)]),
            patches={name: whole.patches[name] for name in encoders},
            before={
                name: np.cumsum(np.r_[0, whole.tokens == vocabulary.placeholder(name)]) for name in encoders
            },
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def window(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw a window: tokens from a random start on, then random episodes from their beginnings.

        A start is drawn among all, so an episode in proportion to its own.

        Returns:
            Which tokens fill the window, and which segment each belongs to: (length,) int64 each.
        """
        start = self.starts[rng.integers(len(self.starts))]
        end = self.offsets[np.searchsorted(self.offsets, start, side="right")]
        begins, sizes = [np.array([start])], [np.array([end - start])]
        missing = length - int(end - start)
        while missing > 0:
            number = 1 + missing * (len(self.offsets) - 1) // len(self)
            drawn = rng.integers(len(self.offsets) - 1, size=number)
            begins.append(self.offsets[drawn])
            sizes.append(self.offsets[drawn + 1] - self.offsets[drawn])
            missing -= int(sizes[-1].sum())
        size = np.concatenate(sizes)
        segment = np.repeat(np.arange(len(size)), size)[:length]
        shift = np.concatenate(begins) - (np.cumsum(size) - size)
        return np.arange(length) + shift[segment], segment


class Mixer:
    """The batches of a mixture over some corpora: `batch(step)` is the same whenever it is asked.

    Args:
        corpora: task -> its training data, for every task of the suite.
        mixture: share of the sequences by task.
        suite: context and tokens in a batch.
        seed: which of all orders of the data.
    """

    def __init__(
        self, corpora: Mapping[str, Corpus], mixture: TaskMixture, suite: SuiteRecord, seed: int
    ) -> None:
        self.corpora = [corpora[name] for name in suite.tasks]
        self.context = suite.context
        self.num_sequences = max(1, suite.batch_tokens // suite.context)
        self.seed = seed
        self.tasks = suite.tasks
        shares = np.cumsum([mixture.weights.get(name, 0.0) for name in suite.tasks])
        self._bounds = shares / shares[-1]

    @property
    def step_tokens(self) -> int:
        """Input tokens of one step."""
        return self.num_sequences * self.context

    def schedule(self, steps: np.ndarray) -> np.ndarray:
        """Index of the task of each sequence of some steps. Shape (steps, sequences).

        The sequences of a step lie at even distances on [0, 1), shifted by the golden ratio from step to
        step: each task gets its share rounded up or down in every step, and its share over many.
        """
        shift = ((steps + self.seed + 1) * GOLDEN) % 1.0
        points = (np.arange(self.num_sequences) + shift[:, None]) / self.num_sequences
        return np.searchsorted(self._bounds[:-1], points, side="right")

    def epochs(self, steps: int) -> dict[str, float]:
        """How often each task's data has been seen after the first `steps` steps."""
        drawn = np.bincount(self.schedule(np.arange(steps)).ravel(), minlength=len(self.corpora))
        seen = drawn * self.context / [len(corpus) for corpus in self.corpora]
        return dict(zip(self.tasks, seen.tolist(), strict=True))

    def batch(self, step: int) -> Batch:
        """Assemble the batch of a step."""
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, step]))
        tasks = self.schedule(np.array([step]))[0]
        corpora = [self.corpora[task] for task in tasks]
        windows = [corpus.window(rng, self.context + 1) for corpus in corpora]
        tokens, local, scored = (
            np.stack([getattr(c, field)[index] for c, (index, _) in zip(corpora, windows, strict=True)])
            for field in ("tokens", "local", "scored")
        )
        segment = np.stack([segment for _, segment in windows])
        at = np.flatnonzero(scored[:, 1:] & (segment[:, 1:] == segment[:, :-1]))
        task = tasks[at // self.context]
        targets = np.bincount(task, minlength=len(self.corpora))
        weights = np.bincount(tasks, minlength=len(targets)) / (len(tasks) * np.maximum(targets, 1))
        return Batch(
            tokens=torch.from_numpy(tokens[:, :-1]),
            local=torch.from_numpy(local[:, :-1]),
            segment=torch.from_numpy(segment[:, :-1]),
            patches=self._patches(corpora, [index[:-1] for index, _ in windows]),
            at=torch.from_numpy(at),
            targets=torch.from_numpy(tokens[:, 1:].ravel()[at]),
            weights=torch.from_numpy(weights[task].astype(np.float32)),
            task=torch.from_numpy(task),
            sequence_task=torch.from_numpy(tasks),
        )

    def _patches(self, corpora: Sequence[Corpus], inputs: Sequence[np.ndarray]) -> dict[str, Patches]:
        """The patches among the input tokens (context,) of each sequence."""
        found: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
        for sequence, (corpus, index) in enumerate(zip(corpora, inputs, strict=True)):
            for name, before in corpus.before.items():
                which = before[index]
                here = np.flatnonzero(before[index + 1] > which)
                at, pixels = found.setdefault(name, ([], []))
                at.append(here + sequence * self.context)
                pixels.append(corpus.patches[name][which[here]])
        return {
            name: Patches(torch.from_numpy(np.concatenate(at)), torch.from_numpy(np.concatenate(pixels)))
            for name, (at, pixels) in found.items()
        }


class MixtureData(L.LightningDataModule):
    """A mixer's batches from the trainer's current step on."""

    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def train_dataloader(self) -> DataLoader:
        """Batches from the step that a checkpoint left off at."""
        assert self.trainer is not None
        stream = _Stream(self.mixer, self.trainer.global_step)
        return DataLoader(stream, batch_size=None, pin_memory=torch.cuda.is_available())


class _Stream(IterableDataset):
    def __init__(self, mixer: Mixer, step: int) -> None:
        self.mixer = mixer
        self.step = step

    def __iter__(self) -> Iterator[Batch]:
        step = self.step
        while True:
            yield self.mixer.batch(step)
            step += 1
