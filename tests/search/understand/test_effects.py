"""Total effects at fixed cost of functions whose effects are known."""

import numpy as np
import pytest
from made_studies import MORE_KNOBS, problem_of

from search.choose.pool import PoolSpace
from search.understand.effects import effects
from search.understand.importance import importance_of
from search.understand.resample import Design

POINTS = 1500


@pytest.fixture(scope="module")
def design():
    problem = problem_of({"router": MORE_KNOBS["router"], "mixture": {"spread": 1.0}})
    return Design(problem, PoolSpace(problem), POINTS)


def found(design, function):
    """Name -> effect of a function from points to scores, which is asked for as two equal functions."""
    variance, each = effects(design, lambda pool: np.tile(function(design.space.points(pool)), (2, 1)))
    return variance[0], {effect.name: effect for effect in each}


def test_a_function_of_the_cost_alone_has_no_effects_at_fixed_cost(design):
    variance, each = found(design, lambda points: 0.3 + 0.1 * points.log_flops - 0.02 * points.log_flops**2)
    assert variance < 1e-12
    assert all((effect.shares == 0).all() and not effect.supported for effect in each.values())


def test_additive_effects_of_independent_knobs_are_their_shares_of_the_variance(design):
    low, high = design.space.rate_ends
    width = high - low

    def function(points):
        rate = (points.log_rate - low) / width
        return rate + 0.5 * np.log(points.shares[:, 0]) + 3 * points.log_flops

    variance, each = found(design, function)
    of_rate = 1 / 12
    assert each["learning_rate"].shares[0] == pytest.approx(of_rate / variance, rel=0.12)
    assert each["mixture"].shares[0] == pytest.approx(1 - of_rate / variance, rel=0.1)
    tasks = design.space.groups
    assert each[tasks[0]].shares[0] > 5 * max(each[task].shares[0] for task in tasks[1:])
    for name in ("depth", "width", "experts", "top_k", "router"):
        assert each[name].shares[0] < 0.02, name


def test_a_knob_that_costs_and_does_nothing_is_worse_the_more_there_is_of_it(design):
    _, each = found(design, lambda points: 0.2 * np.log(points.shapes[:, 3] + 10.0))  # of the depth alone
    depth, width = importance_of(each["depth"]), importance_of(each["width"])
    assert depth.share > 0.2
    assert width.share > 0.2  # it takes FLOPs from the depth
    assert each["depth"].gains[0, -1] > each["depth"].gains[0, 0]
    assert each["width"].gains[0, -1] < each["width"].gains[0, 0]


def test_directions():
    problem = problem_of({"router": MORE_KNOBS["router"]})
    design, rng = Design(problem, PoolSpace(problem), 300), np.random.default_rng(0)
    sigmoid = design.space.points(design.pool).shapes.shape[1] - 1
    noise = 0.05 * rng.standard_normal((40, 2))

    def scores(pool):
        points = design.space.points(pool)
        rate = points.log_rate[None] - np.log(2e-3) - noise[:, :1]
        share = np.log(points.shares[:, 2])[None] * (1 + noise[:, 1:])
        return -0.1 * rate**2 + 0.05 * share + 0.04 * points.shapes[None, :, sigmoid]

    rows = {effect.name: importance_of(effect) for effect in effects(design, scores)[1]}
    assert rows["learning_rate"].direction == "optimum"
    assert rows["learning_rate"].best == pytest.approx(2e-3, rel=0.2)
    low, high = rows["learning_rate"].best_interval
    assert low <= rows["learning_rate"].best <= high
    assert rows[design.space.groups[2]].direction == "more"
    assert (rows["router"].direction, rows["router"].best) == ("value", "sigmoid")
    assert rows["top_k"].direction == "unsupported"
    assert rows["top_k"].interval[0] == 0
