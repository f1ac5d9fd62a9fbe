"""Demonstrations that the user added, as a task of control: learnt from the data, scored in the environment.

The policy that made the demonstrations is not there. The expert is the best of three: the demonstrations' own
mean return, a clone of them (`clone`) and the nearest of their steps (`retrieval`), which are played.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from space.errors import StudyFileError, TaskError
from space.records import Sense, Split, SuiteRecord
from trainers.tasks.base import Policy
from trainers.tasks.cache import CACHE, cached_arrays
from trainers.tasks.control import ControlSession
from trainers.tasks.datasets.clone import ClonePolicy, clone_of
from trainers.tasks.datasets.demonstrations import Demonstrations, demonstrations_of
from trainers.tasks.datasets.environments import (
    cached_spec,
    check_spec,
    distribution_of,
    make_environment,
    quiet,
)
from trainers.tasks.datasets.layout import GRID, IMAGE, SIDE, Layout, check_length
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.recorded import start_of
from trainers.tasks.datasets.spaces import Actor, Rows, encode, read_row
from trainers.tasks.episodes import Episodes
from trainers.tasks.mapped import Growing
from trainers.tasks.parts.grids import GRID_SIZE, VIEW
from trainers.tasks.sessions import SessionTask
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer

FAMILY = "added"
PLAYED = 30_000  # steps that measure a policy, as far as the limits below allow
REFERENCE, EVAL = (40, 200), (8, 32)  # fewest and most episodes that measure a policy, that score a trial
MOST_CONSTANTS = 32
SCALES = {  # of patches on the disk: the bytes of an image, and the bits of one-hot cells
    IMAGE: np.array([-1 / SIDE**0.5, 2 / 255 / SIDE**0.5, SIDE * SIDE * 3, 0]),
    GRID: np.array([0, 1 / VIEW**0.5, GRID_SIZE, 1]),
}
ALIKE = "episodes of its environment start alike, so a start does not tell them apart; their seeds differ"


class RecoveredSession(ControlSession):
    """One episode of the environment; its value is the sum of its rewards."""

    def __init__(self, task: "AddedControl", seed: int) -> None:
        self.task = task
        self.actions: Actor = task.actions
        self.env = make_environment(task.environment)
        with quiet():
            self.seen = read_row(task.layout.leaves, self.env.reset(seed=seed)[0])
        instruction = task.tokenizer.encode(self.seen.text) if self.seen.text else ()
        super().__init__(task.vocabulary, self.actions.spec, task.about.limit, instruction)

    def look(self) -> Chunk:
        """The environment's observation."""
        return self.task.layout.chunks(self.seen)[0]

    def expert(self) -> np.ndarray:
        """The action of the clone."""
        return ClonePolicy(clone_of(self.task.dataset)).choose(self)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Any action."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Act; return True when the environment has ended."""
        action = self.task.about.actions.native(self.actions.decode(tokens))
        with quiet():
            observation, gained, terminated, truncated, _ = self.env.step(action)
        self.value += float(gained)
        over = bool(terminated or truncated)
        if over or self.steps >= self.limit:
            self.env.close()
        else:
            new = read_row(self.task.layout.leaves, observation)
            self.seen = replace(new, text=self.seen.text)
        return over


class AddedControl(SessionTask):
    """Demonstrations, and their environment.

    Args:
        dataset: the data.
        suite: sequence settings.
        tokenizer: the suite's.
        train_episodes: how many demonstrations are used; all when None.

    Raises:
        TaskError: a timestep does not fit into the suite's context.
        MachineError: a package of the environment is missing.
    """

    domain: str
    modality: Sense
    family = FAMILY
    metric = "return"
    unit = "reward"
    expert_name = "clone"

    def __init__(
        self, dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.dataset = dataset
        self.name = dataset.manifest.name
        self.shown = demonstrations_of(dataset)
        self.about = self.shown.about
        self.environment = cached_spec(self.about.environment)
        check_spec(self.environment)
        self.packages = tuple(
            sorted({"gymnasium", "numpy", "scikit-learn", distribution_of(self.environment)})
        )
        self.num_train_episodes = len(self.shown)
        self.reference_episodes = int(np.clip(PLAYED // self.about.limit, *REFERENCE))
        self.eval_episodes = int(np.clip(PLAYED // self.about.limit, *EVAL))
        self.modality = self.domain = _sense(self.shown)
        if self.about.alike:
            self.memorisable, self.inapplicable = True, {"disjoint": ALIKE}
        super().__init__(suite, tokenizer, train_episodes)
        self.train_episodes = min(self.train_episodes, len(self.shown))
        self.actions = self.about.actions.actor(self.vocabulary)
        self.layout = Layout(self.about.observations, self.vocabulary)
        longest = len(tokenizer.encode(self.shown.longest_mission()))
        check_length(
            f"task '{self.name}'", self.layout.length, self.actions.spec.length, longest, suite.context
        )

    def session(self, split: Split, index: int) -> RecoveredSession:
        """Start as the environment does."""
        return RecoveredSession(self, self.seed(split, index))

    def identity(self, split: Split, index: int) -> bytes:
        """The first observation: of a demonstration, or of an episode that is held out."""
        if split == "train":
            return start_of(self.shown.seen(index % len(self.shown), first=True))
        return start_of(self.session(split, index).seen)

    def tokens_of(self, observation: Any) -> Chunk:
        """The environment's observation."""
        return self.layout.chunks(self._read(observation))[0]

    def mission_of(self, observation: Any) -> np.ndarray | None:
        """The text in an observation."""
        text = self._read(observation).text
        return self.tokenizer.encode(text) if text else None

    def constants(self) -> list[np.ndarray]:
        """Constant actions, and the most frequent one of the demonstrations, or their mean."""
        found, done = self.actions.constants(), self.shown.actions
        if len(found) > MOST_CONSTANTS:
            low, high = np.array(self.about.actions.low), np.array(self.about.actions.high)
            middle = (low + high) / 2
            found = [encode(self.actions, action) for action in (low, high, middle)]
        if self.about.actions.whole:
            rows, counts = np.unique(done, axis=0, return_counts=True)
            usual = rows[counts.argmax()]
        else:
            usual = done.mean(axis=0, dtype=np.float64)
        return [*found, encode(self.actions, usual)]

    def expert_policy(self) -> tuple[str, Policy]:
        """The clone."""
        return self.expert_name, ClonePolicy(clone_of(self.dataset))

    def returns(self) -> np.ndarray:
        """Sums of rewards of the demonstrations, (episodes,)."""
        return np.asarray(self.shown.arrays["returns"])

    def demonstrations(self) -> "Shown":
        """The demonstrations in tokens, made when they are asked for."""
        return Shown(self)

    def episodes(self) -> Episodes:
        """The demonstrations in tokens, made once and then mapped into memory."""
        made = cached_arrays(self.name, self.cache_key(), lambda: _spooled(self.demonstrations()))
        return Episodes.from_arrays(made)

    def _read(self, observation: Any) -> Rows:
        try:
            return read_row(self.layout.leaves, observation)
        except TaskError as error:
            raise StudyFileError(f"task '{self.name}' observes what its data do: {error}") from None


class Shown(Sequence[Chunk]):
    """The demonstrations of a task, each in tokens when it is asked for.

    Args:
        task: the task.
    """

    def __init__(self, task: AddedControl) -> None:
        self.task = task

    def __len__(self) -> int:
        return self.task.train_episodes

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> list[Chunk]: ...
    def __getitem__(self, index: int | slice) -> Chunk | list[Chunk]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._episode(index)

    def __iter__(self) -> Iterator[Chunk]:
        return (self[i] for i in range(len(self)))

    def _episode(self, index: int) -> Chunk:
        task = self.task
        seen, done = task.shown.seen(index), task.shown.actions[task.shown.span(index)]
        parts = [sequence.instruction(task.tokenizer.encode(seen.text))] if seen.text else []
        for observed, action in zip(task.layout.chunks(seen), done, strict=True):
            ids = encode(task.actions, action)
            parts += [observed, sequence.action(ids, sequence.action_local(observed, len(ids)))]
        return Chunk.concat(parts)


def _spooled(chunks: Sequence[Chunk]) -> dict[str, np.ndarray]:
    """The arrays of `Episodes`, mapped from files without a name, which last as long as their maps."""
    kinds = {"tokens": "<i4", "local": "<i2", "scored": "?", "starts": "?"}
    lengths = [0]
    placeholders: dict[str, int] = {}
    with CACHE.errors(), Growing(CACHE.folder, kinds | dict.fromkeys(SCALES, "u1")) as files:
        for chunk in chunks:
            lengths.append(len(chunk))
            placeholders |= chunk.placeholders
            for name in kinds:
                files.write(name, getattr(chunk, name))
            for name, patches in chunk.patches.items():
                files.write(name, _packed(name, patches))
        arrays = files.arrays(*kinds)
        for name, placeholder in placeholders.items():
            width = _packed(name, np.zeros((1, int(SCALES[name][2])))).shape[1]
            arrays[f"stored/{name}"] = files.arrays(name)[name].reshape(-1, width)
            arrays[f"scale/{name}"] = SCALES[name]
            arrays[f"placeholder/{name}"] = np.array([placeholder])
    return arrays | {"offsets": np.cumsum(lengths, dtype=np.int64)}


def _packed(encoder: str, patches: np.ndarray) -> np.ndarray:
    """Patches as they are kept, (patches, bytes) uint8."""
    low, step, _, bits = SCALES[encoder]
    levels = np.rint((patches - low) / step).astype(np.uint8)
    return np.packbits(levels, axis=1) if bits else levels


def _sense(shown: Demonstrations) -> Sense:
    kinds = {leaf.kind for leaf in shown.about.observations}
    if "image" in kinds:
        return "image"
    return "discrete" if "floats" not in kinds and shown.about.actions.whole else "continuous"
