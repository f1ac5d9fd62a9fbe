"""Data sets that the user added, as tasks: labels of images and sounds are here.

Each data set is one task, opened by its name. None of them ships.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from space.records import Sense, SuiteRecord
from trainers.tasks.base import Task
from trainers.tasks.datasets.content import Kind
from trainers.tasks.datasets.control_task import AddedControl
from trainers.tasks.datasets.labelled import LabelledItems
from trainers.tasks.datasets.library import Dataset, dataset_names, open_dataset
from trainers.tasks.datasets.pair_task import open_pairs
from trainers.tasks.datasets.picture_task import LabelledPictures
from trainers.tasks.datasets.sound_task import LabelledRecordings, heard_whole
from trainers.tasks.datasets.sound_views import frames_of
from trainers.tasks.datasets.text_task import AddedText
from trainers.tokens.audio import audio_patches
from trainers.tokens.image import image_patches
from trainers.tokens.text import Tokenizer

PATCH_SIDE, PATCH_FRAMES = 8, 4
SHIFT_PIXELS, SHIFT_FRAMES = 1, 2
CONTRAST = 0.15

Factory = Callable[[SuiteRecord, Tokenizer, int | None], Task]


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

    def sound_frames(self) -> np.ndarray:
        """As in `Audible`."""
        if self.dataset.manifest.seconds is None:
            return np.empty(0, dtype=np.int64)
        return frames_of(self.dataset.arrays["ends"])[self.dataset.places("train")]

    def at_length(self) -> Task:
        """As in `Audible`."""
        if self.dataset.manifest.seconds is None:
            return self
        longest = int(frames_of(self.dataset.arrays["ends"]).max())
        return LabelledRecordings(self.dataset, heard_whole(self.suite, longest), self.tokenizer)

    def vary(self, item: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shift in time by a few frames, filled with silence, and change the contrast."""
        later = int(rng.integers(0, 2 * SHIFT_FRAMES + 1))
        long = np.pad(item, ((SHIFT_FRAMES, SHIFT_FRAMES), (0, 0)), constant_values=-1)
        shifted = long[later : later + len(item)].astype(np.float64)
        return np.clip(1 - (1 - shifted) * rng.uniform(1 - CONTRAST, 1 + CONTRAST), -1, 1)


def _images(dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, episodes: int | None) -> Task:
    """The task of a data set of images, as its suite sees them."""
    return (LabelledImages if suite.image is None else LabelledPictures)(dataset, suite, tokenizer, episodes)


def _sounds(dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, episodes: int | None) -> Task:
    """The task of a data set of sounds, as its suite hears them."""
    return (LabelledSounds if suite.sound is None else LabelledRecordings)(
        dataset, suite, tokenizer, episodes
    )


CLASSES: dict[Kind, Callable[[Dataset, SuiteRecord, Tokenizer, int | None], Task]] = {
    "images": _images,
    "sounds": _sounds,
    "text": AddedText,
    "pairs": open_pairs,
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
