"""Beeps under noise: how they are made, and how pitch, envelope, glide and wave form are measured.

All sounds have white noise of variance 1, and loudness is the power of a tone over it while it sounds.
"""

from functools import cache

import numpy as np

RATE = 8000
PITCHES = (450.0, 1400.0)  # Hz
LOUDNESS = (-6.0, 4.0)  # dB
STEP = 10  # samples between two values of an envelope
SMOOTHING = 240  # samples of an envelope's window
SPECTRUM = 8192  # bins of a spectrum, zeros included

GLIDES = np.arange(-4000.0, 4001.0, 50.0)  # Hz per second that are tried
WAVES = {
    "sine": (1.0, 0.0, 0.0, 0.0),
    "square": (1.0, 0.0, 1 / 3, 0.0),
    "saw": (1.0, 1 / 2, 1 / 3, 1 / 4),
}


def tone(frequencies: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tone of unit power whose frequency in Hz is given for each sample, (samples,), without noise."""
    phase = 2 * np.pi * np.cumsum(frequencies) / RATE
    return np.sqrt(2) * np.sin(phase + rng.uniform(0, 2 * np.pi))


def wave(pitch: float, samples: int, shape: str, rng: np.random.Generator) -> np.ndarray:
    """A tone of unit power with the harmonics of a wave form, in random phases, (samples,)."""
    parts = [a * tone(np.full(samples, pitch * (k + 1)), rng) for k, a in enumerate(WAVES[shape])]
    return np.sum(parts, axis=0) / np.linalg.norm(WAVES[shape])


def draw_pitch(rng: np.random.Generator, headroom: float = 1.0) -> float:
    """A pitch in Hz, evenly on a scale of octaves; times `headroom` it is still one of `PITCHES`."""
    return float(np.exp(rng.uniform(*np.log([PITCHES[0], PITCHES[1] / headroom]))))


def draw_gain(rng: np.random.Generator, loudness: tuple[float, float] = LOUDNESS) -> float:
    """The amplitude of a tone of unit power with random loudness."""
    return 10 ** (rng.uniform(*loudness) / 20)


def in_noise(parts: list[tuple[int, np.ndarray]], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Sounds at their onsets, added to noise, (samples,)."""
    sound = rng.standard_normal(samples)
    for onset, part in parts:
        sound[onset : onset + len(part)] += part
    return sound


def peak(sound: np.ndarray, window: int, hop: int = 100) -> float:
    """The frequency in Hz of the strongest peak of all spectra of Hann windows."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(window), n=SPECTRUM, axis=1)) ** 2
    return _strongest(power.max(axis=0))


def carrier(sound: np.ndarray, window: int = 320) -> float:
    """The frequency in Hz of a tone that is switched on and off: the strongest on average."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, window)[:: window // 4]
    power = np.abs(np.fft.rfft(windows * np.hanning(window), n=SPECTRUM, axis=1)) ** 2
    return _strongest(power.mean(axis=0))


def envelope(sound: np.ndarray, frequency: float, smoothing: int = SMOOTHING) -> np.ndarray:
    """Amplitude at a frequency over time, a value for each `STEP` samples, (samples / STEP,)."""
    turned = sound * np.exp(-2j * np.pi * frequency / RATE * np.arange(len(sound)))
    window = np.hanning(smoothing)
    return np.abs(np.convolve(turned, window / window.sum(), mode="same"))[::STEP]


def evidence(levels: np.ndarray) -> np.ndarray:
    """Evidence of a tone in each value of an envelope: the distance from the middle of two levels.

    The levels are the means of the two groups into which the values fall best (Otsu 1979).
    """
    ordered = np.sort(levels)
    counts = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)[:-1]
    low, high = sums / counts, (ordered.sum() - sums) / (len(ordered) - counts)
    best = np.argmax(counts * (len(ordered) - counts) * (high - low) ** 2)
    return levels - (low[best] + high[best]) / 2


def longest_run(for_tone: np.ndarray) -> int:
    """Length of the stretch with the greatest sum of evidence (Kadane's algorithm)."""
    sums = np.concatenate([[0.0], np.cumsum(for_tone)])
    lowest = np.minimum.accumulate(sums)
    end = int(np.argmax(sums - lowest))
    return end - int(np.argmin(sums[: end + 1]))


def runs(for_tone: np.ndarray, shortest: int) -> int:
    """How many tones sound: the likeliest switching on and off with `shortest` values in each state at least.

    Dynamic programming over time: the best sum of evidence of all that may be switched now.
    """
    sums = np.concatenate([[0.0], np.cumsum(for_tone)]).tolist()
    off, on = [(0.0, 0)], [(-np.inf, 0)]  # total and number of tones so far
    for end in range(1, len(sums)):
        start = end - shortest
        ended, begun = off[-1], (on[-1][0] + sums[end] - sums[end - 1], on[-1][1])
        if start >= 0:
            ended = max(ended, on[start])
            begun = max(begun, (off[start][0] + sums[end] - sums[start], off[start][1] + 1))
        off.append(ended)
        on.append(begun)
    return max(off[-1], on[-1])[1]


def glide(sound: np.ndarray) -> float:
    """How fast a tone rises, in Hz per second: the rate whose removal leaves the sharpest peak."""
    size = SPECTRUM // 2
    power = np.abs(np.fft.fft(sound * _turns(len(sound)), n=size, axis=1)) ** 2
    low, high = (int(limit * size / RATE) for limit in (PITCHES[0] / 2, PITCHES[1] * 1.5))
    return float(GLIDES[power[:, low:high].max(axis=1).argmax()])


def harmonics(sound: np.ndarray, window: int, pitches: tuple[float, float]) -> np.ndarray:
    """Amplitudes of the first harmonics over the first one's, at the loudest window, (harmonics,)."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, window)[::100]
    power = np.abs(np.fft.rfft(windows * np.hanning(window), n=SPECTRUM, axis=1)) ** 2
    low, high = (int(limit * SPECTRUM / RATE) for limit in pitches)
    frame, place = np.unravel_index(power[:, low : high + 1].argmax(), (len(power), high + 1 - low))
    count = len(next(iter(WAVES.values())))
    places = [(low + int(place)) * (k + 1) for k in range(count)]
    amplitudes = np.sqrt([power[frame, p - k : p + k + 1].max() for k, p in enumerate(places, 1)])
    return amplitudes / amplitudes[0]


def _strongest(power: np.ndarray) -> float:
    """The frequency in Hz of a spectrum's highest value at `PITCHES` and a little beyond."""
    low, high = (int(limit * SPECTRUM / RATE) for limit in (PITCHES[0] * 0.9, PITCHES[1] * 1.1))
    return (low + int(power[low : high + 1].argmax())) * RATE / SPECTRUM


@cache
def _turns(samples: int) -> np.ndarray:
    """Factors that remove each of `GLIDES` from a sound, (glides, samples)."""
    time = np.arange(samples) / RATE
    return np.exp(-1j * np.pi * GLIDES[:, None] * time**2)
