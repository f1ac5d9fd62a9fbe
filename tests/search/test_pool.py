"""Points of a space as arrays: parity with candidates, all kinds of spaces, tight limits, mutants."""

import made_studies
import numpy as np
import pytest
from made_studies import MORE_KNOBS, ONE_ARCHITECTURE, counted_suite, problem_of
from test_any_space import SPACES

from search.choose import pool as pools
from search.choose.pool import COST_BINS, Pool, PoolSpace, _neighbour
from search.surrogate.columns import shares_of
from space.errors import StudyFileError
from space.knobs import Between, Choices

SOME = {
    "usual": {},
    "one knob": {**ONE_ARCHITECTURE, "depth": {"low": 1, "high": 40}, "learning_rate": 1e-3},
    "one architecture": ONE_ARCHITECTURE,
    "listed rates": {"learning_rate": {"choices": [1e-3, 2e-3, 4e-3]}},
    "fixed rate and mixture": {"learning_rate": 1e-3, "mixture": {"fixed": True}},
    "more knobs": MORE_KNOBS,
    "steps": {"width": {"low": 48, "high": 250, "step": 48}, "depth": {"low": 1, "high": 9, "step": 4}},
    "prior with weights of 0": {"mixture": {"prior": {"taxi": 1, "docs": 2}, "floor": 0}},
    "mixtures by domain": {"mixture": {"by": "domain", "floor": 0.01}},
    "few passes": {"mixture": {"epochs": 2.5, "spread": 2.5}},
    "few passes, by domain": {"mixture": {"by": "domain", "epochs": 2.5}},
    "lists in any order": SPACES["lists in any order"][0],
}


@pytest.fixture(autouse=True)
def _few_shapes(monkeypatch):
    """Spaces draw 150 shapes at first, since pricing a thousand takes a third of a second."""
    monkeypatch.setattr(pools, "SHAPES", 150)
    monkeypatch.setattr(made_studies, "suite", counted_suite)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", SOME)
def test_points_and_parameters_describe_the_same_candidates(name):
    problem = problem_of(SOME[name])
    space = PoolSpace(problem)
    pool = space.random(rng(), 20, -0.5)
    mutants, crossed = space.mutants(rng(1), pool, 20), space.crossed(rng(2), pool, 20)
    pool = Pool.joined((pool, mutants, crossed))
    points = space.points(pool)
    for index in range(len(pool)):
        params = space.params(pool, index)
        assert problem.checked_params(params) == params
        found = problem.feasible(params)
        assert points.log_flops[index] == pytest.approx(np.log(found.cost.flops_per_token))
        assert np.exp(points.log_rate[index]) == pytest.approx(found.candidate.learning_rate, rel=1e-5)
        shares = [found.candidate.mixture.weights[task] for task in problem.suite.tasks]
        assert points.shares[index] == pytest.approx(shares, abs=1e-6)
    again, kept = space.encode([space.params(pool, index) for index in range(len(pool))])
    assert kept.tolist() == list(range(len(pool)))
    assert (space.points(again).shapes == points.shapes).all()
    assert again.logits == pytest.approx(pool.logits)


@pytest.mark.parametrize("name", ["huge, few within the limits", "huge, one within the limits"])
@pytest.mark.slow
def test_spaces_with_tight_limits_have_shapes_within_them(name):
    given, limits = SPACES[name]
    problem = problem_of(given, limits=limits)
    space = PoolSpace(problem)
    assert len(set(space.drawn.tolist())) >= 50
    pool = space.random(rng(), 30, -1.0)
    pool = Pool.joined((pool, space.mutants(rng(), pool, 30), space.crossed(rng(), pool, 30)))
    assert len(pool) > 40
    for index in range(len(pool)):
        assert problem.limits.broken(problem.feasible(space.params(pool, index)).cost) is None


def test_limits_that_rule_everything_out_are_one_line():
    with pytest.raises(StudyFileError, match="limits: at least one architecture of the space is within them"):
        PoolSpace(problem_of(limits={"total_params": 100}))


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0])
def test_bins_are_drawn_by_a_power_of_their_cost(power):
    space = PoolSpace(problem_of())
    bins = space.bin_of(space.points(space.random(rng(), 4_000, power)).log_flops)
    counts = np.bincount(bins, minlength=COST_BINS)
    centres = (space.edges[:-1] + space.edges[1:]) / 2
    expected = np.exp(power * centres) / np.exp(power * centres).sum()
    assert counts / 4_000 == pytest.approx(expected, abs=0.03)


def test_candidates_that_the_space_no_longer_holds_are_left_out():
    problem = problem_of(limits={"flops_per_token": 1e6})
    space = PoolSpace(problem)
    good = space.params(space.random(rng(), 1, 0.0), 0)
    gone = [
        {**good, "width": 50},
        {**good, "depth": 64},
        {name: good[name] for name in good if name != "depth"},
    ]
    pool, kept = space.encode([gone[0], good, *gone[1:]])
    assert kept.tolist() == [1]
    assert space.params(pool, 0) == pytest.approx(good)
    for nothing in ([], gone):
        pool, kept = space.encode(nothing)
        assert len(pool) == len(kept) == len(space.points(pool)) == 0
        assert space.points(pool).shares.shape == (0, 8)


def test_mutants_are_near_their_parents_and_in_the_space():
    space = PoolSpace(problem_of(MORE_KNOBS))
    parent = space.random(rng(3), 1, 0.0)
    near, far = (space.mutants(rng(), parent, 300, size) for size in (0.2, 2.0))
    for mutants in (near, far):
        assert (np.abs(mutants.logits) <= space.spread).all()
        assert 200 < len(mutants) <= 300
    moves = [np.abs(m.logits - parent.logits).mean() for m in (near, far)]
    assert 0 < moves[0] < 0.3 * moves[1]
    params = [space.params(near, index) for index in range(len(near))]
    old = space.params(parent, 0)
    changed = [sum(p[name] != old[name] for name in old if "mixture" not in name) for p in params]
    assert np.mean(changed) < 4.5
    assert np.mean([c > 0 for c in changed]) > 0.7


def test_crossings_take_every_part_from_one_of_two():
    space = PoolSpace(problem_of({"mixture": {"fixed": True}}))
    parents = space.random(rng(4), 2, 0.0)
    old = [space.params(parents, index) for index in (0, 1)]
    crossed = space.crossed(rng(), parents, 60)
    assert len(crossed) > 30
    for index in range(len(crossed)):
        for name, value in space.params(crossed, index).items():
            if name not in ("top_k", "width", "expert_ratio", "dense_layers"):  # snapped to what can be built
                assert value in [pytest.approx(parent[name]) for parent in old]


@pytest.mark.parametrize(
    "knob",
    [
        Between(low=1, high=4),
        Between(low=64, high=65_536, step=64),
        Between(low=1, high=256, log=True),
        Between(low=0.25, high=4.0),
        Between(low=1e-4, high=1e-2, log=True),
        Choices(choices=(96, 48, 128, 64)),
        Choices(choices=("softmax", "sigmoid")),
        Choices(choices=(True, False)),
    ],
)
def test_neighbours_are_values_of_the_knob_and_reach_all_of_them(knob):
    random, value, seen = rng(), knob.sample(rng()), []
    for _ in range(300):
        value = _neighbour(random, knob, value)
        assert value in knob if isinstance(knob, Between) else value in knob.choices
        seen.append(value)
    values = knob.values()
    assert len(set(seen)) == len(values) if values is not None and len(values) < 10 else len(set(seen)) > 30
    if isinstance(knob, Between) and knob.whole:
        assert all(type(value) is int for value in seen)


def test_a_neighbour_of_a_value_that_is_not_listed_is_listed():
    knob = Choices(choices=(48, 64))
    assert {_neighbour(rng(seed), knob, 50) for seed in range(20)} == {48, 64}


def test_many_shapes_are_forgotten_and_older_pools_stay_valid(monkeypatch):
    space = PoolSpace(problem_of(MORE_KNOBS))
    assert space.fresh() is space
    pool = space.mutants(rng(), space.random(rng(), 20, 0.0), 200)
    before = [space.params(pool, index) for index in range(len(pool))]
    monkeypatch.setattr(pools, "REMEMBERED", 100)
    other = space.fresh()
    assert len(other._keys) < len(space._keys)
    first, second = (s.random(rng(5), 50, -1.0) for s in (space, other))
    assert (first.shape == second.shape).all()
    assert space.params(first, 7) == other.params(second, 7)
    encoded, kept = other.encode(before)
    assert len(kept) == len(before)
    assert [other.params(encoded, index) for index in range(len(kept))] == before
    assert [space.params(pool, index) for index in range(len(pool))] == before


def test_shares_by_task_are_those_of_their_log_ratios_to_the_last_bit():
    """The last bit decides between candidates of equal value, so that recorded searches can be repeated."""
    problem = problem_of({})
    space = PoolSpace(problem)
    pool = space.random(rng(), 200, 0.0)
    prior = np.full(len(problem.suite.tasks), 1 / len(problem.suite.tasks))
    expected = shares_of(pool.logits, prior, problem.space.mixture.floor)
    assert np.array_equal(space.points(pool).shares, expected)
