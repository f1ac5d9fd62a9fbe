"""Labelled items at the resolution of a study: patches of their own encoder, varied when they are drawn."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from space.errors import TaskError
from space.records import ImageSetting, SoundSetting, SuiteRecord
from trainers.tasks.answers import AnswerSession, Example
from trainers.tasks.cache import CACHE, cached_arrays
from trainers.tasks.datasets.kept import Contents
from trainers.tasks.datasets.labelled import LabelledItems, shuffled_places
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.episodes import FIELDS, Arrays, DrawnEpisodes
from trainers.tasks.mapped import Growing
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer

Setting = TypeVar("Setting", ImageSetting, SoundSetting)

TOGETHER = 4096  # episodes that are written at once


class DrawnItems(LabelledItems, Generic[Setting]):
    """Items in patches of one encoder; there is an episode for each.

    Args:
        dataset: the data, of which the whole items are kept.
        suite: sequence settings, with those of such items.
        tokenizer: the suite's.
        train_episodes: how many items are read; all when None.

    Raises:
        TaskError: the data set does not keep what the suite asks for, or the context is too short.
    """

    encoder: str
    key: str  # of the setting in a study file

    def __init__(
        self, dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.setting: Setting = getattr(suite, self.key)
        self.check(dataset)
        super().__init__(dataset, suite, tokenizer, train_episodes or dataset.manifest.splits["train"])
        check_context(suite, self.name, self.setting, self.spec.length)
        self._contents: Contents | None = None

    @abstractmethod
    def check(self, dataset: Dataset) -> None:
        """Check that a data set keeps what the setting asks for.

        Raises:
            TaskError: it does not.
        """

    @abstractmethod
    def counts(self, places: np.ndarray) -> np.ndarray:
        """Patches of the items at some places among all, (items,)."""

    def content(self, place: int) -> np.ndarray:
        """What is kept of the item at a place among all, (bytes,) uint8."""
        if self._contents is None:
            self._contents = Contents(self.dataset.arrays["bytes"], self.dataset.arrays["ends"])
        return self._contents[place]

    def cache_key(self) -> dict[str, object]:
        """As of all tasks, with how items are seen."""
        return super().cache_key() | {self.key: self.setting.model_dump()}

    def episodes(self) -> DrawnEpisodes:
        """Every item of the train split with its label; tokens are made once and then mapped into memory."""
        return self._drawn(cached_arrays(self.name, self.cache_key(), lambda: dict(self._tokens())))

    def demonstrations(self) -> DrawnEpisodes:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As `episodes`, made anew."""
        return self._drawn(self._tokens())

    @property
    def _places(self) -> np.ndarray:
        """The place of each episode's item among all, (episodes,)."""
        return np.resize(shuffled_places(self.dataset, "train"), self.train_episodes)

    def _drawn(self, arrays: Arrays) -> DrawnEpisodes:
        places = self._places

        def make(episode: int, rng: np.random.Generator | None) -> np.ndarray:
            item = self.item(int(places[episode]))
            return self.patches(item if rng is None else self.vary(item, rng))[self.encoder]

        return DrawnEpisodes(
            tokens=arrays["tokens"],
            local=arrays["local"],
            scored=arrays["scored"],
            starts=arrays["starts"],
            offsets=arrays["offsets"],
            placeholders={self.encoder: self.vocabulary.placeholder(self.encoder)},
            size=self.suite.encoders[self.encoder],
            make=make,
            digest=self.dataset.content_digest,
        )

    def _tokens(self) -> Arrays:
        """Tokens of all episodes, end to end; those of one label and as many patches are the same."""
        places = self._places
        kinds = np.stack([self.dataset.arrays["labels"][places], self.counts(places)], axis=1)
        kinds, which = np.unique(kinds, axis=0, return_inverse=True)
        rows = [self._labelled(self.dataset.manifest.labels[label], count) for label, count in kinds.tolist()]
        lengths = np.array([len(row["tokens"]) for row in rows])[which]
        with CACHE.errors():
            arrays = _written(rows, which)
        return arrays | {"offsets": np.cumsum(np.append(0, lengths), dtype=np.int64)}

    def _labelled(self, label: str, count: int) -> dict[str, np.ndarray]:
        """The fields of the episode of an item with this label, without its `count` patches."""
        unseen = np.zeros((count, self.suite.encoders[self.encoder]), dtype=np.float32)
        example = Example(patches={self.encoder: unseen}, answer=label, expert=lambda: label)
        session = AnswerSession(
            self.vocabulary, self.tokenizer, self.spec, example, self.training_answers, self.answer_score
        )
        stop = [] if self.spec.stop is None else [self.spec.stop]
        answer = np.concatenate([session.expert(), stop])
        whole = Chunk.concat([session.observe(), sequence.action(answer, session.action_local())])
        return {name: getattr(whole, name) for name in FIELDS}


def check_context(suite: SuiteRecord, name: str, setting: ImageSetting | SoundSetting, answer: int) -> None:
    """Check that a context holds an item at resolution and its answer.

    Args:
        suite: with the context.
        name: of the task.
        setting: with the patches of an item.
        answer: tokens that it takes.

    Raises:
        TaskError: it does not.
    """
    what, lower = (
        ("an image", "image.side") if isinstance(setting, ImageSetting) else ("a sound", "sound.seconds")
    )
    needed = setting.patches + 1 + answer
    if suite.context < needed:
        raise TaskError(
            f"a context holds {what} and its answer, of task '{name}' {needed} tokens"
            f" ({setting.patches} patches), got context {suite.context}; raise it, or lower {lower}"
        )


def _written(rows: Sequence[Arrays], which: np.ndarray) -> dict[str, np.ndarray]:
    """The rows in an order, end to end."""
    with Growing(CACHE.folder, {name: rows[0][name].dtype.str for name in FIELDS}) as files:
        for name in FIELDS:
            for first in range(0, len(which), TOGETHER):
                files.write(name, np.concatenate([rows[i][name] for i in which[first : first + TOGETHER]]))
        return files.arrays()
