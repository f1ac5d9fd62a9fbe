"""The one vocabulary, against the numbers that Gato states."""

import numpy as np
import pytest

from trainers.tokens import values
from trainers.tokens.vocabulary import Vocabulary

GATO = Vocabulary(text=32_000, bins=1024, discrete=1024, encoders=("image", "audio"))


def test_gatos_continuous_ids_follow_its_32000_pieces():
    assert GATO.continuous_range == (32_000, 33_024)
    bins = values.encode(np.array([-256.0, 1.0, 256.0]), 1024, values.MuLaw())
    assert GATO.continuous_ids(bins).tolist() == [32_000, 32_744, 33_023]


def test_ranges_tile_the_vocabulary():
    edges = [*GATO.text_range, *GATO.continuous_range, *GATO.discrete_range]
    assert edges == [0, 32_000, 32_000, 33_024, 33_024, 34_048]
    assert GATO.separator == 34_048
    assert [GATO.placeholder("image"), GATO.placeholder("audio")] == [34_049, 34_050]
    assert GATO.size == 34_051


def test_ids_come_back_as_they_were():
    bins, numbers = np.arange(1024), np.arange(1024).reshape(32, 32)
    assert np.array_equal(GATO.continuous_bins(GATO.continuous_ids(bins)), bins)
    assert np.array_equal(GATO.discrete_values(GATO.discrete_ids(numbers)), numbers)


@pytest.mark.parametrize("wrong", [-1, 1024])
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"a bin lies in \[0, 1024\)"):
        GATO.continuous_ids(np.array([wrong]))
    with pytest.raises(ValueError, match=r"a discrete value lies in \[0, 1024\)"):
        GATO.discrete_ids(np.array([wrong]))
    with pytest.raises(ValueError, match="the id of a discrete value"):
        GATO.discrete_values(np.array([GATO.discrete_range[0] + wrong]))


def test_choices_are_the_first_discrete_values():
    assert GATO.choices(6) == (33_024, 33_030)
    with pytest.raises(ValueError, match="choices are 1 to 1024"):
        GATO.choices(1025)
