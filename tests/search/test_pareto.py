"""The front: against Optuna, against its definition, and whatever the order."""

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.pareto import hypervolume, knee, nondominated_rank, pareto, reached, staircase

# few distinct values, so that ties and twins are common
POINTS = st.lists(st.tuples(st.integers(-2, 4).map(float), st.integers(1, 6).map(float)), max_size=30)


def dominates(a, b) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a != b


@given(POINTS)
def test_front_is_what_nothing_dominates(points):
    expected = {i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)}
    assert set(pareto(points).tolist()) == expected


@given(POINTS, st.randoms())
def test_front_does_not_depend_on_the_order(points, random):
    shuffled = list(points)
    random.shuffle(shuffled)
    assert sorted(points[i] for i in pareto(points)) == sorted(shuffled[i] for i in pareto(shuffled))
    assert sorted(zip(nondominated_rank(points), points, strict=True)) == sorted(
        zip(nondominated_rank(shuffled), shuffled, strict=True)
    )


@given(POINTS)
def test_layers_are_fronts_of_what_is_left(points):
    layers = nondominated_rank(points)
    left = list(range(len(points)))
    for layer in range(len(points)):
        front = {left[i] for i in pareto([points[i] for i in left])}
        assert front == {i for i in left if layers[i] == layer}
        left = [i for i in left if i not in front]
    assert not left


@given(POINTS)
def test_front_equals_optunas_best_trials(points):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials([optuna.trial.create_trial(values=list(p)) for p in points])
    assert {t.number for t in study.best_trials} == set(pareto(points).tolist())


def test_front_stands_best_score_first_and_keeps_twins():
    points = [(0.2, 1.0), (0.9, 5.0), (0.2, 1.0), (0.5, 3.0), (0.4, 4.0)]
    assert pareto(points).tolist() == [1, 3, 0, 2]
    assert pareto([]).tolist() == []


def test_staircase_names_each_corner_once_from_the_cheapest():
    points = [(0.9, 5.0), (0.2, 1.0), (0.2, 1.0), (0.5, 3.0), (0.4, 4.0)]
    assert staircase(points).tolist() == [[0.2, 1.0], [0.5, 3.0], [0.9, 5.0]]


def test_knee_is_the_corner_farthest_above_the_chord_in_log_flops():
    points = [(0.0, 1.0), (0.5, 10.0), (0.62, 100.0), (1.0, 10_000.0), (0.1, 9_000.0)]
    assert knee(points) == 1
    assert knee([(s * 7 - 2, f * 1e6) for s, f in points]) == 1  # no unit matters


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.3, 5.0)], 0),
        ([(0.3, 5.0), (0.5, 9.0)], 1),
        ([(0.0, 1.0), (0.5, 10.0), (1.0, 100.0)], 2),  # a straight line
        ([(0.0, 1.0), (0.1, 10.0), (1.0, 100.0)], 2),  # nothing above the chord
    ],
)
def test_knee_without_a_bend_is_the_best(points, expected):
    assert knee(points) == expected


def test_hypervolume_is_the_area_under_the_staircase():
    points = [(0.5, 1e2), (1.0, 1e3), (0.3, 1e3), (2.0, 1e5), (-1.0, 1.0)]
    assert hypervolume(points, least_score=0.0, most=1e4) == pytest.approx(0.5 * 1 + 1.0 * 1)
    assert hypervolume([], least_score=0.0, most=1e4) == 0


@given(POINTS, st.tuples(st.integers(-2, 4).map(float), st.integers(1, 6).map(float)))
def test_hypervolume_never_falls_with_one_more_point(points, more):
    before = hypervolume(points, -2.0, 7.0)
    assert hypervolume([*points, more], -2.0, 7.0) >= before - 1e-12


def test_points_that_are_no_numbers_are_refused():
    for function in (pareto, nondominated_rank, staircase):
        with pytest.raises(ValueError, match="finite"):
            function([(np.nan, 1.0)])
    with pytest.raises(ValueError, match="above 0"):
        knee([])


TRIPLES = st.lists(st.tuples(*[st.integers(1, 5).map(float)] * 3), max_size=25)


def dominates_in_three(a, b) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2] and a != b


@given(TRIPLES)
def test_with_two_costs_the_front_is_what_nothing_dominates(points):
    expected = {i for i, p in enumerate(points) if not any(dominates_in_three(q, p) for q in points)}
    found = pareto(points).tolist()
    assert set(found) == expected
    assert found == sorted(found, key=lambda i: (-points[i][0], i))


@given(TRIPLES)
def test_with_two_costs_layers_are_fronts_of_what_is_left(points):
    layers, left = nondominated_rank(points), list(range(len(points)))
    for layer in range(len(points)):
        front = {left[i] for i in pareto([points[i] for i in left])}
        assert front == {i for i in left if layers[i] == layer}
        left = [i for i in left if i not in front]
    assert not left


@given(TRIPLES)
def test_what_is_reached_is_the_best_score_for_no_more(points):
    best = [max(q[0] for q in points if q[1] <= p[1] and q[2] <= p[2]) for p in points]
    assert reached(points).tolist() == best


def test_with_two_costs_the_knee_is_closest_to_the_ideal_point():
    points = [(0.9, 1e6, 1e9), (0.8, 1e4, 1e7), (0.1, 1e3, 1e8), (0.5, 1e4, 1e9)]
    assert knee(points) == 1  # the last one is dominated
    scaled = [(score, 3 * one, two / 7) for score, one, two in points]
    assert knee(scaled) == 1
    assert knee([(0.5, 10.0, 10.0)]) == 0
    assert knee([(0.5, 10.0, 10.0), (0.5, 10.0, 10.0)]) == 0


def test_with_two_costs_the_hypervolume_is_a_volume():
    points = [(0.5, 1e2, 1e2), (1.0, 1e3, 1e2), (0.7, 1e2, 1e3), (2.0, 1e5, 1.0)]
    # within costs of 1e4: 0.5 over two by two decades, 0.2 and 0.5 more where it costs more
    expected = 0.5 * 4 + 0.5 * 1 * 2 + 0.2 * 1 * 1
    assert hypervolume(points, 0.0, (1e4, 1e4)) == pytest.approx(expected)
