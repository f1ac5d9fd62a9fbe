"""Sounds become log-mel patches in the order of time."""

from functools import cache

import numpy as np
from jaxtyping import Float, Float32

DYNAMIC_RANGE = 8.0  # nepers of power below the loudest cell that stay audible, about 35 dB
TOGETHER = 1024  # frames that are transformed at once


def log_mel(
    samples: Float[np.ndarray, " samples"],
    rate: int,
    bands: int,
    frame: int,
    hop: int,
    limits: tuple[float, float],
    points: int | None = None,
    dynamic_range: float = DYNAMIC_RANGE,
) -> Float32[np.ndarray, "frames bands"]:
    """(samples,) -> (frames, bands) float32 in [-1, 1].

    The loudest cell of a sound is 1 and `dynamic_range` below it is -1, so that loudness carries nothing.

    Args:
        samples: the sound.
        rate: samples per second.
        bands: triangular mel bands.
        frame: samples in a Hann window.
        hop: samples between two windows.
        limits: lowest and highest frequency, in Hz.
        points: of the Fourier transform; four times a window's when None.
        dynamic_range: nepers of power that stay audible.
    """
    points = points or 4 * frame
    windows = np.lib.stride_tricks.sliding_window_view(samples, frame)[::hop]
    filters, hann = _filters(rate, bands, points, limits), np.hanning(frame)
    parts = [
        np.abs(np.fft.rfft(windows[i : i + TOGETHER] * hann, n=points, axis=1)) ** 2 @ filters
        for i in range(0, len(windows), TOGETHER)
    ]
    energy = np.log(np.concatenate(parts) + 1e-12)
    level = 1 + 2 * (energy - energy.max()) / dynamic_range
    return np.clip(level, -1, 1).astype(np.float32)


def audio_patches(mel: Float[np.ndarray, "frames bands"], frames: int) -> Float32[np.ndarray, "patches size"]:
    """(frames in all, bands) in [-1, 1] -> (patches, frames * bands) float32, divided by sqrt(bands) / 4.

    Raises:
        ValueError: the patches do not tile the sound.
    """
    if len(mel) % frames:
        raise ValueError(f"patches of {frames} frames tile a sound, got {len(mel)} frames")
    return (mel / np.float32(np.sqrt(mel.shape[1]) / 4)).reshape(-1, frames * mel.shape[1]).astype(np.float32)


@cache
def _filters(rate: int, bands: int, size: int, limits: tuple[float, float]) -> np.ndarray:
    """Triangular filters, evenly spaced on the mel scale: (size // 2 + 1, bands)."""
    low, high = 1127 * np.log(1 + np.asarray(limits) / 700)
    mel = np.linspace(low, high, bands + 2)
    edges = 700 * (np.exp(mel / 1127) - 1)
    frequency = np.fft.rfftfreq(size, 1 / rate)[:, None]
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
