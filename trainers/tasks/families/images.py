"""Read a handwritten digit: an 8x8 image in, a word out; the expert is a support vector machine."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from space.records import Sense, Split
from trainers.tasks.answers import AnswerTask, Example, exact_match
from trainers.tokens.image import image_patches

WORDS = tuple(str(digit) for digit in range(10))
SIDE = 8
DARKEST = 16
SPLIT_SIZES: dict[Split, int] = {"train": 1197, "select": 300, "report": 300}
TURN = np.deg2rad(10)
STRETCH = 0.1
SHIFT = 0.6  # pixels


class Scans(NamedTuple):
    """Scanned digits: images (count, 8, 8) in [0, 1] and labels (count,)."""

    images: np.ndarray
    labels: np.ndarray


class Digits(AnswerTask):
    """Scikit-learn's 1,797 digits; training images are slightly rotated, scaled and shifted."""

    name = "digits"
    family = "images"
    domain = "image"
    modality: Sense = "image"
    metric = "accuracy"
    unit = "rate"
    expert_name = "SVC"
    eval_episodes = 300
    num_train_episodes = 24_000
    packages = ("numpy", "scikit-learn", "scipy")

    def example(self, split: Split, index: int) -> Example:
        """The scans of the split in turn, repeated; repeats in training are varied."""
        scans = load_scans(split)
        round_, which = divmod(index, len(scans.images))
        image, answer = scans.images[which], self.answer(split, which)
        if split == "train" and round_:
            image = vary(image, self.rng("vary", index))
        pixels = np.repeat(image[:, :, None], 3, axis=2)
        return Example(
            patches={"image": image_patches(pixels, SIDE)},
            answer=answer,
            expert=lambda: answer if split == "train" else WORDS[expert_labels(split)[which]],
        )

    def answer(self, split: Split, index: int) -> str:
        """The label of the scan."""
        labels = load_scans(split).labels
        return WORDS[labels[index % len(labels)]]

    def answer_score(self, answer: str, right: str) -> float:
        """1 for the right digit."""
        return exact_match(answer, right)


TASKS = {"digits": Digits}


@cache
def load_scans(split: Split) -> Scans:
    """The split's scans, in random order."""
    from sklearn.datasets import load_digits  # a second to import, and only evaluation and generation need it

    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(labels))
    parts = np.split(order, np.cumsum(list(SPLIT_SIZES.values()))[:-1])
    here = dict(zip(SPLIT_SIZES, parts, strict=True))[split]
    return Scans(images[here].reshape(-1, SIDE, SIDE) / DARKEST, labels[here])


@cache
def expert_labels(split: Split) -> np.ndarray:
    """Labels that a support vector machine trained on the train split gives another split, (count,)."""
    from sklearn.svm import SVC

    train, asked = load_scans("train"), load_scans(split)
    width: Any = 0.12  # a number, though the stubs want a word
    machine = SVC(C=10, gamma=width).fit(train.images.reshape(len(train.labels), -1), train.labels)
    return machine.predict(asked.images.reshape(len(asked.labels), -1))


def vary(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate, scale and shift a scan about its centre."""
    from scipy.ndimage import affine_transform

    angle = rng.uniform(-TURN, TURN)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn * rng.uniform(1 - STRETCH, 1 + STRETCH, 2)
    centre = np.full(2, (SIDE - 1) / 2)
    offset: Any = centre - matrix @ centre + rng.uniform(-SHIFT, SHIFT, 2)  # an array too
    return affine_transform(image, matrix, offset, order=1)
