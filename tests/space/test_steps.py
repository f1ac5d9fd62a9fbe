"""Ranges in steps: their rules, their values, and draws that stay on the steps and can be built."""

import itertools
import math

import numpy as np
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from space.buildable import multiples
from space.candidate import Architecture
from space.cost import price
from space.errors import StudyFileError
from space.knobs import STORED, Between
from space.lowering import STEPS, lower
from space.parsing import parse
from space.ranges import MOST_ARCHITECTURES, Limits, SearchSpace
from space.reference import as_yaml
from space.study import StudyConfig

WHOLE = {
    "depth": (1, 8),
    "width": (16, 512),
    "experts": (1, 24),
    "top_k": (1, 8),
    "shared_experts": (0, 1),
    "dense_layers": (0, 6),
    "head_dim": (4, 64),
    "kv_groups": (1, 8),
    "window": (0, 64),
}


def test_values_are_low_and_every_step_from_it():
    knob = Between(low=48, high=512, step=16)
    assert knob.values() == list(range(48, 513, 16))
    assert 64 in knob
    assert 65 not in knob
    assert 528 not in knob
    flags = Between(low=0, high=1)
    assert [value in flags for value in (0, 1, False, True)] == [True, True, False, False]


def test_a_high_beyond_the_last_step_is_lowered_to_it_as_in_optuna():
    from optuna.distributions import IntDistribution

    with pytest.warns(UserWarning, match="not divisible by `step`"):
        theirs = IntDistribution(48, 100, step=16)
    assert Between(low=48, high=100, step=16).high == theirs.high == 96


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (
            "width: {low: 48, high: 512, step: 0}",
            "space.width.step: input should be greater than or equal to 1",
        ),
        ("width: {low: 48, high: 512, step: 1.5}", "space.width.step: "),
        ("width: {low: 48, high: 512, step: 16, log: true}", "space.width: a log range has no step but 1"),
        ("expert_ratio: {low: 0.5, high: 4, step: 1}", "space.expert_ratio: a range with a step has whole"),
        ("expert_ratio: {low: 1, high: 4, step: 1}", "space.expert_ratio: only whole numbers have a step"),
        ("learning_rate: {low: 1, high: 4, step: 1}", "space.learning_rate: only whole numbers have a step"),
        ("width: {low: 48, high: 512, steps: 16}", "space.width.steps: unknown key; did you mean 'step'"),
    ],
)
def test_mistakes_take_one_line(space, said):
    study = {"study": "x", "rungs": {"tokens": [100_000]}, "stop": {"candidates": 1}}
    with pytest.raises(ValueError, match="space") as caught:
        parse(StudyConfig, {**study, "space": yaml.safe_load(f"{{{space}}}")}, ValueError)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_log_range_may_say_that_it_has_no_steps():
    assert Between(low=1, high=64, log=True, step=1).values() == list(range(1, 65))


def test_a_study_without_steps_is_stored_as_before_and_one_with_steps_is_read_again():
    plain = SearchSpace.model_validate({"depth": {"low": 1, "high": 4}})
    assert plain.model_dump(mode="json")["depth"] == {"low": 1, "high": 4, "log": False}
    stored = {"low": 1, "high": 4, "log": False}
    assert SearchSpace.model_validate({"depth": stored}, context=STORED) == plain
    stepped = SearchSpace.model_validate({"width": {"low": 48, "high": 200, "step": 48}})
    assert SearchSpace.model_validate_json(stepped.model_dump_json(), context=STORED) == stepped
    assert yaml.safe_load(as_yaml(stepped.width)) == {"low": 48, "high": 192, "step": 48}


@given(st.integers(-50, 50), st.integers(0, 80), st.integers(1, 20), st.integers(1, 30))
def test_the_multiples_of_a_unit_in_a_range(low, extra, step, unit):
    knob = Between(low=low, high=low + extra, step=step)
    assert list(multiples(knob, unit)) == [n for n in knob.values() if n % unit == 0]


@given(st.integers(1, 50), st.integers(0, 50), st.integers(1, 20), st.integers(0, 2**32))
def test_samples_are_on_the_steps_and_reach_all_of_them(low, extra, step, seed):
    knob = Between(low=low, high=low + extra, step=step)
    rng = np.random.default_rng(seed)
    values = knob.values()
    drawn = {knob.sample(rng) for _ in range(20 * len(values))}
    assert drawn <= set(values)
    assert len(drawn) > len(values) // 2


@st.composite
def spaces(draw):
    """A space whose whole knobs are ranges with steps, ranges without, lists or single values."""
    knobs = {}
    for name, (least, most) in WHOLE.items():
        low = draw(st.integers(least, most))
        high = draw(st.integers(low, most))
        form = draw(st.sampled_from(["step", "step", "range", "list", "value"]))
        step = draw(st.integers(1, max(1, (most - least) // 4)))
        knobs[name] = {
            "step": {"low": low, "high": high, "step": step},
            "range": {"low": low, "high": high},
            "list": {"choices": sorted({low, high})},
            "value": low,
        }[form]
    low = draw(st.floats(0.05, 8))
    knobs["expert_ratio"] = {"low": low, "high": low + draw(st.floats(0, 8))}
    try:
        return SearchSpace.model_validate(knobs)
    except ValidationError:  # every top_k is above every number of experts
        assume(False)


def built(space, params, context=128):
    return space.architecture(params, context) is not None


@settings(max_examples=150, deadline=None)
@given(spaces(), st.integers(0, 1000))
def test_snapped_draws_are_in_the_space_and_are_built_wherever_raw_ones_are(space, seed):
    rng = np.random.default_rng(seed)
    ranges = space.varying
    for _ in range(10):
        raw = {name: knob.sample(rng) for name, knob in ranges.items()}
        params = space.snapped(raw)
        for name, value in params.items():
            knob = ranges[name]
            assert value in knob if isinstance(knob, Between) else value == raw[name]
        assert space.snapped(params) == pytest.approx(params)
        if built(space, raw):
            assert built(space, params)
            assert {n: v for n, v in params.items() if n != "expert_ratio"} == {
                n: v for n, v in raw.items() if n != "expert_ratio"
            } or not Architecture.model_validate(_all(space, raw)).sparse


def _all(space, params):
    fixed = {name: getattr(space, name).values()[0] for name in WHOLE if name not in params}
    return {**fixed, **params}


def can_be_built(space):
    """Whether any point of a space of ranges can be built, by trying all of them."""
    of = {name: getattr(space, name).values() for name in WHOLE}
    heads = any(
        head % 2 == 0 and width % (head * groups) == 0
        for head, width, groups in itertools.product(of["head_dim"], of["width"], of["kv_groups"])
    )
    return heads and min(of["dense_layers"]) <= max(of["depth"])


def test_of_random_spaces_in_steps_every_snapped_draw_is_built_if_any_point_can_be():
    rng = np.random.default_rng(0)
    raw, snapped, possible = 0, 0, 0
    for _ in range(300):
        knobs = {}
        for name, (least, most) in WHOLE.items():
            low, high = sorted(rng.integers(least, most + 1, size=2).tolist())
            knobs[name] = {"low": low, "high": high, "step": int(rng.integers(1, 1 + max(1, most // 8)))}
        try:
            space = SearchSpace.model_validate(knobs)
        except ValidationError:  # every top_k is above every number of experts
            continue
        if 1 in space.experts.values():  # then the number of dense layers may be above every depth
            continue
        for _ in range(10):
            drawn = {name: knob.sample(rng) for name, knob in space.varying.items()}
            raw += built(space, drawn)
            snapped += built(space, space.snapped(drawn))
            possible += can_be_built(space)
    assert snapped == possible > 300
    assert snapped > 10 * raw


@pytest.mark.parametrize(
    "knobs",
    [
        {"width": {"low": 100, "high": 500, "step": 100}, "head_dim": {"low": 8, "high": 64}},
        {
            "width": {"low": 48, "high": 512, "step": 16},
            "head_dim": {"low": 6, "high": 30, "step": 3},
            "kv_groups": {"low": 1, "high": 9, "step": 2},
        },
        {"experts": {"low": 1, "high": 16, "step": 5}, "top_k": {"low": 3, "high": 9, "step": 3}},
        {"experts": {"low": 1, "high": 16}, "top_k": {"choices": [2, 4]}},
        {"depth": {"low": 1, "high": 12, "step": 2}, "dense_layers": {"low": 4, "high": 8, "step": 2}},
        {"depth": {"low": 1, "high": 12}, "dense_layers": {"choices": [0, 6]}},
    ],
    ids=str,
)
def test_every_draw_is_built_where_only_ranges_have_to_move(suite, knobs):
    space = SearchSpace.model_validate({"width": 96, "experts": {"low": 4, "high": 9}, "top_k": 2, **knobs})
    rng = np.random.default_rng(0)
    assert all(space.candidate(space.sample(suite, rng), suite) is not None for _ in range(200))


HUGE = {
    "width": {"low": 64, "high": 4096, "step": 64},
    "depth": {"low": 1, "high": 64},
    "experts": {"low": 1, "high": 256},
}


@pytest.mark.slow
def test_tight_limits_on_a_huge_space_are_met_by_lowering_what_exceeds_them(suite):
    space = SearchSpace.model_validate(HUGE)
    assert space.points > MOST_ARCHITECTURES
    smallest = {"width": 64, "depth": 1, "experts": 1, "top_k": 1, "expert_ratio": 0.5}
    least = price(space.architecture(smallest, suite.context), suite).total_params
    assert least < min(point.cost.total_params for point in space.feasible_points(suite, Limits()))
    (only,) = space.feasible_points(suite, Limits(total_params=least))
    assert only.architecture == space.architecture(smallest, suite.context)
    with pytest.raises(
        StudyFileError, match=rf"the nearest has total_params {least:,} above the limit"
    ) as caught:
        space.feasible(suite, Limits(total_params=least - 1))
    assert "\n" not in str(caught.value)


def test_lowering_ends_where_nothing_is_feasible(suite):
    asked = []

    def excess(params):
        asked.append(params)
        return 2.0

    knob = Between(low=1, high=9)
    rng = np.random.default_rng(0)
    assert lower({"depth": 5, "other": 1}, {"depth": knob}, dict, excess, rng) == {"depth": 5, "other": 1}
    assert len(asked) == STEPS + 1
    assert lower({"depth": 5}, {}, dict, lambda params: math.inf, rng) == {"depth": 5}
