"""Sounds by label: files in folders, or named LABEL_SPEAKER_NUMBER.wav, as one second of log-mel each.

libsndfile reads them (https://python-soundfile.readthedocs.io).

The Free Spoken Digit Dataset names its files so, and tests on the recordings numbered 0 to 4; a set that can
be split that way is, with those numbered 5 to 9 to select on.
"""

import re
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from space.records import SPLITS, Split
from trainers.tasks.datasets.content import ENOUGH_HELD_OUT, Item, items_by_folder, unreadable
from trainers.tokens.audio import log_mel

SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg"})
WHAT = "a sound"
BLOCK = 1 << 18  # samples of each channel that are read at once
FULL_SCALE = 1 << 15  # as samples of 16 bits
NUMBERED = re.compile(r"(?P<label>[^_]+)_(?P<speaker>.+)_(?P<number>\d+)")
NUMBERED_RULE = "report has the recordings numbered 0 to 4, select 5 to 9, train the rest"
RATE = 8000
BANDS, FRAMES, FRAME, HOP, LIMITS = 32, 32, 256, 250, (50.0, 4000.0)
SAMPLES = FRAME + (FRAMES - 1) * HOP  # 1.0 s


def is_sound(path: Path) -> bool:
    """Whether a file is a sound, by its name."""
    return path.suffix.lower() in SUFFIXES


def sound_items(source: Path, files: Sequence[Path]) -> tuple[list[Item], str]:
    """Sounds with their labels, not yet converted, and the rule by which names state splits, if any.

    Raises:
        TaskError: a file is not in the folder of a label.
    """
    paths = [path for path in files if is_sound(path)]
    names = [NUMBERED.fullmatch(path.stem) for path in paths]
    if not paths or len({path.parent for path in paths}) > 1 or not all(names):
        return items_by_folder(source, paths, read_sound), ""
    numbers = [int(name["number"]) for name in names if name]
    splits: list[Split | None] = [_numbered_split(number) for number in numbers]
    by_number = all(splits.count(split) >= ENOUGH_HELD_OUT for split in SPLITS)
    items = [
        Item(lambda path=path: read_sound(path), name["label"], path.name, split if by_number else None)
        for path, name, split in zip(paths, names, splits, strict=True)
        if name
    ]
    return items, NUMBERED_RULE if by_number else ""


def read_sound(path: Path) -> np.ndarray:
    """A WAV, FLAC, MP3 or Ogg file -> log-mel (FRAMES, BANDS) float16 in [-1, 1]: of one second.

    Raises:
        TaskError: the file cannot be read, or has no samples.
    """
    try:
        with path.open("rb") as content:
            content.read(1)  # libsndfile does not say why a file cannot be read
    except OSError as error:
        raise unreadable(path, error, WHAT) from None
    return to_log_mel(*decoded(path, path))


def decoded(file: Path | BinaryIO, where: Path) -> tuple[np.ndarray, int]:
    """Samples (n,) of a sound, the mean of its channels in units of 16 bits, and how many a second has.

    Raises:
        TaskError: the sound cannot be read, or has no samples.
    """
    import soundfile

    try:
        with soundfile.SoundFile(file) as opened:
            rate = opened.samplerate
            blocks = [block.mean(axis=1) for block in opened.blocks(BLOCK, dtype="float64", always_2d=True)]
    except (OSError, ValueError, soundfile.SoundFileError) as error:
        raise unreadable(where, getattr(error, "error_string", error), WHAT) from None
    sound = np.concatenate([*blocks, np.empty(0)]) * FULL_SCALE
    if not sound.size:
        raise unreadable(where, "it holds no samples", WHAT)
    if not np.isfinite(sound).all():
        raise unreadable(where, "a sample is not finite", WHAT)
    return sound, rate


def to_log_mel(sound: np.ndarray, rate: int) -> np.ndarray:
    """Samples (n,) -> log-mel (FRAMES, BANDS) float16 in [-1, 1]: of one second."""
    second = one_second(resampled(sound - sound.mean(), rate))
    return log_mel(second, RATE, BANDS, FRAME, HOP, LIMITS).astype(np.float16)


def one_second(sound: np.ndarray) -> np.ndarray:
    """A sound at `RATE` of any length -> (SAMPLES,).

    A long one is cut to its loudest second. A short one is put between silences so that half of its energy
    has sounded in the middle, as far as it fits: where a recording begins says nothing.
    """
    energy = np.cumsum(np.r_[0.0, sound**2])
    missing = SAMPLES - len(sound)
    if missing <= 0:
        start = int(np.argmax(energy[SAMPLES:] - energy[: 1 - missing]))
        return sound[start : start + SAMPLES]
    middle = int(np.searchsorted(energy, energy[-1] / 2))
    before = min(max(SAMPLES // 2 - middle, 0), missing)
    return np.pad(sound, (before, missing - before))


def resampled(sound: np.ndarray, rate: int, wanted: int = RATE) -> np.ndarray:
    """Samples (n,) at another rate."""
    from scipy.signal import resample_poly

    if rate == wanted:
        return sound
    shared = gcd(rate, wanted)
    found: Any = resample_poly(sound, wanted // shared, rate // shared)  # an array, though untyped
    return found


def _numbered_split(number: int) -> Split:
    return "report" if number < 5 else "select" if number < 10 else "train"
