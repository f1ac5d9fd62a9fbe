"""How a task of pairs shows an image or a sound: small, or at the resolution that the study says."""

from typing import Protocol

import numpy as np

from space.errors import TaskError
from space.images import PICTURE
from space.records import FRAMES_PER_SECOND, ImageSetting, SoundSetting, SuiteRecord
from space.sounds import SOUND
from trainers.tasks.datasets import picture_views, sound_views
from trainers.tasks.datasets.kept import Contents
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.media import PATCHES, patches_of
from trainers.tasks.datasets.picture_task import check_kept
from trainers.tasks.datasets.pictures import opened
from trainers.tasks.datasets.sound_task import check_whole


class MediumView(Protocol):
    """Shows the images, or the sounds, of a data set of pairs by their numbers.

    Attributes:
        kind: image or audio.
        encoder: of their patches.
        most: patches of one at most.
        setting: of the study, by its key; empty where media are shown small.
    """

    kind: str
    encoder: str
    most: int
    setting: dict[str, ImageSetting | SoundSetting]

    def count(self, number: int) -> int:
        """Patches of a medium."""
        ...

    def look(self, number: int) -> np.ndarray:
        """A medium -> (patches, size) float32."""
        ...


def view_of(kind: str, dataset: Dataset, suite: SuiteRecord) -> MediumView:
    """The view of a kind of media under the settings of a suite.

    Raises:
        TaskError: the data set does not keep what the suite asks for.
    """
    if kind == "image" and suite.image is not None:
        return _Pictures(dataset, suite.image)
    if kind == "audio" and suite.sound is not None:
        return _Recordings(dataset, suite.sound)
    return _Small(kind, dataset)


class _Small:
    """A thumbnail, or the loudest second."""

    def __init__(self, kind: str, dataset: Dataset) -> None:
        self.kind = self.encoder = kind
        self.most = PATCHES[kind]
        self.setting: dict[str, ImageSetting | SoundSetting] = {}
        self._dataset = dataset

    def count(self, number: int) -> int:
        return self.most

    def look(self, number: int) -> np.ndarray:
        return patches_of(self.kind, np.asarray(self._dataset.arrays[f"{self.kind}_seen"][number]))


class _Whole:
    """Media of which the whole content is read."""

    def __init__(self, kind: str, dataset: Dataset) -> None:
        self.kind, self._dataset = kind, dataset
        self._contents: Contents | None = None

    def _content(self, number: int) -> np.ndarray:
        if self._contents is None:
            arrays = self._dataset.arrays
            self._contents = Contents(arrays[f"{self.kind}_content"], arrays[f"{self.kind}_ends"])
        return self._contents[number]


class _Pictures(_Whole):
    """The middle of each image; neither mirrored nor cropped, since a text may say what is where."""

    encoder = PICTURE

    def __init__(self, dataset: Dataset, setting: ImageSetting) -> None:
        super().__init__("image", dataset)
        check_kept(dataset, setting.side)
        self._image, self.most = setting, setting.patches
        self.setting: dict[str, ImageSetting | SoundSetting] = {"image": setting}

    def count(self, number: int) -> int:
        return self.most

    def look(self, number: int) -> np.ndarray:
        square = picture_views.middle(opened(self._content(number)), self._image)
        return picture_views.cut(square, self._image)


class _Recordings(_Whole):
    """Each sound whole, since a text may say all that is heard."""

    encoder = SOUND

    def __init__(self, dataset: Dataset, setting: SoundSetting) -> None:
        super().__init__("audio", dataset)
        check_whole(dataset)
        self._sound = setting
        self.setting: dict[str, ImageSetting | SoundSetting] = {"sound": setting}
        ends = dataset.arrays["audio_ends"]
        self._counts = sound_views.whole_counts(ends, setting)
        self.most = int(self._counts.max(initial=1))
        if self.most > setting.patches:
            longest = self.most * setting.patch / FRAMES_PER_SECOND
            longer = int((self._counts > setting.patches).sum())
            name = dataset.manifest.name
            raise TaskError(
                f"sound.seconds is at least the length of the longest sound of pairs, of data set '{name}'"
                f" {longest:.1f}, got {setting.seconds:g}, which {longer:,} of {len(ends):,} sounds exceed;"
                f" raise it, or add the data again without them: pathfront data add {name} SOURCE"
                f" --seconds {setting.seconds:g} --max-bad 1 --replace"
            )

    def count(self, number: int) -> int:
        return int(self._counts[number])

    def look(self, number: int) -> np.ndarray:
        return sound_views.cut(sound_views.levels_of(self._content(number)), self._sound)
