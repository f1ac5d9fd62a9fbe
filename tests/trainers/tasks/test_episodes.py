"""Episodes end to end: they come back as they were, patches within half a level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.tasks.episodes import LEVELS, Episodes, PatchStore
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

VOCABULARY = Vocabulary(text=4, bins=2, discrete=4, encoders=("image", "sound"))


def episode(rng, timesteps):
    parts = [sequence.instruction([1, 2])]
    for _ in range(timesteps):
        patches = {"image": rng.normal(size=(2, 12)).astype(np.float32)}
        if rng.random() < 0.5:
            patches["sound"] = (rng.random((1, 10)) < 0.3).astype(np.float32)
        parts += [
            sequence.observation(VOCABULARY, patches=patches, ids=VOCABULARY.discrete_ids(np.array([3]))),
            sequence.action([5], np.zeros(1, np.int16)),
        ]
    return Chunk.concat(parts)


@pytest.fixture
def chunks():
    rng = np.random.default_rng(0)
    return [episode(rng, timesteps) for timesteps in (3, 1, 4)]


def same(a, b, step):
    for field in ("tokens", "local", "scored", "starts"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert a.placeholders == b.placeholders
    for name in a.patches:
        np.testing.assert_allclose(a.patches[name], b.patches[name], atol=step[name] / 2 + 1e-6)


def test_each_comes_back_alone_and_through_arrays(chunks):
    whole = Episodes.of(chunks)
    step = {name: store.scale[1] for name, store in whole.patches.items()}
    again = Episodes.from_arrays(whole.arrays())
    assert len(whole) == len(again) == 3
    for index, chunk in enumerate(chunks):
        same(whole[index], chunk, step)
        same(again[index], chunk, step)
    assert Episodes.of(whole) is whole
    assert len(whole[1:]) == 2
    with pytest.raises(IndexError):
        whole[3]


def test_one_hot_patches_are_bits_and_exact():
    rng = np.random.default_rng(0)
    patches = np.where(rng.random((5, 980)) < 0.1, np.float32(1 / np.sqrt(7)), np.float32(0))
    store = PatchStore.of(patches)
    assert store.stored.shape == (5, 123)
    np.testing.assert_allclose(store.rows(np.array([3, 0])), patches[[3, 0]], rtol=1e-6)


@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_levels_are_within_half_a_level(seed, size):
    patches = (size * np.random.default_rng(seed).normal(size=(3, 7))).astype(np.float32)
    store = PatchStore.of(patches)
    error = np.abs(store.rows(slice(None)) - patches).max()
    assert error <= (patches.max() - patches.min()) / LEVELS / 2 * 1.01
