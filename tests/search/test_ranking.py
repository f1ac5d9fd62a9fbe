"""One ranking of any number of objectives: layers by definition, and the former order of two objectives."""

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from optuna.study import StudyDirection

from search.choose.promote import ranked, tie
from search.choose.ranking import _peeled, best_first, crowding_distance, nondominated_layers
from search.choose.snapshot import SnapshotTrial
from search.pareto import nondominated_rank


def results(least=1, most=4):
    """Values of a few results, often equal, and the direction of each objective."""
    return st.integers(least, most).flatmap(
        lambda m: st.tuples(
            hnp.arrays(
                float,
                st.tuples(st.integers(1, 24), st.just(m)),
                elements=st.integers(-4, 4).map(float) | st.floats(-5, 5),
            ),
            st.lists(st.booleans(), min_size=m, max_size=m),
        )
    )


def layers_by_definition(values, maximise):
    gains = np.where(maximise, values, -values)
    left, layers, layer = set(range(len(gains))), np.full(len(gains), -1), 0
    while left:
        front = {
            i
            for i in left
            if not any((gains[j] >= gains[i]).all() and (gains[j] > gains[i]).any() for j in left)
        }
        layers[list(front)] = layer
        left -= front
        layer += 1
    return layers


@settings(max_examples=200, deadline=None)
@given(results())
def test_layers_are_those_of_the_definition(drawn):
    values, maximise = drawn
    assert nondominated_layers(values, maximise).tolist() == layers_by_definition(values, maximise).tolist()


@settings(max_examples=100, deadline=None)
@given(results(least=2, most=2))
def test_the_fast_path_of_two_objectives_finds_the_same_layers(drawn):
    values, maximise = drawn
    distinct = np.unique(np.where(maximise, -values, values), axis=0)
    fast = nondominated_rank(np.column_stack((-distinct[:, 0], distinct[:, 1])))
    assert _peeled(distinct).tolist() == fast.tolist()


@settings(max_examples=30, deadline=None)
@given(results(least=2))
def test_the_first_layer_is_optunas_best_trials(drawn):
    values, maximise = drawn
    study = optuna.create_study(
        directions=[StudyDirection.MAXIMIZE if m else StudyDirection.MINIMIZE for m in maximise]
    )
    study.add_trials([optuna.create_trial(values=row) for row in values.tolist()])
    first = np.flatnonzero(nondominated_layers(values, maximise) == 0)
    assert first.tolist() == sorted(trial.number for trial in study.best_trials)


@given(results(), st.randoms(use_true_random=False))
def test_the_order_of_distinct_results_does_not_depend_on_the_order_they_come_in(drawn, chance):
    values, maximise = drawn
    values = np.unique(values, axis=0)
    if any(len(np.unique(column)) < len(values) for column in values.T):
        return  # ties of one objective are broken by place
    shuffled = list(range(len(values)))
    chance.shuffle(shuffled)
    order = [shuffled[i] for i in best_first(values[shuffled], maximise)]
    layers = nondominated_layers(values, maximise)
    assert layers[order].tolist() == sorted(layers.tolist())
    assert order == best_first(values, maximise)


def test_ends_of_every_objective_are_never_crowded():
    distance = crowding_distance(np.array([[0.0, 5, 1], [1, 4, 2], [2, 1, 3], [3, 2, 0], [1.5, 3, 1.5]]))
    assert np.isinf(distance).tolist() == [True, False, True, True, False]


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        best_first(np.array([[1.0, np.inf, 0.0]]), [True, True, True])


def formerly_ranked(trials, seed):
    """The order of version 0.2, which knew two objectives."""
    able = sorted(trials, key=lambda trial: tie(trial.candidate, trial.rung, seed))
    scores = np.array([trial.score for trial in able])
    flops = np.log([trial.flops_per_token for trial in able])
    layers = nondominated_rank(np.column_stack((scores, flops)))
    crowding = np.zeros(len(able))
    for layer in np.unique(layers):
        members = np.flatnonzero(layers == layer)
        distance = np.zeros(len(members))
        for values in (scores[members], flops[members]):
            order = np.argsort(values, kind="stable")
            width = values[order[-1]] - values[order[0]]
            distance[order[[0, -1]]] = np.inf
            if width > 0:
                distance[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / width
        crowding[members] = distance
    order = sorted(range(len(able)), key=lambda i: (layers[i], -crowding[i], -scores[i]))
    return [able[i] for i in order]


SCORES = st.floats(0.05, 1) | st.sampled_from([0.1, 0.2, 0.3])
FLOPS = st.floats(1, 1e9) | st.sampled_from([1e5, 2e5, 4e5])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(SCORES, FLOPS), min_size=1, max_size=40), st.integers(0, 3))
def test_score_and_flops_are_ranked_as_ever(points, seed):
    trials = [
        SnapshotTrial(str(n), 0, "done", True, score, 0.01, flops, 1.0)
        for n, (score, flops) in enumerate(points)
    ]
    assert ranked(trials, seed) == formerly_ranked(trials, seed)
