"""Images of the user at the resolution of a study: patches of random crops, and their label."""

from typing import TYPE_CHECKING

import numpy as np

from space.errors import TaskError
from space.images import PICTURE
from space.records import ImageSetting, Sense
from trainers.tasks.datasets.drawn import DrawnItems
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.picture_views import cut, middle, random_crop
from trainers.tasks.datasets.pictures import opened

if TYPE_CHECKING:
    from PIL.Image import Image


class LabelledPictures(DrawnItems[ImageSetting]):
    """Images as a square of patches in raster order; there is an episode for each.

    Args:
        dataset: the data, with picture files.
        suite: sequence settings, with those of images.
        tokenizer: the suite's.
        train_episodes: how many images are read; all when None.

    Raises:
        TaskError: the data set has no picture files, or smaller ones than are asked for, or the context of
            the suite is too short.
    """

    domain = "image"
    modality: Sense = "image"
    encoder = PICTURE
    key = "image"

    def check(self, dataset: Dataset) -> None:
        """As of all such tasks."""
        check_kept(dataset, self.setting.side)

    def item(self, place: int) -> "Image":
        """The picture at a place among all, not yet decoded."""
        return opened(self.content(place))

    def counts(self, places: np.ndarray) -> np.ndarray:
        """As of all such tasks; each image has as many."""
        return np.full(len(places), self.setting.patches)

    def patches(self, item: "Image") -> dict[str, np.ndarray]:
        """The middle of a picture -> patches, scaled as `image_patches` does."""
        return {PICTURE: cut(middle(item, self.setting), self.setting)}

    def vary(self, item: "Image", rng: np.random.Generator) -> "Image":
        """A random crop of a picture."""
        from PIL import Image

        return Image.fromarray(random_crop(item, self.setting, rng))


def check_kept(dataset: Dataset, side: int) -> None:
    """Check that a data set has picture files at a resolution."""
    manifest = dataset.manifest
    again = f"pathfront data add {manifest.name} SOURCE --side {side} --replace"
    if manifest.side is None:
        raise TaskError(
            f"image.side needs picture files, data set '{manifest.name}' has only thumbnails of an earlier"
            f" version; add it again: {again}"
        )
    if manifest.side < side:
        raise TaskError(
            f"image.side is at most the side that images were added with, of data set '{manifest.name}'"
            f" {manifest.side}, got {side}; add it again: {again}"
        )
