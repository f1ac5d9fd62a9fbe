"""Confirmed means, their standard errors and intervals."""

import math

import numpy as np
import pytest
from scipy import stats

from search.store.means import Scored, confirmed_means, interval


def scored(*scores, stderr=0.001):
    return [Scored(score, stderr) for score in scores]


def test_the_variation_between_seeds_is_pooled():
    found = confirmed_means({"a": scored(0.4, 0.6), "b": scored(0.7, 0.7, 0.7), "c": scored(0.9), "d": []})
    assert found.keys() == {"a", "b", "c"}
    assert {name: mean.score for name, mean in found.items()} == pytest.approx({"a": 0.5, "b": 0.7, "c": 0.9})
    deviation = math.sqrt(0.02 / 3)  # squares of the deviations over 1 + 2 + 0 degrees of freedom
    for name, seeds in (("a", 2), ("b", 3), ("c", 1)):
        mean = found[name]
        assert (mean.seeds, mean.freedom) == (seeds, 3)
        assert mean.stderr == pytest.approx(deviation / math.sqrt(seeds))
        half = stats.t.ppf(0.975, 3) * mean.stderr
        assert mean.interval == pytest.approx((mean.score - half, mean.score + half))


def test_the_error_is_never_below_that_of_the_episodes():
    found = confirmed_means({"a": [Scored(0.5, 0.02), Scored(0.5, 0.04)], "b": scored(0.6, 0.6)})
    assert found["a"].stderr == pytest.approx(0.03)  # seeds play the same episodes
    assert found["b"].stderr == pytest.approx(0.001)


def test_one_seed_each_has_no_interval():
    found = confirmed_means({"a": scored(0.5), "b": scored(0.9)})
    assert [mean.interval for mean in found.values()] == [None, None]
    assert interval(0.5, 0.1, 0) is None


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(1_500):
        truth = rng.uniform(0.3, 0.8, 4)
        drawn = truth[:, None] + rng.normal(0, 0.03, (4, 2))
        means = confirmed_means({str(n): scored(*row, stderr=1e-6) for n, row in enumerate(drawn)})
        low, high = means["0"].interval
        inside.append(low <= truth[0] <= high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
