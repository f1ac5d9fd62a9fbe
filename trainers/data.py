"""Training batches as a pure function of (seed, step), so that a run resumes from nothing but its step.

Which task each sequence of a step belongs to comes from a low-discrepancy sequence whose shares equal the
mixture; which window of that task it is comes from a counter-based generator. Windows are cut from flat
arrays.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import count
from multiprocessing import parent_process
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from space.errors import TaskError
from space.mixture import TaskMixture
from space.records import SuiteRecord
from trainers.batch import NOTHING, Batch, Counts, Packed, pack, unpack
from trainers.lightning import L
from trainers.model.embedding import Patches
from trainers.tasks.episodes import DrawnEpisodes, Episodes
from trainers.tasks.registry import load_task
from trainers.tokens.sequence import Chunk

GOLDEN = (5**0.5 - 1) / 2
AHEAD = 4  # batches that each loader process keeps ready


@dataclass(frozen=True)
class Share:
    """A device's share of every batch: each `of`-th sequence from the one at `index` on."""

    index: int = 0
    of: int = 1

    def part(self, part: int, parts: int) -> "Share":
        """One of the parts that the device processes its share in."""
        return Share(self.index + self.of * part, self.of * parts)


WHOLE = Share()


@dataclass(frozen=True)
class Corpus:
    """All training episodes of one task, and where windows may be cut from them.

    Attributes:
        episodes: end to end.
        starts: (starts,) int64, tokens where a window may begin; a range where it may at any.
        firsts: (episodes,) int64, the first start of each episode; its instruction precedes it.
        prompt_share: share of the windows that begin with a demonstration.
    """

    episodes: Episodes
    starts: np.ndarray | range
    firsts: np.ndarray
    prompt_share: float = 0.0

    @classmethod
    def of(cls, task: str, episodes: Sequence[Chunk], prompt_share: float = 0.0) -> "Corpus":
        """Prepare a task's episodes.

        Raises:
            TaskError: there is nothing to train on.
        """
        if not episodes:
            raise TaskError(f"task '{task}' has training episodes with scored tokens, got 0 episodes")
        whole = Episodes.of(episodes)
        if whole.starts.all():
            starts, firsts = range(len(whole.tokens)), whole.offsets[:-1]
            begun = whole.offsets[:-1] < whole.offsets[1:]
        else:
            starts = np.flatnonzero(whole.starts)
            first = np.searchsorted(starts, whole.offsets[:-1])
            firsts = np.append(starts, len(whole.tokens))[first]
            begun = firsts < whole.offsets[1:]
        # nothing predicts an episode's first token
        later = int(np.count_nonzero(whole.scored)) - int(whole.scored[whole.offsets[:-1]].sum())
        if not begun.all() or not later:
            raise TaskError(
                f"task '{task}' has training episodes with scored tokens and places where a window may begin,"
                f" got {len(whole)} episodes, {int(begun.sum())} of them with such a place"
                f" and {later} scored tokens"
            )
        return cls(whole, starts, firsts, prompt_share)

    def __len__(self) -> int:
        return len(self.episodes.tokens)

    def window(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw a window: tokens from a random start on, then random episodes from their beginnings.

        A start is drawn among all, so an episode in proportion to its own. Its episode's instruction comes
        before it, and before that a demonstration in `prompt_share` of the windows.

        Returns:
            Which tokens fill the window, and which segment each belongs to: (length,) int64 each.
        """
        start = int(self.starts[rng.integers(len(self.starts))])
        episode = int(np.searchsorted(self.offsets, start, side="right")) - 1
        prompted = self.prompt_share > 0 and rng.random() < self.prompt_share
        prompt = self.prompt(rng, length // 2) if prompted else np.empty(0, dtype=np.int64)
        _, stop = self._span(episode)
        first = np.concatenate([prompt, self._instruction(episode), np.arange(start, stop)])
        begins, lengths = [np.empty(0, dtype=np.int64)], [np.array([len(first)])]
        missing = length - len(first)
        while missing > 0:
            drawn = rng.integers(len(self.episodes), size=1 + missing * len(self.episodes) // len(self))
            begins.append(self.offsets[drawn])
            lengths.append(self.offsets[drawn + 1] - begins[-1])
            missing -= int(lengths[-1].sum())
        counts = np.concatenate(lengths)
        segment = np.repeat(np.arange(len(counts)), counts)[:length]
        later = _ranges(np.concatenate(begins), counts[1:])
        return np.concatenate([first, later])[:length], segment

    def prompt(self, rng: np.random.Generator, most: int) -> np.ndarray:
        """Draw a demonstration: whole timesteps of an episode, half of the time its last ones.

        Its instruction precedes it (Gato, https://arxiv.org/abs/2205.06175, section 2.3).

        Args:
            rng: what draws it.
            most: tokens at most.

        Returns:
            Which tokens it has, (tokens,) int64; none where not even one timestep fits.
        """
        episode = int(rng.integers(len(self.episodes)))
        span = self._span(episode)
        instruction = self._instruction(episode)
        low, high = span if isinstance(self.starts, range) else np.searchsorted(self.starts, span)
        boundaries = np.append(self.starts[low:high], span[1])
        room = most - len(instruction)
        if rng.random() < 0.5:
            start, stop = boundaries[np.searchsorted(boundaries, boundaries[-1] - room)], boundaries[-1]
        else:
            start = boundaries[rng.integers(len(boundaries) - 1)]
            stop = boundaries[np.searchsorted(boundaries, start + room, side="right") - 1]
        if stop <= start:
            return np.empty(0, dtype=np.int64)
        return np.concatenate([instruction, np.arange(int(start), int(stop))])

    @cached_property
    def offsets(self) -> np.ndarray:
        """Where each episode begins, and the end; a plain array, of which a number is read at once."""
        return np.asarray(self.episodes.offsets)

    def _span(self, episode: int) -> tuple[int, int]:
        return int(self.offsets[episode]), int(self.offsets[episode + 1])

    def _instruction(self, episode: int) -> np.ndarray:
        first, _ = self._span(episode)
        return np.arange(first, int(self.firsts[episode]))


def _ranges(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whole numbers from each of some begins (count,) on, as many as its length, one run after another."""
    ends = np.cumsum(lengths)
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(lengths.sum())


def load_corpora(suite: SuiteRecord) -> dict[str, Corpus]:
    """The training data of every task of a suite; a worker keeps it, and all processes share its files."""
    return _corpora(suite.model_dump_json())


@lru_cache(maxsize=1)
def _corpora(suite_json: str) -> dict[str, Corpus]:
    suite = SuiteRecord.model_validate_json(suite_json)
    share = suite.prompt_share
    return {name: Corpus.of(name, load_task(name, suite).episodes(), share) for name in suite.tasks}


def step_tokens(suite: SuiteRecord) -> int:
    """Input tokens of one step of training: whole sequences, at least one."""
    return max(1, suite.batch_tokens // suite.context) * suite.context


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
        self._suite = suite
        self.corpora = [corpora[name] for name in suite.tasks]
        self.context = suite.context
        self.num_sequences = step_tokens(suite) // suite.context
        self.parts = suite.accumulate
        self.seed = seed
        self.tasks = suite.tasks
        shares = np.cumsum([mixture.weights.get(name, 0.0) for name in suite.tasks])
        self._bounds = shares / shares[-1]

    @cached_property
    def corpora(self) -> list[Corpus]:
        """Training data of the tasks, in their order; a copy in another process reads them from the cache."""
        corpora = load_corpora(self._suite)
        return [corpora[name] for name in self.tasks]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "corpora"}

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

    def batch(self, step: int, share: Share = WHOLE) -> Batch:
        """Assemble the batch of a step, or a device's share of it.

        All windows are drawn for every share, so a step has the same data on any number of devices.
        """
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, step]))
        tasks = self.schedule(np.array([step]))[0]
        corpora = [self.corpora[task] for task in tasks]
        windows = [corpus.window(rng, self.context + 1) for corpus in corpora]
        whole = [corpus.episodes for corpus in corpora]
        tokens, scored = (
            np.stack([getattr(e, field)[index] for e, (index, _) in zip(whole, windows, strict=True)])
            for field in ("tokens", "scored")
        )
        segment = np.stack([segment for _, segment in windows])
        followed = scored[:, 1:] & (segment[:, 1:] == segment[:, :-1])
        targets = np.bincount(tasks, weights=followed.sum(axis=1), minlength=len(self.corpora))
        weights = np.bincount(tasks, minlength=len(targets)) / (len(tasks) * np.maximum(targets, 1))
        counts = self._counts(whole, tokens[:, :-1], int(targets.sum()))

        draws = [(self.seed, step, sequence) for sequence in range(len(tasks))]
        mine = slice(share.index, None, share.of)
        whole, windows, tasks = whole[mine], windows[mine], tasks[mine]
        tokens, segment = tokens[mine].astype(np.int64), segment[mine]
        local = np.stack([e.local[index] for e, (index, _) in zip(whole, windows, strict=True)])
        at = np.flatnonzero(followed[mine])
        task = tasks[at // self.context]
        return Batch(
            tokens=torch.from_numpy(tokens[:, :-1]),
            local=torch.from_numpy(local.astype(np.int64)[:, :-1]),
            segment=torch.from_numpy(segment[:, :-1]),
            patches=self._patches(whole, [index[:-1] for index, _ in windows], draws[mine]),
            at=torch.from_numpy(at),
            targets=torch.from_numpy(tokens[:, 1:].ravel()[at]),
            weights=torch.from_numpy(weights[task].astype(np.float32)),
            task=torch.from_numpy(task),
            sequence_task=torch.from_numpy(tasks),
            counts=counts,
        )

    def _counts(self, whole: Sequence[Episodes], inputs: np.ndarray, targets: int) -> Counts:
        """What a step costs whose input tokens are (sequences, context)."""
        patches: dict[str, int] = {}
        for episodes, tokens in zip(whole, inputs, strict=True):
            for name, placeholder in episodes.placeholders.items():
                patches[name] = patches.get(name, 0) + int((tokens == placeholder).sum())
        return Counts(inputs.size, targets, patches)

    def _patches(
        self, whole: Sequence[Episodes], inputs: Sequence[np.ndarray], draws: Sequence[tuple[int, ...]]
    ) -> dict[str, Patches]:
        """The patches among the input tokens (context,) of each sequence, which have their own draw."""
        found: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
        for sequence, (episodes, index, draw) in enumerate(zip(whole, inputs, draws, strict=True)):
            for name, placeholder in episodes.placeholders.items():
                at, pixels = found.setdefault(name, ([], []))
                at.append(np.flatnonzero(episodes.tokens[index] == placeholder) + sequence * self.context)
                if isinstance(episodes, DrawnEpisodes):
                    pixels.append(episodes.drawn_at(name, index, draw))
                else:
                    pixels.append(episodes.patches_at(name, index))
        return {
            name: Patches(torch.from_numpy(np.concatenate(at)), torch.from_numpy(np.concatenate(pixels)))
            for name, (at, pixels) in found.items()
        }


class MixtureData(L.LightningDataModule):
    """A mixer's batches from the trainer's current step on.

    Args:
        mixer: assembles them.
        share: this device's.
        loaders: processes that assemble batches ahead of the training; with 0 the training process does. The
            batches are the same with any number.
    """

    def __init__(self, mixer: Mixer, share: Share = WHOLE, loaders: int = 0) -> None:
        super().__init__()
        self.mixer, self.share, self.loaders = mixer, share, loaders

    def train_dataloader(self) -> Iterable[Batch]:
        """Batches from the step that a checkpoint left off at."""
        assert self.trainer is not None
        loader = DataLoader(
            Steps(self.mixer, self.trainer.global_step, self.share),
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.loaders,
            multiprocessing_context="forkserver" if self.loaders else None,
            prefetch_factor=AHEAD if self.loaders else None,
            worker_init_fn=partial(_begin_loader, environment=dict(os.environ)) if self.loaders else None,
            pin_memory=torch.cuda.is_available(),
        )
        return Arriving(loader)


class Arriving:
    """Batches that a loader brings, packed or not."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Batch]:
        for brought in self._loader:
            yield unpack(brought) if isinstance(brought, Packed) else brought


class Steps(IterableDataset):
    """The batches of the steps from one on, each in parts if the suite says so.

    Of n loader processes each assembles and packs every n-th. PyTorch takes them from these in turn, so they
    arrive in order.
    """

    def __init__(self, mixer: Mixer, step: int, share: Share = WHOLE) -> None:
        self.mixer, self.step, self.share = mixer, step, share

    def __iter__(self) -> Iterator[Batch | Packed]:
        loader = get_worker_info()
        if loader is None:
            yield from map(self._batch, count())
            return
        for place in count(loader.id, loader.num_workers):
            yield pack(self._batch(place))

    def _batch(self, place: int) -> Batch:
        step, part = divmod(place, self.mixer.parts)
        batch = self.mixer.batch(self.step + step, self.share.part(part, self.mixer.parts))
        return batch._replace(counts=NOTHING) if part else batch  # the step is counted with its first part


def _as_it_is(brought: Any) -> Any:
    return brought


def _begin_loader(loader: int, environment: dict[str, str]) -> None:
    """Loader processes run beside the training: each has one core, and ends with it even if it is killed.

    What forks them keeps the environment of the first training, so they take that of theirs.
    """
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    training = parent_process()
    assert training is not None, "a loader process has been started by another"

    def watch() -> None:
        training.join()
        os._exit(1)

    threading.Thread(target=watch, name="training", daemon=True).start()
