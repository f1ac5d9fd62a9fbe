"""Continuous values as bins: Gato's known values, and the error of a round trip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.tokens.values import Linear, MuLaw, decode, encode

BINS = 1024


def test_mu_law_has_gatos_known_values():
    assert MuLaw().squash(np.array([1.0]))[0] == pytest.approx(0.455, abs=5e-4)
    assert MuLaw().squash(np.array([256.0, -256.0])).tolist() == pytest.approx([1.0, -1.0])
    assert encode(np.array([1.0, 256.0, 1e9, -256.0, 0.0]), BINS, MuLaw()).tolist() == [
        744,
        1023,
        1023,
        0,
        512,
    ]


def test_linear_bins_split_the_limits_evenly_and_clip():
    scale = Linear(low=(-1.0, 0.0), high=(1.0, 10.0))
    values = np.array([[-1.0, 0.0], [0.0, 5.0], [1.0, 10.0], [-9.0, 99.0]])
    assert encode(values, 4, scale).tolist() == [[0, 0], [2, 2], [3, 3], [0, 3]]
    assert decode(np.array([[0, 3]]), 4, scale).tolist() == [[-0.75, 8.75]]


@given(st.floats(-0.999, 0.999), st.integers(2, 2048))
def test_linear_round_trips_within_half_a_bin(value, bins):
    back = decode(encode(np.array([value]), bins, Linear()), bins, Linear())[0]
    assert abs(back - value) <= 1 / bins + 1e-12


@given(st.floats(-255, 255))
def test_mu_law_round_trips_within_half_a_bin_of_its_curve(value):
    back = decode(encode(np.array([value]), BINS, MuLaw()), BINS, MuLaw())
    assert abs(MuLaw().squash(back)[0] - MuLaw().squash(np.array([value]))[0]) <= 1 / BINS + 1e-12


@given(st.lists(st.floats(-300, 300), min_size=2, max_size=20))
def test_bins_keep_the_order_of_values(values):
    ordered = np.sort(values)
    for scale in (MuLaw(), Linear(-300.0, 300.0)):
        assert (np.diff(encode(ordered, BINS, scale)) >= 0).all()
