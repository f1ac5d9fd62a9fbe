"""Importance in studies whose scores follow a known rule: truth inside the intervals, no effect made up."""

import numpy as np
import pytest
from made import by_rates_and_shares, made, score_of
from made_studies import MORE_KNOBS

from search.understand.effects import effects
from search.understand.importance import POINTS, importance
from search.understand.resample import Design
from space.errors import NotFoundError

SPACE = {"mixture": {"spread": 1.5}, "qk_norm": MORE_KNOBS["qk_norm"]}


def rows(found):
    return {("task" if row in found.tasks else "knob", row.name): row for row in (*found.knobs, *found.tasks)}


def true_shares(studied, rule):
    """What importance measures, of the rule itself."""
    space, problem = studied.models("a test").space, studied.problem

    def scores(pool):
        found = [problem.feasible(space.params(pool, index)) for index in range(len(pool))]
        return np.array([[score_of(problem, rule(each, 2)) for each in found]])

    of_each = effects(Design(problem, space, POINTS), scores)[1]
    return {("task" if e.of == "task" else "knob", e.name): float(e.shares[0]) for e in of_each}


@pytest.fixture(scope="module")
def known():
    rule = by_rates_and_shares(rate=0.5)
    studied = made(rule, 60, seed=1, space=SPACE)
    return studied, rule, importance(studied)


@pytest.mark.slow
def test_true_shares_lie_in_the_intervals(known):
    studied, rule, found = known
    truth, rows_of = true_shares(studied, rule), rows(found)
    assert truth.keys() == rows_of.keys()
    inside = [row.interval[0] <= truth[key] <= row.interval[1] for key, row in rows_of.items()]
    assert np.mean(inside) >= 0.8
    rate = rows_of["knob", "learning_rate"]
    assert truth["knob", "learning_rate"] > 0.5
    assert rate.interval[0] <= truth["knob", "learning_rate"] <= rate.interval[1]
    assert found.knobs[0] == rate


def test_what_matters_is_supported_with_its_direction(known):
    rate = rows(known[2])["knob", "learning_rate"]
    assert rate.supported
    assert rate.direction == "optimum"
    low, high = rate.best_interval
    assert low / 1.25 <= 3e-3 <= high * 1.25  # the best parabola's optimum, of an effect that is none


@pytest.mark.slow
def test_what_does_nothing_is_not_supported():
    wrong = []
    for seed in range(3):
        found = rows(importance(made(by_rates_and_shares(rate=0.5), 50, seed=10 + seed, space=SPACE)))
        nothing = [found["knob", name] for name in ("qk_norm", "expert_ratio", "top_k", "depth")]
        wrong += [row.supported for row in nothing]
        assert all(row.interval[0] == 0 for row in nothing if not row.supported)
        assert found["knob", "learning_rate"].supported
    assert np.mean(wrong) < 0.25


@pytest.mark.slow
def test_it_is_the_same_for_the_same_study():
    rule = by_rates_and_shares()
    assert importance(made(rule, 20, seed=2)) == importance(made(rule, 20, seed=2))


def test_one_architecture_one_task_and_one_rung_are_no_trouble():
    space = {"depth": 2, "width": 48, "experts": 4, "top_k": 2, "expert_ratio": 1}
    found = importance(made(by_rates_and_shares(), 20, seed=3, space=space, tasks=1, rungs=(900_000,)))
    assert [row.name for row in found.knobs] == ["learning_rate"]
    assert (found.tasks, found.rungs) == ((), ())
    assert found.knobs[0].share == pytest.approx(1, abs=0.1)


def test_too_few_scores_are_refused_with_the_number_that_is_needed():
    with pytest.raises(
        NotFoundError, match="importance needs 8 candidates with scores, and study 'made' has 7"
    ):
        importance(made(by_rates_and_shares(), 7, seed=0))


def test_rank_correlations_of_the_rungs():
    studied = made(by_rates_and_shares(), 48, seed=4, noise=0.001)
    found = importance(studied).rungs
    assert [(pair.lower, pair.upper, pair.candidates) for pair in found] == [
        (0, 1, 24),
        (0, 2, 12),
        (1, 2, 12),
    ]
    for pair in found:
        low, high = pair.interval
        assert 0.9 < pair.correlation <= 1
        assert low <= pair.correlation <= high
