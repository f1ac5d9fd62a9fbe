"""Sounds by label: files in folders, or named LABEL_SPEAKER_NUMBER.wav, as log-mel.

A recording is kept up to some seconds long, as 100 frames of `KEPT_BANDS` levels for each. Beside it stands
its loudest second in small, which also tells recordings apart. libsndfile reads them
(https://python-soundfile.readthedocs.io).

The Free Spoken Digit Dataset names its files so, and tests on the recordings numbered 0 to 4; a set that can
be split that way is, with those numbered 5 to 9 to select on.
"""

import re
from collections.abc import Sequence
from functools import partial
from math import gcd
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from space.records import FRAMES_PER_SECOND, SPLITS, Split
from space.sounds import BANDS as KEPT_BANDS
from trainers.tasks.datasets.content import ENOUGH_HELD_OUT, Item, items_by_folder, unreadable
from trainers.tasks.datasets.kept import Kept
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

SECONDS = 30.0  # of a recording that are kept, where nobody says how many
KEPT_RATE, KEPT_FRAME, KEPT_POINTS = 16_000, 400, 1024
KEPT_HOP = KEPT_RATE // FRAMES_PER_SECOND
KEPT_LIMITS = (20.0, 8000.0)
KEPT_RANGE = 18.4  # nepers of power, 80 dB
LEVELS = 255


def is_sound(path: Path) -> bool:
    """Whether a file is a sound, by its name."""
    return path.suffix.lower() in SUFFIXES


def sound_items(source: Path, files: Sequence[Path], seconds: float) -> tuple[list[Item], str]:
    """Sounds with their labels, not yet converted, and the rule by which names state splits, if any.

    Args:
        source: the folder.
        files: all files that are there.
        seconds: of a recording that are kept at most.

    Raises:
        TaskError: a file is not in the folder of a label.
    """
    paths = [path for path in files if is_sound(path)]
    names = [NUMBERED.fullmatch(path.stem) for path in paths]
    if not paths or len({path.parent for path in paths}) > 1 or not all(names):
        return items_by_folder(source, paths, partial(read_sound, seconds=seconds)), ""
    numbers = [int(name["number"]) for name in names if name]
    splits: list[Split | None] = [_numbered_split(number) for number in numbers]
    by_number = all(splits.count(split) >= ENOUGH_HELD_OUT for split in SPLITS)
    items = [
        Item(partial(read_sound, path, seconds), name["label"], path.name, split if by_number else None)
        for path, name, split in zip(paths, names, splits, strict=True)
        if name
    ]
    return items, NUMBERED_RULE if by_number else ""


def read_sound(path: Path, seconds: float = SECONDS) -> Kept:
    """What is kept of a WAV, FLAC, MP3 or Ogg file, with the bytes of `to_log_mel` as its view.

    Args:
        path: of the file.
        seconds: of it that are kept at most; of a longer one the loudest part.

    Raises:
        TaskError: the file cannot be read, or has no samples.
    """
    try:
        with path.open("rb") as content:
            content.read(1)  # libsndfile does not say why a file cannot be read
    except OSError as error:
        raise unreadable(path, error, WHAT) from None
    sound, rate = decoded(path, path)
    return Kept(to_levels(sound, rate, seconds).tobytes(), to_log_mel(sound, rate).tobytes())


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


def to_levels(sound: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """Samples (n,) -> log-mel of the whole sound, up to so many seconds, (frames, KEPT_BANDS) uint8.

    Of a longer sound, the loudest part of that length is taken.
    """
    whole = loudest(resampled(sound - sound.mean(), rate, KEPT_RATE), round(seconds * KEPT_RATE))
    short = max(KEPT_FRAME - len(whole), -(len(whole) - KEPT_FRAME) % KEPT_HOP)
    whole = np.pad(whole, (0, short))  # the last window has the last sample
    mel = log_mel(whole, KEPT_RATE, KEPT_BANDS, KEPT_FRAME, KEPT_HOP, KEPT_LIMITS, KEPT_POINTS, KEPT_RANGE)
    return np.rint((mel + 1) * (LEVELS / 2)).astype(np.uint8)


def to_log_mel(sound: np.ndarray, rate: int) -> np.ndarray:
    """Samples (n,) -> log-mel (FRAMES, BANDS) float16 in [-1, 1]: of one second."""
    second = one_second(resampled(sound - sound.mean(), rate))
    return log_mel(second, RATE, BANDS, FRAME, HOP, LIMITS).astype(np.float16)


def one_second(sound: np.ndarray) -> np.ndarray:
    """A sound at `RATE` of any length -> (SAMPLES,).

    A long one is cut to its loudest second. A short one is put between silences so that half of its energy
    has sounded in the middle, as far as it fits: where a recording begins says nothing.
    """
    missing = SAMPLES - len(sound)
    if missing <= 0:
        return loudest(sound, SAMPLES)
    energy = np.cumsum(np.r_[0.0, sound**2])
    middle = int(np.searchsorted(energy, energy[-1] / 2))
    before = min(max(SAMPLES // 2 - middle, 0), missing)
    return np.pad(sound, (before, missing - before))


def loudest(sound: np.ndarray, samples: int) -> np.ndarray:
    """The loudest part (samples,) of a sound; all of a shorter one."""
    if len(sound) <= samples:
        return sound
    energy = np.cumsum(np.r_[0.0, sound**2])
    start = int(np.argmax(energy[samples:] - energy[: len(energy) - samples]))
    return sound[start : start + samples]


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
