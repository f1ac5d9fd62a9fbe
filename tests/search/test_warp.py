"""Power transformations: values become about normal, keep their order, and never fail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import skew, yeojohnson

from search.surrogate.warp import fenced, standardised, warped

NORMAL = np.random.default_rng(0).normal(size=300)


@pytest.mark.parametrize(
    "values",
    [np.exp(4 * NORMAL), -np.exp(2 * NORMAL), np.exp(NORMAL) - 2],
    ids=["costs", "losses", "both signs"],
)
def test_skewed_values_become_symmetric(values):
    assert abs(skew(values)) > 3
    assert abs(skew(warped(values))) < 0.3


def test_normal_values_stay():
    np.testing.assert_allclose(warped(NORMAL), standardised(NORMAL), atol=0.02)


def test_of_both_signs_it_is_yeo_johnson():
    scaled = standardised(np.exp(NORMAL) - 2)
    found, likeliest = warped(np.exp(NORMAL) - 2), yeojohnson(scaled)[1]
    powers = np.linspace(-1, 2, 13)
    nearest = powers[np.argsort(np.abs(powers - likeliest))[:2]]
    assert any(np.allclose(found, standardised(yeojohnson(scaled, power)), atol=1e-9) for power in nearest)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30))
def test_order_is_kept_and_nothing_fails(values):
    values = np.array(values)
    found = warped(values)
    assert np.isfinite(found).all()
    assert (np.diff(found[np.argsort(values, kind="stable")]) >= -1e-9).all()


def test_only_extremely_low_values_are_cut_off():
    values = np.append(NORMAL, (-1e12, 1e12))
    found = fenced(values)
    np.testing.assert_array_equal(np.delete(found, 300), np.delete(values, 300))
    assert -8 < found[300] < NORMAL.min()
    constant = np.append(np.ones(9), -5.0)
    np.testing.assert_array_equal(fenced(constant), constant)
