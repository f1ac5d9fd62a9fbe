"""Recordings of the user at length: log-mel patches in the order of time, and their label."""

from math import ceil

import numpy as np

from space.errors import TaskError
from space.records import FRAMES_PER_SECOND, Sense, SoundSetting, SuiteRecord
from space.sounds import BANDS, SOUND
from trainers.tasks.datasets.drawn import DrawnItems
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.sound_views import cut, levels_of, loudest, random_part, whole_counts

PATCH, LARGEST_PATCH, ENOUGH_PATCHES = 8, 100, 128  # frames, and patches of a sound
SHORTEST = 0.1  # seconds of a setting


class LabelledRecordings(DrawnItems[SoundSetting]):
    """Recordings of any length; of one that is longer than the study hears, a part.

    Args:
        dataset: the data, with whole recordings.
        suite: sequence settings, with those of sounds.
        tokenizer: the suite's.
        train_episodes: how many recordings are read; all when None.

    Raises:
        TaskError: the data set has only a second of each, or the context of the suite is too short.
    """

    domain = "audio"
    modality: Sense = "audio"
    encoder = SOUND
    key = "sound"

    def check(self, dataset: Dataset) -> None:
        """As of all such tasks."""
        check_whole(dataset)

    def item(self, place: int) -> np.ndarray:
        """The levels of the recording at a place among all, (frames, bands) uint8."""
        return levels_of(self.content(place))

    def counts(self, places: np.ndarray) -> np.ndarray:
        """As of all such tasks."""
        whole = whole_counts(self.dataset.arrays["ends"], self.setting)[places]
        return np.minimum(whole, self.setting.patches)

    def patches(self, item: np.ndarray) -> dict[str, np.ndarray]:
        """The loudest part of a recording -> patches, scaled as `audio_patches` does."""
        return {SOUND: cut(loudest(item, self.setting), self.setting)}

    def vary(self, item: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random part of a recording, varied."""
        return random_part(item, self.setting, rng)


def heard_whole(suite: SuiteRecord, frames: int) -> SuiteRecord:
    """A suite that hears sounds of so many frames whole, with as much room for others as before.

    Longer sounds than a few seconds have larger patches.
    """
    patch = min(LARGEST_PATCH, max(PATCH, ceil(frames / ENOUGH_PATCHES)))
    setting = SoundSetting(seconds=max(SHORTEST, frames / FRAMES_PER_SECOND), patch=patch)
    return suite.model_copy(
        update={
            "sound": setting,
            "encoders": suite.encoders | {SOUND: BANDS * patch},
            "context": suite.context + setting.patches,
        }
    )


def check_whole(dataset: Dataset) -> None:
    """Check that a data set has whole recordings.

    Raises:
        TaskError: it has only one second of each.
    """
    if dataset.manifest.seconds is None:
        name = dataset.manifest.name
        raise TaskError(
            f"sound.seconds needs whole recordings, data set '{name}' has one second of each, of an earlier"
            f" version; add it again: pathfront data add {name} SOURCE --replace"
        )
