"""Hear which key was dialled: log-mel patches in, a word out; the expert is Goertzel's algorithm."""

from functools import cache

import numpy as np

from space.catalog import Sense, Split
from trainers.tasks.answers import AnswerTask, Example, exact_match
from trainers.tokens.audio import audio_patches, log_mel

WORDS = tuple(str(digit) for digit in range(10))
KEYPAD = ("123", "456", "789", "*0#")
ROWS = (697.0, 770.0, 852.0, 941.0)  # Hz, ITU-T Q.23
COLUMNS = (1209.0, 1336.0, 1477.0)
TONES = tuple(
    next((ROWS[r], COLUMNS[c]) for r in range(4) for c in range(3) if KEYPAD[r][c] == word) for word in WORDS
)

RATE = 8000
SAMPLES = 2176  # 0.27 s
SHORTEST, LONGEST = 720, 1760  # samples of a tone
DETUNE = 0.03
TWIST = 3.0  # dB between the two tones, at most
NOISE_RATIO = (-14.0, 2.0)  # dB, tones over noise while they sound
BANDS, FRAME, HOP, LIMITS = 32, 256, 128, (300.0, 2000.0)
PATCH_FRAMES = 4

GOERTZEL_WINDOW = 720
GOERTZEL_HOP = 104
GOERTZEL_PITCHES = np.linspace(1 - DETUNE, 1 + DETUNE, 9)


class DialledDigits(AnswerTask):
    """Dual tones (DTMF) of varied pitch, length, onset and balance under white noise."""

    name = "dialled-digits"
    family = "sounds"
    domain = "audio"
    modality: Sense = "audio"
    metric = "accuracy"
    unit = "rate"
    expert_name = "Goertzel's algorithm"
    eval_episodes = 256
    num_train_episodes = 24_000

    def example(self, split: Split, index: int) -> Example:
        """Press a random key."""
        rng = self.rng(split, index)
        digit = int(rng.integers(len(WORDS)))
        sound = dial(digit, rng)
        mel = log_mel(sound, RATE, BANDS, FRAME, HOP, LIMITS)
        return Example(
            patches={"audio": audio_patches(mel, PATCH_FRAMES)},
            answer=WORDS[digit],
            expert=lambda: WORDS[digit if split == "train" else hear(sound)],
        )

    def answer(self, split: Split, index: int) -> str:
        """The key, which is drawn before its sound."""
        return WORDS[int(self.rng(split, index).integers(len(WORDS)))]

    def answer_score(self, answer: str, right: str) -> float:
        """1 for the right digit."""
        return exact_match(answer, right)


def dial(digit: int, rng: np.random.Generator) -> np.ndarray:
    """The sound of a key, (SAMPLES,), with noise of variance 1."""
    length = int(rng.integers(SHORTEST, LONGEST + 1))
    onset = int(rng.integers(SAMPLES - length + 1))
    time = np.arange(length) / RATE
    frequencies = np.array(TONES[digit]) * rng.uniform(1 - DETUNE, 1 + DETUNE)
    twist = 10 ** (rng.uniform(-TWIST, TWIST) / 40 * np.array([1, -1]))
    phases = rng.uniform(0, 2 * np.pi, 2)
    tones = (twist[:, None] * np.sin(2 * np.pi * frequencies[:, None] * time + phases[:, None])).sum(0)
    sound = rng.standard_normal(SAMPLES)
    sound[onset : onset + length] += tones * 10 ** (rng.uniform(*NOISE_RATIO) / 20)
    return sound


def hear(sound: np.ndarray) -> int:
    """Which key sounds: the strongest pair of tones over all windows and pitches (Goertzel 1958)."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, GOERTZEL_WINDOW)[::GOERTZEL_HOP]
    low = goertzel(windows, np.outer(ROWS, GOERTZEL_PITCHES).ravel())
    high = goertzel(windows, np.outer(COLUMNS, GOERTZEL_PITCHES).ravel())
    shape = (len(windows), -1, len(GOERTZEL_PITCHES))
    pairs = low.reshape(shape)[:, :, None] + high.reshape(shape)[:, None]  # (windows, rows, columns, pitches)
    power = pairs.max(axis=(0, 3))
    strength = [power[ROWS.index(row), COLUMNS.index(column)] for row, column in TONES]
    return int(np.argmax(strength))


def goertzel(windows: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Power of each frequency in Hz in each window, (windows, samples) -> (windows, frequencies)."""
    factor = 2 * np.cos(2 * np.pi * frequencies / RATE)
    last = before = np.zeros((len(windows), len(frequencies)))
    for sample in windows.T * _window(windows.shape[1])[:, None]:
        last, before = sample[:, None] + factor * last - before, last
    return last**2 + before**2 - factor * last * before


@cache
def _window(size: int) -> np.ndarray:
    return np.hanning(size)
