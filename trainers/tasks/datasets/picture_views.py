"""The square of a picture that a model sees: the middle in an evaluation, a random crop in training.

A picture is never magnified: one whose shorter side is below the square's is shown at its own size in the
middle of grey. Only random crops of it fill the same place.
"""

from math import ceil, exp, log
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from space.records import ImageSetting
from trainers.tokens.image import image_patches

if TYPE_CHECKING:
    from PIL.Image import Image

Square = UInt8[np.ndarray, "side side 3"]
Box = tuple[float, float, float, float]  # left, top, width, height

LEAST_SHARE = 0.35  # of a picture's area, that a random crop has
NARROWEST = 3 / 4  # width over height of a random crop; its inverse is the widest
TRIES = 10
GREY = 128
BRIGHTEST = np.float32(255)


def middle(image: "Image", setting: ImageSetting) -> Square:
    """The square in the middle of a picture, (side, side, 3) uint8."""
    shorter = min(image.size)
    left, top = ((length - shorter) / 2 for length in image.size)
    return _square(image, (left, top, shorter, shorter), setting.side)


def random_crop(image: "Image", setting: ImageSetting, rng: np.random.Generator) -> Square:
    """A random part of a picture, and half of the time its mirror image, (side, side, 3) uint8.

    Its area and its form are drawn as in Szegedy 2014 (https://arxiv.org/abs/1409.4842).
    """
    square = _square(image, _random_box(image.size, rng), setting.side)
    mirrored = setting.flip and rng.random() < 0.5
    return np.ascontiguousarray(square[:, ::-1]) if mirrored else square


def cut(square: Square, setting: ImageSetting) -> Float32[np.ndarray, "patches size"]:
    """A square -> patches in raster order, scaled as `image_patches` does."""
    return image_patches(square / BRIGHTEST, setting.patch)


def _random_box(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """A part of a picture of this size; of a long one, for which none may be found, a square that fits."""
    wide, high = size
    for _ in range(TRIES):
        area = wide * high * rng.uniform(LEAST_SHARE, 1)
        form = exp(rng.uniform(log(NARROWEST), -log(NARROWEST)))
        width, height = (area * form) ** 0.5, (area / form) ** 0.5
        if width <= wide and height <= high:
            return rng.uniform(0, wide - width), rng.uniform(0, high - height), width, height
    shorter = min(size)
    return rng.uniform(0, wide - shorter), rng.uniform(0, high - shorter), shorter, shorter


def _square(image: "Image", box: Box, side: int) -> Square:
    """A part of a picture, scaled to the square that fits both the picture and `side`."""
    from PIL.Image import Resampling

    shown = min(side, *image.size)
    left, top, width, height = box
    wide, high = image.size
    shrink = min(width, height) / shown
    image.draft("RGB", (ceil(wide / shrink), ceil(high / shrink)))  # JPEG is decoded no larger than needed
    across, down = image.width / wide, image.height / high
    part = (left * across, top * down, (left + width) * across, (top + height) * down)
    part = (*part[:2], min(part[2], image.width), min(part[3], image.height))
    pixels = image.convert("RGB").resize((shown, shown), Resampling.BICUBIC, part)
    if shown == side:
        return np.asarray(pixels)
    field = np.full((side, side, 3), GREY, dtype=np.uint8)
    edge = (side - shown) // 2
    field[edge : edge + shown, edge : edge + shown] = np.asarray(pixels)
    return field
