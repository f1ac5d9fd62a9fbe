"""Optuna's distributions as a unit cube: any value survives, and any point is a value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.choose.unit_space import UnitSpace

SPACE = {
    "float": FloatDistribution(-3.0, 7.0),
    "float log": FloatDistribution(1e-7, 1e2, log=True),
    "float step": FloatDistribution(-10.2, 10.2, step=0.1),
    "int": IntDistribution(-5, 90),
    "int step": IntDistribution(3, 94, step=7),
    "int log": IntDistribution(1, 1000, log=True),
    "words": CategoricalDistribution(["a", "b", None, True]),
    "numbers": CategoricalDistribution([64, 128, 512]),
    "single": FloatDistribution(2.5, 2.5),
    "single choice": CategoricalDistribution(["only"]),
}


def contained(params):
    return all(SPACE[name]._contains(SPACE[name].to_internal_repr(value)) for name, value in params.items())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_points_are_values_and_come_back(seed):
    space, rng = UnitSpace(SPACE), np.random.default_rng(seed)
    points = space.random(rng, 20)
    points = np.concatenate((points, space.mutants(rng, points, 20), space.crossed(rng, points, 20)))
    params = [space.params(point) for point in points]
    assert all(contained(each) for each in params)
    again = space.points(params)
    np.testing.assert_allclose(again, points, atol=1e-9)
    grid = [n for n, name in enumerate(SPACE) if name not in ("float", "float log")]
    assert (again[:, grid] == points[:, grid]).all()


def test_every_value_of_a_grid_is_drawn_as_often_as_any_other():
    space = UnitSpace({name: SPACE[name] for name in ("int step", "words", "numbers")})
    params = [space.params(point) for point in space.random(np.random.default_rng(0), 4_000)]
    for name, count in (("int step", 14), ("words", 4), ("numbers", 3)):
        times = np.unique([str(each[name]) for each in params], return_counts=True)[1]
        assert len(times) == count
        assert np.abs(times / 4_000 * count - 1).max() < 0.25


def test_small_steps_still_reach_the_next_value_of_a_grid():
    space = UnitSpace({"numbers": SPACE["numbers"], "int": SPACE["int"]})
    start = space.points([{"numbers": 128, "int": 40}])
    near = [space.params(point) for point in space.mutants(np.random.default_rng(0), start, 200, size=0.01)]
    assert {each["numbers"] for each in near} == {64, 128, 512}
    assert {39, 41} <= {each["int"] for each in near} <= set(range(34, 47))


def test_words_have_no_order_and_rising_numbers_have_one():
    space = UnitSpace({"words": SPACE["words"], "numbers": SPACE["numbers"], "single": SPACE["single"]})
    assert list(space.groups) == [0, 0, 0, 0, 1]
    x = space.inputs(
        space.points([{"words": w, "numbers": n, "single": 2.5} for w in "ab" for n in (64, 128, 512)])
    )
    assert np.ptp(np.linalg.norm(x[:3, :4] - x[3:, :4], axis=1)) == 0
    assert (np.diff(x[:3, 4]) > 0).all()
    unordered = UnitSpace({"x": CategoricalDistribution([3, 1, 2])})
    assert list(unordered.groups) == [0, 0, 0]


def test_a_value_outside_is_moved_to_the_nearest_end_and_no_choice_is_refused():
    space = UnitSpace(SPACE)
    assert space.place("float", 99.0) == 1.0
    assert space.place("int", -99) == space.place("int", -5)
    with pytest.raises(ValueError, match="zzz"):
        space.place("words", "zzz")
