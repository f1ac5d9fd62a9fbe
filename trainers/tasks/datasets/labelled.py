"""Items and their labels as a task: what images, sounds and pictures at a resolution share."""

from abc import abstractmethod
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from space.records import HELD_OUT, Split, SuiteRecord
from trainers.tasks.answers import AnswerTask, Example, exact_match
from trainers.tasks.base import ActionSpec
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.text_task import FAMILY
from trainers.tokens.text import Tokenizer

if TYPE_CHECKING:
    from sklearn.svm import SVC

MOST_EVAL, MOST_REFERENCE = 256, 1000
MOST_VARIED, MOST_ROUNDS = 24_000, 10  # training examples where items are repeated, and repeats of one
MOST_FITTED = 8_000  # items that a support vector machine learns in minutes
ASKED = 1000  # items that it labels at once


class LabelledItems(AnswerTask):
    """Items and their labels, which are words; the expert is a support vector machine.

    The expert is trained on the train split. Training episodes show each item as it is, then varied.

    Args:
        dataset: the data.
        suite: sequence settings.
        tokenizer: the suite's.
        train_episodes: how many examples to make; None for every item, and more where there are few.
    """

    family = FAMILY
    metric = "accuracy"
    unit = "rate"
    expert_name = "SVC"
    packages: tuple[str, ...] = ("numpy", "scikit-learn")

    def __init__(
        self, dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.dataset = dataset
        self.name = dataset.manifest.name
        sizes = dataset.manifest.splits
        self.eval_episodes, self.reference_episodes = held_out_episodes(dataset)
        self.num_train_episodes = max(sizes["train"], min(MOST_VARIED, MOST_ROUNDS * sizes["train"]))
        super().__init__(suite, tokenizer, train_episodes)

    @cached_property
    def spec(self) -> ActionSpec:
        """As of all tasks of answers, with room for the longest label of all."""
        return self.spec_for(self.dataset.manifest.labels)

    @abstractmethod
    def patches(self, item: Any) -> dict[str, np.ndarray]:
        """The patches of an item."""

    @abstractmethod
    def vary(self, item: Any, rng: np.random.Generator) -> Any:
        """A slightly varied item with the same label."""

    def item(self, place: int) -> Any:
        """The item at a place among all."""
        return self.dataset.arrays["items"][place]

    def example(self, split: Split, index: int) -> Example:
        """The items of the split in turn, repeated."""
        places = shuffled_places(self.dataset, split)
        round_, which = divmod(index, len(places))
        item, answer = self.item(int(places[which])), self.answer(split, which)
        if split == "train" and round_:
            item = self.vary(item, self.rng("vary", index))
        return Example(
            patches=self.patches(item),
            answer=answer,
            expert=lambda: answer if split == "train" else expert_label(self.dataset, split, which),
        )

    def answer(self, split: Split, index: int) -> str:
        """The item's label."""
        places = shuffled_places(self.dataset, split)
        return self.dataset.manifest.labels[self.dataset.arrays["labels"][places[index % len(places)]]]

    def answer_score(self, answer: str, right: str) -> float:
        """1 for the right label."""
        return exact_match(answer, right)


def held_out_episodes(dataset: Dataset) -> tuple[int, int]:
    """How many items of each held-out split score a trial, and how many measure floor and expert."""
    fewest = min(dataset.manifest.splits[split] for split in HELD_OUT)
    return min(MOST_EVAL, fewest), min(MOST_REFERENCE, fewest)


@lru_cache(maxsize=16)
def shuffled_places(dataset: Dataset, split: Split) -> np.ndarray:
    """Places of a split's items among all, in random order."""
    return np.random.default_rng(0).permutation(dataset.places(split))


def expert_label(dataset: Dataset, split: Split, which: int) -> str:
    """The label that a support vector machine trained on the train split gives an item of another split."""
    block, within = divmod(which, ASKED)
    return dataset.manifest.labels[_predicted(dataset, split, block)[within]]


@lru_cache(maxsize=64)
def _predicted(dataset: Dataset, split: Split, block: int) -> np.ndarray:
    """Places of the labels of `ASKED` items of a split, (items,)."""
    asked = shuffled_places(dataset, split)[block * ASKED : (block + 1) * ASKED]
    return _machine(dataset).predict(_features(dataset, asked))


@lru_cache(maxsize=8)
def _machine(dataset: Dataset) -> "SVC":
    from sklearn.svm import SVC

    train = shuffled_places(dataset, "train")[:MOST_FITTED]
    return SVC(C=10).fit(_features(dataset, train), dataset.arrays["labels"][train])


def _features(dataset: Dataset, places: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1] or log-mel in [-1, 1] of some items in one row each, (items, values)."""
    items = dataset.arrays["items"]
    scale = 255 if items.dtype == np.uint8 else 1
    return (items[places].astype(np.float64) / scale).reshape(len(places), -1)
