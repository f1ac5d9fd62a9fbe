"""The order of a timestep's parts, and cutting and joining of chunks."""

import numpy as np
import pytest

from space.images import PICTURE
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

VOCABULARY = Vocabulary(text=10, bins=4, discrete=4, encoders=("image", "audio"))
SEPARATOR, IMAGE, AUDIO = 18, 19, 20


def timestep(patches=2):
    pixels = np.arange(patches * 3, dtype=np.float32).reshape(patches, 3)
    seen = sequence.observation(
        VOCABULARY, prompt=[5, 6], patches={"image": pixels, "audio": np.ones((1, 2))}, ids=[14, 15]
    )
    return Chunk.concat([seen, sequence.action([16, 17], sequence.action_local(seen, 2))])


def test_a_timestep_is_text_patches_values_separator_action():
    chunk = timestep()
    assert chunk.tokens.tolist() == [5, 6, AUDIO, IMAGE, IMAGE, 14, 15, SEPARATOR, 16, 17]
    assert chunk.local.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7]
    assert chunk.scored.tolist() == [False] * 8 + [True] * 2
    assert np.flatnonzero(chunk.starts).tolist() == [0]
    assert chunk.tokens.dtype == np.int32
    assert chunk.local.dtype == np.int16


def test_nested_observations_are_flattened_by_key_and_row():
    tree = {"b": np.array([[3, 4], [5, 6]]), "a": {"y": 2, "x": [0, 1]}}
    assert sequence.flatten(tree).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert sequence.flatten({}).tolist() == []


def test_local_positions_stop_growing():
    seen = sequence.observation(VOCABULARY, ids=np.full(100, 14))
    assert seen.local.max() == sequence.LOCAL_POSITIONS - 1
    assert sequence.action_local(seen, 2).tolist() == [63, 63]


@pytest.mark.parametrize("cut", range(11))
def test_slices_take_their_patches_with_them(cut):
    whole = timestep()
    halves = [whole.slice(0, cut), whole.slice(cut, len(whole))]
    for half in halves:
        for name, placeholder in half.placeholders.items():
            assert len(half.patches[name]) == (half.tokens == placeholder).sum()
    joined = Chunk.concat(halves)
    assert np.array_equal(joined.tokens, whole.tokens)
    assert np.array_equal(joined.patches["image"], whole.patches["image"])


def test_nothing_joined_is_nothing():
    assert len(Chunk.concat([])) == 0


def test_patches_without_a_placeholder_are_refused():
    with pytest.raises(ValueError, match="every encoder with patches has a placeholder"):
        Chunk(*(np.zeros(1, dtype) for dtype in (np.int32, np.int16, bool, bool)), {"image": np.ones((1, 3))})


def test_a_large_image_has_a_position_for_each_of_its_parts_in_both_directions():
    vocabulary = Vocabulary(text=10, bins=4, discrete=4, encoders=(PICTURE,))
    for side, across in ((8, 8), (14, 8), (32, 8), (5, None)):
        patches = {PICTURE: np.zeros((side * side, 12), dtype=np.float32)}
        seen = sequence.observation(vocabulary, prompt=[5, 6], patches=patches, ids=[7])
        local = seen.local[2 : 2 + side * side].reshape(side, side)
        if across is None:
            assert local.ravel().tolist() == [*range(side * side)]
            continue
        assert sorted(set(local.ravel().tolist())) == [*range(64)]
        assert (np.diff(local // across, axis=0) >= 0).all()
        assert (local // across == local[:, :1] // across).all()
        assert (local % across == local[:1] % across).all()
        assert seen.local[-2:].tolist() == [63, 63]
