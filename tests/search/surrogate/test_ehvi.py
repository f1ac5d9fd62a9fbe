"""Expected gain in hypervolume with known costs: against Monte Carlo, brute force, and its own properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.pareto import hypervolume
from search.surrogate.ehvi import Terraces, expected_gain, steps

MOST = float(np.log(1e6))
SCORES = np.array([0.3, 0.5, 0.45, 0.2, -0.3])
COSTS = np.log([2e5, 5e5, 8e5, 1e5, 5e4])
numbers = st.floats(-1, 1, allow_subnormal=False)
fronts = st.lists(st.tuples(numbers, st.floats(10, 15)), max_size=8)


def gain(mean, std, log_cost, scores=SCORES, costs=COSTS, least=0.0, most=MOST):
    values = (np.atleast_1d(np.asarray(value, dtype=float)) for value in (mean, std, log_cost))
    return expected_gain(*values, (np.asarray(scores), np.asarray(costs)), least, most)


def area(points, least=0.0, most=MOST):
    """Hypervolume in units of score times natural logarithm of the cost."""
    return hypervolume([(score, np.exp(cost)) for score, cost in points], least, np.exp(most)) * np.log(10)


@pytest.mark.parametrize(
    ("mean", "std", "flops"), [(0.45, 0.1, 3e5), (0.3, 0.2, 1.5e5), (-0.2, 0.3, 4e4), (0.6, 0.05, 9e5)]
)
def test_it_is_the_mean_gain_of_drawn_scores(mean, std, flops):
    known = list(zip(SCORES, COSTS, strict=True))
    scores = mean + std * np.random.default_rng(0).standard_normal(2_000)
    before = area(known)
    gains = [area([*known, (score, np.log(flops))]) - before for score in scores]
    error = np.std(gains) / len(gains) ** 0.5
    assert gain(mean, std, np.log(flops))[0] == pytest.approx(np.mean(gains), abs=4 * error)


@settings(max_examples=100, deadline=None)
@given(front=fronts, score=numbers, cost=st.floats(9, 16))
def test_a_certain_score_gains_what_it_adds_to_the_hypervolume(front, score, cost):
    scores, costs = (np.array([point[axis] for point in front], dtype=float) for axis in (0, 1))
    added = area([*front, (score, cost)]) - area(front) if front else area([(score, cost)])
    assert gain(score, 0.0, cost, scores, costs)[0] == pytest.approx(added, abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(front=fronts, mean=numbers, std=st.floats(0, 0.5), cost=st.floats(9, 16), more=st.floats(0, 0.5))
def test_it_rises_with_mean_and_uncertainty_and_falls_with_cost(front, mean, std, cost, more):
    scores, costs = (np.array([point[axis] for point in front], dtype=float) for axis in (0, 1))
    base, better, wider, dearer = gain(
        [mean, mean + more, mean, mean],
        [std, std, std + more, std],
        [cost, cost, cost, cost + more],
        scores,
        costs,
    )
    assert 0 <= dearer <= base + 1e-12
    assert better >= base - 1e-12
    assert wider >= base - 1e-12


def test_nothing_is_gained_beyond_the_reference_nor_by_what_is_surely_dominated():
    assert gain(0.9, 0.1, MOST)[0] == 0
    assert gain(0.9, 0.1, MOST + 1)[0] == 0
    assert gain(0.2, 1e-3, np.log(6e5))[0] < 1e-12
    assert gain(-0.5, 1e-3, np.log(1e4))[0] < 1e-12  # below the least score
    assert gain(0.55, 1e-3, np.log(6e5))[0] > 0.01


def test_a_point_far_below_the_front_gains_nothing_and_one_near_it_what_is_expected_of_it():
    near = gain(0.5 - 7 * 0.01, 0.01, np.log(6e5))[0]
    assert 0 < near < 1e-12
    assert gain(0.5 - 9 * 0.01, 0.01, np.log(6e5))[0] == 0
    assert gain(np.full(3, -5.0), np.full(3, 1e-3), np.log([1e4, 1e5, 1e6])).tolist() == [0, 0, 0]


def test_dominated_points_and_the_order_of_the_front_change_nothing():
    at = np.linspace(-0.5, 1, 9), np.full(9, 0.2), np.linspace(10, 13.5, 9)
    expected = gain(*at)
    order = np.random.default_rng(1).permutation(len(SCORES))
    assert gain(*at, SCORES[order], COSTS[order]) == pytest.approx(expected, abs=1e-12)
    more = np.append(SCORES, [0.1, 0.3]), np.append(COSTS, np.log([3e5, 2e5]))
    assert gain(*at, *more) == pytest.approx(expected, abs=1e-12)


def test_points_do_not_influence_each_other():
    means, costs = np.array([0.1, 0.6, 0.4]), np.log([1e5, 4e5, 7e5])
    alone = [gain(mean, 0.1, cost)[0] for mean, cost in zip(means, costs, strict=True)]
    assert gain(means, np.full(3, 0.1), costs) == pytest.approx(alone, abs=1e-15)


def test_the_gain_over_draws_is_the_mean_of_the_gains_over_each():
    rng = np.random.default_rng(0)
    means, fronts = rng.normal(0.4, 0.2, (5, 3)), rng.normal(0.3, 0.3, (5, 6))
    fronts[1] = -1.0  # a draw in which no known point gains anything
    costs = np.log([1e5, 2e5, 2e5, 5e5, 8e5, 2e6])  # two of one cost, and one beyond the end
    std, at = np.full(3, 0.1), np.log([8e4, 2e5, 6e5])
    each = [gain(mean, std, at, front, costs) for mean, front in zip(means, fronts, strict=True)]
    together = expected_gain(means, std, at, (fronts, costs), 0.0, MOST)
    assert together == pytest.approx(np.mean(each, axis=0), abs=1e-15)
    exact = [
        area([*zip(front, costs, strict=True), (9.0, at[0])]) - area(zip(front, costs, strict=True))
        for front in fronts
    ]
    certain = expected_gain(np.full((5, 3), 9.0), np.zeros(3), at, (fronts, costs), 0.0, MOST)
    assert certain[0] == pytest.approx(np.mean(exact))


def test_the_staircase_holds_the_best_score_that_each_cost_buys():
    edges, heights = steps((SCORES, COSTS), 0.0)
    assert edges == pytest.approx([-np.inf, *np.log([1e5, 2e5, 5e5])])
    assert heights.tolist() == [0.0, 0.2, 0.3, 0.5]
    for cost in np.log([7e4, 1e5, 3e5, 9e5]):
        best = max([0.0, *SCORES[cost >= COSTS]])
        assert heights[np.searchsorted(edges, cost, side="right") - 1] == best
    empty = steps((np.empty(0), np.empty(0)), 0.25)
    assert [part.tolist() for part in empty] == [[-np.inf], [0.25]]


MOST_TWO = np.array([MOST, np.log(1e9)])
TWO = np.column_stack((COSTS, np.log([3e8, 1e8, 2e8, 6e8, 7e8])))  # costs of the known points
planes = st.lists(st.tuples(numbers, st.integers(10, 14), st.integers(17, 20)), max_size=8)


def gain_of_two(mean, std, log_costs, scores=SCORES, costs=TWO, least=0.0):
    terraces = Terraces.of(
        np.asarray(scores, dtype=float), np.asarray(costs, dtype=float).reshape(-1, 2), least
    )
    values = (np.atleast_1d(np.asarray(value, dtype=float)) for value in (mean, std))
    return terraces.expected_gain(*values, np.atleast_2d(np.asarray(log_costs, dtype=float)), MOST_TWO)


def volume(points, least=0.0):
    """Hypervolume in units of score times natural logarithms of both costs."""
    if not points:
        return 0.0
    found = [(score, np.exp(one), np.exp(two)) for score, one, two in points]
    return hypervolume(found, least, np.exp(MOST_TWO)) * np.log(10) ** 2


@pytest.mark.parametrize("least", [0.0, 0.35])
@pytest.mark.parametrize(
    ("mean", "std", "costs"),
    [(0.45, 0.1, (3e5, 2e8)), (0.3, 0.2, (1.5e5, 9e7)), (-0.2, 0.3, (4e4, 5e8)), (0.6, 0.05, (9e5, 9e8))],
)
def test_with_two_costs_it_is_the_mean_gain_of_drawn_scores(mean, std, costs, least):
    known = list(zip(SCORES, *TWO.T, strict=True))
    scores = mean + std * np.random.default_rng(0).standard_normal(1_000)
    before = volume(known, least)
    gains = [volume([*known, (score, *np.log(costs))], least) - before for score in scores]
    error = np.std(gains) / len(gains) ** 0.5
    assert gain_of_two(mean, std, np.log(costs), least=least)[0] == pytest.approx(
        np.mean(gains), abs=4 * error
    )


@settings(max_examples=100, deadline=None)
@given(front=planes, score=numbers, one=st.integers(9, 15), two=st.integers(16, 21))
def test_with_two_costs_a_certain_score_gains_what_it_adds(front, score, one, two):
    scores, costs = [point[0] for point in front], [point[1:] for point in front]
    added = volume([*front, (score, one, two)]) - volume(front)
    assert gain_of_two(score, 0.0, (one, two), scores, costs)[0] == pytest.approx(added, abs=1e-4)


@settings(max_examples=100, deadline=None)
@given(front=planes)
def test_terraces_cover_the_plane_once_and_reach_the_best_score(front):
    scores = np.array([point[0] for point in front], dtype=float)
    costs = np.array([point[1:] for point in front], dtype=float).reshape(-1, 2)
    terraces = Terraces.of(scores, costs, 0.0)
    assert len(terraces.heights) <= 3 * len(front) + 1
    for place in np.random.default_rng(0).uniform((9, 16), (15, 21), (40, 2)):
        own = (terraces.low <= place).all(axis=1) & (place < terraces.high).all(axis=1)
        reached = scores[(costs <= place).all(axis=1)]
        assert terraces.heights[own].tolist() == [max(0.0, *reached, 0.0)]


def test_a_second_cost_that_is_always_the_same_changes_only_the_unit():
    costs = np.column_stack((COSTS, np.full(5, 17.0)))
    found = gain_of_two([0.45, 0.2], [0.1, 0.3], np.log([[3e5, np.exp(17)], [1e5, np.exp(17)]]), costs=costs)
    alone = gain([0.45, 0.2], [0.1, 0.3], np.log([3e5, 1e5]))
    assert found == pytest.approx(alone * (MOST_TWO[1] - 17.0))
