"""Images that the user added, at the resolution of a study (`image:` in its file).

Each picture is decoded when a window shows it, and cropped anew each time. Tokens are made once and mapped
from files; they say where a picture's patches stand.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from space.errors import TaskError
from space.images import PICTURE
from space.records import Sense, SuiteRecord
from trainers.tasks.answers import AnswerSession, Example
from trainers.tasks.cache import CACHE, cached_arrays
from trainers.tasks.datasets.labelled import LabelledItems, shuffled_places
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.picture_views import cut, middle, random_crop
from trainers.tasks.datasets.pictures import Pictures
from trainers.tasks.episodes import FIELDS, Arrays, DrawnEpisodes
from trainers.tasks.mapped import Growing
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer

if TYPE_CHECKING:
    from PIL.Image import Image

TOGETHER = 4096  # episodes that are written at once


class LabelledPictures(LabelledItems):
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

    def __init__(
        self, dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        assert suite.image is not None, "the suite says how images are seen"
        self.setting = suite.image
        check_kept(dataset, self.setting.side)
        super().__init__(dataset, suite, tokenizer, train_episodes or dataset.manifest.splits["train"])
        needed = self.setting.patches + 1 + self.spec.length
        if suite.context < needed:
            raise TaskError(
                f"a context holds an image and its answer, of task '{self.name}' {needed} tokens"
                f" ({self.setting.patches} patches), got context {suite.context}; raise it, or lower"
                " image.side"
            )
        self._pictures: Pictures | None = None

    def item(self, place: int) -> "Image":
        """The picture at a place among all, not yet decoded."""
        if self._pictures is None:
            self._pictures = Pictures(self.dataset.arrays["bytes"], self.dataset.arrays["ends"])
        return self._pictures.open(place)

    def patches(self, item: "Image") -> dict[str, np.ndarray]:
        """The middle of a picture -> patches, scaled as `image_patches` does."""
        return self._cut(middle(item, self.setting))

    def vary(self, item: "Image", rng: np.random.Generator) -> "Image":
        """A random crop of a picture."""
        from PIL import Image

        return Image.fromarray(random_crop(item, self.setting, rng))

    def cache_key(self) -> dict[str, object]:
        """As of all tasks, with how images are seen."""
        return super().cache_key() | {"image": self.setting.model_dump()}

    def episodes(self) -> DrawnEpisodes:
        """Every image of the train split with its label; tokens are made once and then mapped into memory."""
        return self._drawn(cached_arrays(self.name, self.cache_key(), lambda: dict(self._tokens())))

    def demonstrations(self) -> DrawnEpisodes:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As `episodes`, made anew."""
        return self._drawn(self._tokens())

    @property
    def _places(self) -> np.ndarray:
        """The place of each episode's image among all, (episodes,)."""
        return np.resize(shuffled_places(self.dataset, "train"), self.train_episodes)

    def _cut(self, square: np.ndarray) -> dict[str, np.ndarray]:
        return {PICTURE: cut(square, self.setting)}

    def _drawn(self, arrays: Arrays) -> DrawnEpisodes:
        places = self._places

        def make(episode: int, rng: np.random.Generator | None) -> np.ndarray:
            image = self.item(int(places[episode]))
            square = middle(image, self.setting) if rng is None else random_crop(image, self.setting, rng)
            return self._cut(square)[PICTURE]

        return DrawnEpisodes(
            tokens=arrays["tokens"],
            local=arrays["local"],
            scored=arrays["scored"],
            starts=arrays["starts"],
            offsets=arrays["offsets"],
            placeholders={PICTURE: self.vocabulary.placeholder(PICTURE)},
            size=self.suite.encoders[PICTURE],
            make=make,
            digest=self.dataset.content_digest,
        )

    def _tokens(self) -> Arrays:
        """Tokens of all episodes, end to end; those of one label are the same."""
        labels = self.dataset.arrays["labels"][self._places]
        rows = [self._labelled(label) for label in self.dataset.manifest.labels]
        lengths = np.array([len(row["tokens"]) for row in rows])[labels]
        with CACHE.errors():
            arrays = _written(rows, labels)
        return arrays | {"offsets": np.cumsum(np.append(0, lengths), dtype=np.int64)}

    def _labelled(self, label: str) -> dict[str, np.ndarray]:
        """The fields of the episode of an image with this label, without its patches."""
        unseen = {PICTURE: np.zeros((self.setting.patches, self.suite.encoders[PICTURE]), dtype=np.float32)}
        example = Example(patches=unseen, answer=label, expert=lambda: label)
        session = AnswerSession(
            self.vocabulary, self.tokenizer, self.spec, example, self.training_answers, self.answer_score
        )
        stop = [] if self.spec.stop is None else [self.spec.stop]
        answer = np.concatenate([session.expert(), stop])
        whole = Chunk.concat([session.observe(), sequence.action(answer, session.action_local())])
        return {name: getattr(whole, name) for name in FIELDS}


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


def _written(rows: Sequence[Arrays], which: np.ndarray) -> dict[str, np.ndarray]:
    """The rows in an order, end to end."""
    with Growing(CACHE.folder, {name: rows[0][name].dtype.str for name in FIELDS}) as files:
        for name in FIELDS:
            for first in range(0, len(which), TOGETHER):
                files.write(name, np.concatenate([rows[i][name] for i in which[first : first + TOGETHER]]))
        return files.arrays()
