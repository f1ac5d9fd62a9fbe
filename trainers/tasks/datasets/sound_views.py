"""What a model hears of a recording: its loudest part in an evaluation, a random one in training.

A recording is log-mel levels (frames, bands) uint8, 100 frames for each second. A short one stays short.
"""

import numpy as np
from jaxtyping import Float32, UInt8

from space.records import SoundSetting
from trainers.tasks.datasets.sounds import KEPT_BANDS, LEVELS
from trainers.tokens.audio import audio_patches

Levels = UInt8[np.ndarray, "frames bands"]

CONTRAST = 0.15  # by which the levels of a training example are stretched or narrowed
WIDEST = KEPT_BANDS // 8  # bands that are silenced in a training example


def levels_of(content: UInt8[np.ndarray, " bytes"]) -> Levels:
    """What is kept of a recording -> its levels."""
    return content.reshape(-1, KEPT_BANDS)


def frames_of(ends: np.ndarray) -> np.ndarray:
    """Frames of each recording, (recordings,), from where the bytes of each end."""
    return np.diff(ends, prepend=0) // KEPT_BANDS


def whole_counts(ends: np.ndarray, setting: SoundSetting) -> np.ndarray:
    """Patches of each whole recording, (recordings,), from where the bytes of each end."""
    return -(-frames_of(ends) // setting.patch)


def loudest(levels: Levels, setting: SoundSetting) -> Levels:
    """The loudest part of a recording that is as long as is heard at most."""
    return _part(levels, setting, None)


def random_part(levels: Levels, setting: SoundSetting, rng: np.random.Generator) -> Levels:
    """A random part of a recording, with other contrast and some neighbouring bands silenced.

    Bands are silenced as in SpecAugment (https://arxiv.org/abs/1904.08779).
    """
    part = LEVELS - (LEVELS - _part(levels, setting, rng).astype(np.float32)) * rng.uniform(
        1 - CONTRAST, 1 + CONTRAST
    )
    width = int(rng.integers(0, WIDEST + 1))
    first = int(rng.integers(0, KEPT_BANDS - width + 1))
    part[:, first : first + width] = 0
    return np.clip(part, 0, LEVELS).astype(np.uint8)


def cut(levels: Levels, setting: SoundSetting) -> Float32[np.ndarray, "patches size"]:
    """Levels -> patches in the order of time, scaled as `audio_patches` does; silence fills the last one."""
    short = -len(levels) % setting.patch
    whole = np.pad(levels, ((0, short), (0, 0)))
    return audio_patches(whole * np.float32(2 / LEVELS) - 1, setting.patch)


def _part(levels: Levels, setting: SoundSetting, rng: np.random.Generator | None) -> Levels:
    spare = len(levels) - setting.frames
    if spare <= 0:
        return levels
    if rng is None:
        sums = np.cumsum(np.append(0, levels.sum(axis=1, dtype=np.int64)))
        first = int(np.argmax(sums[setting.frames :] - sums[: spare + 1]))
    else:
        first = int(rng.integers(0, spare + 1))
    return levels[first : first + setting.frames]
