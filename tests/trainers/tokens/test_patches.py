"""Images and sounds as patches."""

import numpy as np
import pytest

from trainers.tokens.audio import audio_patches, log_mel
from trainers.tokens.image import image_patches


def test_patches_stand_in_raster_order():
    quarters = np.kron([[0.0, 0.25], [0.5, 0.75]], np.ones((4, 4)))[:, :, None].repeat(3, 2)
    patches = image_patches(quarters, 4)
    assert patches.shape == (4, 48)
    assert patches.dtype == np.float32
    assert patches[:, 0] * 2 == pytest.approx([-1.0, -0.5, 0.0, 0.5])


def test_pixels_are_scaled_to_one_over_the_root_of_the_side():
    black_and_white = np.stack([np.zeros((16, 16)), np.ones((16, 16)), np.full((16, 16), 0.5)], axis=-1)
    values = image_patches(black_and_white, 16).reshape(16, 16, 3)
    assert values[3, 5].tolist() == [-0.25, 0.25, 0.0]


def test_a_patch_is_flattened_row_by_row_and_comes_back():
    pixels = np.random.default_rng(0).random((16, 24, 3))
    patches = image_patches(pixels, 8)
    assert patches[1].reshape(8, 8, 3)[2, 3] * np.sqrt(8) == pytest.approx(pixels[2, 11] * 2 - 1, abs=1e-6)
    rows = patches.reshape(2, 3, 8, 8, 3).swapaxes(1, 2).reshape(16, 24, 3)
    assert (rows * np.sqrt(8) + 1) / 2 == pytest.approx(pixels, abs=1e-6)


def test_patches_that_do_not_tile_are_refused():
    with pytest.raises(ValueError, match="got 10 x 16"):
        image_patches(np.zeros((10, 16, 3)), 8)
    with pytest.raises(ValueError, match="got 10 frames"):
        audio_patches(np.zeros((10, 8), np.float32), 4)


@pytest.mark.parametrize("pitch", [400.0, 900.0, 1600.0])
def test_a_tone_is_loudest_in_its_own_band(pitch):
    rate, bands, limits = 8000, 32, (300.0, 2000.0)
    tone = np.sin(2 * np.pi * pitch * np.arange(2176) / rate)
    mel = log_mel(tone, rate, bands, 256, 128, limits)
    low, high = 1127 * np.log(1 + np.array(limits) / 700)
    centres = 700 * (np.exp(np.linspace(low, high, bands + 2)[1:-1] / 1127) - 1)
    assert mel.shape == (16, bands)
    assert np.unique(mel.argmax(1)).tolist() == [np.abs(centres - pitch).argmin()]
    assert mel.max() == 1.0
    assert mel.min() >= -1.0


def test_loudness_changes_nothing():
    sound = np.random.default_rng(0).standard_normal(2176)
    quiet, loud = (log_mel(sound * gain, 8000, 32, 256, 128, (300.0, 2000.0)) for gain in (0.1, 10.0))
    assert quiet == pytest.approx(loud, abs=1e-5)


def test_audio_patches_stand_in_the_order_of_time():
    mel = np.arange(8, dtype=np.float32)[:, None].repeat(16, 1)
    patches = audio_patches(mel, 4)
    assert patches.shape == (2, 64)
    assert patches[1, 0] == 4.0  # the root of 16 bands is 4
