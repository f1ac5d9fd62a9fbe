"""Candidates as numbers: exact derivatives, mixtures, new knobs, scales, and which columns are left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_studies import MORE_KNOBS, ONE_ARCHITECTURE, by_law, encoded, problem_of, true_law
from new_knobs import Sunk

from search.choose import pool as pools
from search.surrogate import columns
from search.surrogate.columns import LEAST_SHARE, SHAPES, SIZES, Points, Shapes, logits_of, shares_of
from space import knob_index
from space.candidate import Architecture, CandidateConfig
from space.cost import price
from space.knobs import Between, Choices
from space.mixture import TaskMixture
from space.ranges import SearchSpace

FIXED = {"mixture": {"fixed": True}}


@pytest.fixture(autouse=True)
def _few_shapes(monkeypatch):
    """Spaces draw 150 shapes at first, since pricing a thousand takes a third of a second."""
    monkeypatch.setattr(pools, "SHAPES", 150)


def at(problem, count=30, per_task=True, seed=1):
    """Encoder, random points, and their rungs in turn."""
    space, encoder = encoded(problem, per_task)
    points = space.points(space.random(np.random.default_rng(seed), count, 0.0))
    return encoder, points, np.arange(count) % encoder.rungs


def eta(encoder, points, rungs, beta):
    return np.einsum("tpc,tc->tp", encoder.law(points, rungs), beta)


@pytest.mark.parametrize("per_task", [True, False])
@pytest.mark.parametrize("tasks", [8, 24])
def test_derivatives_by_share_equal_finite_differences(tasks, per_task):
    problem = problem_of({"mixture": {"floor": 0.005, "spread": 5}}, tasks=tasks)
    encoder, points, rungs = at(problem, 12, per_task)
    assert (points.shares * tasks > LEAST_SHARE).all()
    beta, step = true_law(encoder, 0), 1e-7
    found = encoder.by_share(points, beta)
    assert found.shape == (encoder.laws, 12, tasks)
    for task in range(tasks):
        moved = np.zeros(tasks)
        moved[task] = step
        up, down = (Points(points.shapes, points.log_rate, points.shares + m) for m in (moved, -moved))
        change = (eta(encoder, up, rungs, beta) - eta(encoder, down, rungs, beta)) / (2 * step)
        assert found[:, :, task] == pytest.approx(change, abs=1e-5)
    most = 1 + columns.MOST_SHARE
    assert (points.shares * tasks > most).any(), "no share is beyond the largest that counts"


def test_a_share_below_the_least_that_counts_has_no_derivative():
    encoder, points, rungs = at(problem_of({"mixture": {"floor": 0}}), 3)
    beta = true_law(encoder, 0)
    shares = points.shares.copy()
    shares[:, 0] = LEAST_SHARE / 8 / 2
    few = Points(points.shapes, points.log_rate, shares)
    none = Points(points.shapes, points.log_rate, np.where(np.arange(8) == 0, 0.0, shares))
    assert encoder.law(few, rungs)[0] == pytest.approx(encoder.law(none, rungs)[0])
    assert (encoder.by_share(few, beta)[0, :, 0] == 0).all()
    assert (encoder.by_share(few, beta)[1, :, 0] != 0).all()


@pytest.mark.parametrize("per_task", [True, False])
def test_derivatives_by_rate_equal_finite_differences(per_task):
    encoder, points, rungs = at(problem_of(), per_task=per_task)
    beta, step = true_law(encoder, 1), 1e-5
    up, down = (Points(points.shapes, points.log_rate + s, points.shares) for s in (step, -step))
    change = (eta(encoder, up, rungs, beta) - eta(encoder, down, rungs, beta)) / (2 * step)
    assert encoder.by_rate(points, rungs, beta) == pytest.approx(change, abs=1e-8)
    assert np.abs(change).max() > 0.01


@pytest.mark.parametrize("per_task", [True, False])
def test_derivatives_by_log_ratio_equal_finite_differences(per_task):
    problem = problem_of({"mixture": {"floor": 0.01, "spread": 2.5}})
    space, encoder = encoded(problem, per_task)
    pool = space.random(np.random.default_rng(2), 10, 0.0)
    rungs, beta, step = np.full(10, 2), true_law(encoder, 3), 1e-6
    slopes = encoder.by_share(space.points(pool), beta).sum(axis=0)
    found = space.share_slopes(pool, slopes)
    for task in range(8):
        moved = np.zeros(8)
        moved[task] = step
        up, down = (
            eta(encoder, space.points(type(pool)(pool.shape, pool.log_rate, pool.logits + m)), rungs, beta)
            for m in (moved, -moved)
        )
        assert found[:, task] == pytest.approx((up - down).sum(axis=0) / (2 * step), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    logits=st.lists(st.floats(-10, 10), min_size=2, max_size=24),
    prior=st.lists(st.floats(0, 1), min_size=24, max_size=24),
    floor=st.floats(0, 0.04),
)
def test_shares_equal_those_of_the_mixture(logits, prior, floor):
    names = [f"task{n}" for n in range(len(logits))]
    weights = np.array(prior[: len(names)]) + 1e-12
    weights /= weights.sum()
    expected = TaskMixture.from_logits(
        dict(zip(names, logits, strict=True)), dict(zip(names, weights, strict=True)), floor
    )
    found = shares_of(np.array([logits]), weights, floor)
    assert found[0] == pytest.approx(
        [expected.weights[name] for name in names], abs=6e-7
    )  # rounded to six decimals


def test_log_ratios_of_a_candidate_without_some_are_those_of_the_prior():
    assert logits_of([{"mixture.b": 1.5, "depth": 3}, {}], ["a", "b"]).tolist() == [[0.0, 1.5], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("space", "tasks"), [({}, 8), (MORE_KNOBS, 8), ({}, 24), ({}, 1), (FIXED, 8), (ONE_ARCHITECTURE, 8)]
)
def test_inputs_have_unit_scale_and_columns_vary(space, tasks):
    problem = problem_of(space, tasks=tasks)
    encoder, points, rungs = at(problem, 400, seed=0)
    inputs = encoder.inputs(points, rungs)
    assert inputs.std(axis=0) == pytest.approx(np.ones(inputs.shape[1]), abs=0.02)
    assert len(encoder.groups) == inputs.shape[1]
    assert set(encoder.groups) == set(range(max(encoder.groups) + 1))
    law = encoder.law(points, rungs)
    assert law.shape == (tasks, 400, len(encoder.prior.mean))
    assert (law[:, :, 0] == 1).all()
    assert (law[:, :, 1:].std(axis=1) > 1e-9).all()


def test_columns_that_a_space_does_not_vary_are_left_out():
    full = encoded(problem_of())[1]
    assert len(full.prior.mean) == 14 + 4 + 3 * 3 + 8  # named and data columns, rungs, shares
    one_rung = encoded(problem_of(rungs=(900_000,)))[1]
    assert len(full.prior.mean) - len(one_rung.prior.mean) == 4 + 3 * 3
    no_mixture = encoded(problem_of(FIXED))[1]
    assert len(full.prior.mean) - len(no_mixture.prior.mean) == 8
    dense = encoded(problem_of({"experts": 1, "top_k": 1}))[1]
    assert len(full.prior.mean) - len(dense.prior.mean) == 6  # experts, top_k, with tokens, at each rung
    fixed_rate = encoded(problem_of({"learning_rate": 1e-3}))[1]
    assert len(full.prior.mean) - len(fixed_rate.prior.mean) == 5
    one = encoded(problem_of({**ONE_ARCHITECTURE, **FIXED, "learning_rate": 1e-3}, rungs=(900_000,)))[1]
    assert len(one.prior.mean) == 1


def test_other_tasks_shares_are_pooled_and_own_ones_are_not():
    prior = encoded(problem_of())[1].prior
    assert (prior.pooled[-7:] == prior.pooled[-8] + 1).all()
    assert len(set(prior.pooled.tolist())) == len(prior.pooled) - 6
    alone = encoded(problem_of(), per_task=False)[1].prior
    assert (alone.pooled == -1).all()


def test_the_own_share_enters_as_a_logarithm_and_the_score_is_the_weighted_mean_of_tasks():
    encoder, points, rungs = at(problem_of())
    law, first = encoder.law(points, rungs), len(encoder.prior.mean) - 8
    for task in range(8):
        assert law[task, :, first] == pytest.approx(np.log(points.shares[:, task] * 8))
    fractions = by_law(encoder, true_law(encoder, 0), points, rungs)
    fractions[0] = 7.0
    assert encoder.score(fractions) == pytest.approx(encoder.weights @ np.clip(fractions, -1, 1))
    assert encoder.weights.sum() == pytest.approx(1)
    assert len(set(encoder.weights.round(6).tolist())) > 1  # domains of different sizes


class Ranges:
    """The default space with knobs that no package knows."""

    def __init__(self, **added):
        self._space, self._added = SearchSpace(), added

    def __getattr__(self, name):
        return self._added[name] if name in self._added else getattr(self._space, name)


@pytest.fixture
def new_knobs(monkeypatch):
    monkeypatch.setattr(columns, "KNOBS", {**knob_index.KNOBS, "sinks": None, "tilt": None, "shift": None})
    fields = {name: Sunk.model_fields[name] for name in ("sinks", "tilt")}
    monkeypatch.setattr(knob_index, "_FIELDS", knob_index._FIELDS | fields | {"shift": fields["tilt"]})
    monkeypatch.setattr(
        columns, "is_of_architecture", lambda name: name in Sunk.model_fields or name == "shift"
    )
    yield
    knob_index.kind.cache_clear()


def test_a_new_knob_enters_by_its_declaration_alone(new_knobs):
    added = {"sinks": Between(low=0, high=8), "tilt": Between(low=0.5, high=4.0)}
    shapes = Shapes(Ranges(**added, shift=Choices(choices=(1.0,))))
    assert list(shapes.others) == ["sinks", "tilt"]
    arch = Sunk(depth=1, width=32, sinks=3, tilt=2.0)
    candidate = CandidateConfig(
        architecture=arch, mixture=TaskMixture.uniform(["a"]), learning_rate=1e-3, optimizer="adamw"
    )
    row = shapes.row(candidate, price(Architecture(depth=1, width=32), problem_of().suite))
    assert row[len(SIZES) + len(SHAPES) :] == pytest.approx([np.log1p(3), np.log(2)])


def test_a_new_knob_that_may_be_negative_enters_as_it_is(new_knobs):
    shapes = Shapes(
        Ranges(sinks=Choices(choices=(0,)), tilt=Choices(choices=(1.0,)), shift=Between(low=-3.0, high=2.0))
    )
    assert shapes.others["shift"](-2.5) == [-2.5]


def test_words_flags_and_numbers_that_may_be_0_are_encoded():
    shapes = Shapes(problem_of(MORE_KNOBS).space)
    assert set(shapes.others) == set(MORE_KNOBS)
    expected = {"router": ("sigmoid", [1.0]), "optimizer": ("adamw", [0.0]), "qk_norm": (True, [1.0])}
    expected |= {"window": (32, [np.log(33)]), "dense_layers": (0, [0.0]), "head_dim": (8, [np.log(8)])}
    for name, (value, numbers) in expected.items():
        assert shapes.others[name](value) == pytest.approx(numbers)
    assert list(map(shapes.others["router"], ("softmax", "sigmoid"))) == [[0.0], [1.0]]
