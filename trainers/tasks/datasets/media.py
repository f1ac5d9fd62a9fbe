"""Images and sounds of pairs: what is kept of them, what a model sees of them in small, and its patches."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from space.errors import TaskError
from trainers.tasks.datasets.content import unreadable
from trainers.tasks.datasets.images import LARGE
from trainers.tasks.datasets.pictures import keep
from trainers.tasks.datasets.sounds import FRAMES, LEVELS, decoded, to_levels, to_log_mel
from trainers.tokens.audio import audio_patches
from trainers.tokens.image import image_patches

KINDS = ("image", "audio")  # names of their encoders, too
PATCH_SIDE, PATCH_FRAMES = 8, 4
PATCHES = {"image": (LARGE // PATCH_SIDE) ** 2, "audio": FRAMES // PATCH_FRAMES}  # of each medium


@dataclass(frozen=True)
class Medium:
    """An image or a sound.

    Attributes:
        content: as it is kept: an image encoded, of a sound the bytes of `to_levels`.
        seen: uint8, pixels (side, side, 3) of an image, levels of the log-mel (frames, bands) of a sound.
    """

    content: bytes
    seen: np.ndarray


def read_medium(kind: str, content: bytes, where: str, side: int, seconds: float) -> Medium:
    """Decode an image or a sound.

    Args:
        kind: image or audio.
        content: encoded.
        where: its place, for messages.
        side: pixels that the shorter side of an image keeps at most.
        seconds: that a sound lasts at most.

    Raises:
        TaskError: it cannot be decoded, or is a longer sound.
    """
    return _image(content, where, side) if kind == "image" else _sound(content, where, seconds)


def patches_of(kind: str, seen: np.ndarray) -> np.ndarray:
    """What a model sees of a medium: `Medium.seen` -> (patches, size) float32."""
    if kind == "image":
        return image_patches(seen / LEVELS, PATCH_SIDE)
    return audio_patches((seen * np.float32(2 / LEVELS) - 1).astype(np.float32), PATCH_FRAMES)


def _image(content: bytes, where: str, side: int) -> Medium:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content)) as opened:
            kept = keep(ImageOps.exif_transpose(opened), side, LARGE)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(Path(where), error, "an image") from None
    return Medium(kept.content, np.frombuffer(kept.view, dtype=np.uint8).reshape(LARGE, LARGE, 3))


def _sound(content: bytes, where: str, seconds: float) -> Medium:
    sound, rate = decoded(io.BytesIO(content), Path(where))
    if len(sound) > seconds * rate:  # a part of it would not fit its text
        raise TaskError(
            f"a sound of a pair lasts {seconds:g} s at most (--seconds), '{where}' lasts"
            f" {len(sound) / rate:.1f} s"
        )
    levels = np.rint((to_log_mel(sound, rate).astype(np.float32) + 1) * (LEVELS / 2)).astype(np.uint8)
    return Medium(to_levels(sound, rate, seconds).tobytes(), levels)
