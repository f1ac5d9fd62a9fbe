"""Data sets that the user added, as tasks: labels of images and sounds, here, text and control.

Each data set is one task, opened by its name. None of them ships.
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from space.records import Sense, Split, SuiteRecord
from trainers.tasks.answers import AnswerTask, Example, exact_match
from trainers.tasks.base import Task
from trainers.tasks.datasets.content import Kind
from trainers.tasks.datasets.control_task import AddedControl
from trainers.tasks.datasets.library import Dataset, dataset_names, open_dataset
from trainers.tasks.datasets.text_task import FAMILY, AddedText
from trainers.tokens.audio import audio_patches
from trainers.tokens.image import image_patches
from trainers.tokens.text import Tokenizer

MOST_EVAL, MOST_REFERENCE = 256, 1000
MOST_VARIED, MOST_ROUNDS = 24_000, 10  # training examples where items are repeated, and repeats of one
MOST_FITTED = 8_000  # items that a support vector machine learns in minutes
PATCH_SIDE, PATCH_FRAMES = 8, 4
SHIFT_PIXELS, SHIFT_FRAMES = 1, 2
CONTRAST = 0.15

Factory = Callable[[SuiteRecord, Tokenizer, int | None], Task]


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
        held_out = min(sizes["select"], sizes["report"])
        self.eval_episodes = min(MOST_EVAL, held_out)
        self.reference_episodes = min(MOST_REFERENCE, held_out)
        self.num_train_episodes = max(sizes["train"], min(MOST_VARIED, MOST_ROUNDS * sizes["train"]))
        super().__init__(suite, tokenizer, train_episodes)

    @abstractmethod
    def patches(self, item: np.ndarray) -> dict[str, np.ndarray]:
        """The patches of an item."""

    @abstractmethod
    def vary(self, item: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A slightly varied item with the same label."""

    def example(self, split: Split, index: int) -> Example:
        """The items of the split in turn, repeated."""
        places = shuffled_places(self.dataset, split)
        round_, which = divmod(index, len(places))
        item, answer = self.dataset.arrays["items"][places[which]], self.answer(split, which)
        if split == "train" and round_:
            item = self.vary(item, self.rng("vary", index))
        return Example(
            patches=self.patches(item),
            answer=answer,
            expert=lambda: answer if split == "train" else expert_labels(self.dataset, split)[which],
        )

    def answer(self, split: Split, index: int) -> str:
        """The item's label."""
        places = shuffled_places(self.dataset, split)
        return self.dataset.manifest.labels[self.dataset.arrays["labels"][places[index % len(places)]]]

    def answer_score(self, answer: str, right: str) -> float:
        """1 for the right label."""
        return exact_match(answer, right)


class LabelledImages(LabelledItems):
    """Images as four patches, or as one if they are small."""

    domain = "image"
    modality: Sense = "image"

    def patches(self, item: np.ndarray) -> dict[str, np.ndarray]:
        """Pixels (side, side, 3) uint8 -> patches of 8x8."""
        return {"image": image_patches(item / 255, PATCH_SIDE)}

    def vary(self, item: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shift by a pixel and change the contrast; missing pixels repeat the edge."""
        down, right = rng.integers(0, 2 * SHIFT_PIXELS + 1, 2)
        side = len(item)
        wide = np.pad(item, ((SHIFT_PIXELS, SHIFT_PIXELS), (SHIFT_PIXELS, SHIFT_PIXELS), (0, 0)), mode="edge")
        shifted = wide[down : down + side, right : right + side].astype(np.float64)
        middle = shifted.mean()
        return np.clip(middle + (shifted - middle) * rng.uniform(1 - CONTRAST, 1 + CONTRAST), 0, 255)


class LabelledSounds(LabelledItems):
    """Sounds as eight log-mel patches in the order of time."""

    domain = "audio"
    modality: Sense = "audio"

    def patches(self, item: np.ndarray) -> dict[str, np.ndarray]:
        """Log-mel (frames, bands) -> patches of 4 frames."""
        return {"audio": audio_patches(item.astype(np.float32), PATCH_FRAMES)}

    def vary(self, item: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shift in time by a few frames, filled with silence, and change the contrast."""
        later = int(rng.integers(0, 2 * SHIFT_FRAMES + 1))
        long = np.pad(item, ((SHIFT_FRAMES, SHIFT_FRAMES), (0, 0)), constant_values=-1)
        shifted = long[later : later + len(item)].astype(np.float64)
        return np.clip(1 - (1 - shifted) * rng.uniform(1 - CONTRAST, 1 + CONTRAST), -1, 1)


CLASSES: dict[Kind, Callable[[Dataset, SuiteRecord, Tokenizer, int | None], Task]] = {
    "images": LabelledImages,
    "sounds": LabelledSounds,
    "text": AddedText,
    "control": AddedControl,
}


def added_names() -> list[str]:
    """Names of the tasks of all data sets that were added."""
    return dataset_names()


def open_added(name: str) -> Factory | None:
    """The class of a data set's task; None if there is no data set of that name.

    Raises:
        TaskError: the data set is damaged.
    """
    if name not in dataset_names():
        return None
    dataset = open_dataset(name)
    return partial(CLASSES[dataset.manifest.kind], dataset)


@lru_cache(maxsize=16)
def shuffled_places(dataset: Dataset, split: Split) -> np.ndarray:
    """Places of a split's items among all, in random order."""
    return np.random.default_rng(0).permutation(dataset.places(split))


@lru_cache(maxsize=8)
def expert_labels(dataset: Dataset, split: Split) -> list[str]:
    """Labels that a support vector machine trained on the train split gives another split."""
    from sklearn.svm import SVC

    train, asked = shuffled_places(dataset, "train")[:MOST_FITTED], shuffled_places(dataset, split)
    machine = SVC(C=10).fit(_features(dataset, train), dataset.arrays["labels"][train])
    return [dataset.manifest.labels[place] for place in machine.predict(_features(dataset, asked))]


def _features(dataset: Dataset, places: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1] or log-mel in [-1, 1] of some items in one row each, (items, values)."""
    items = dataset.arrays["items"]
    scale = 255 if items.dtype == np.uint8 else 1
    return (items[places].astype(np.float64) / scale).reshape(len(places), -1)
