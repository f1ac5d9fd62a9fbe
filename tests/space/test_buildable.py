"""Draws from ranges fit together, and two descriptions of one network make one candidate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.candidate import Architecture
from space.knobs import STORED
from space.ranges import SearchSpace

RANGES = {
    "depth": (1, 6),
    "width": (16, 512),
    "experts": (1, 16),
    "top_k": (1, 8),
    "shared_experts": (0, 1),
    "dense_layers": (0, 6),
    "head_dim": (4, 64),
    "kv_groups": (1, 8),
}


@st.composite
def spaces(draw):
    """A space whose knobs are ranges within `RANGES`, but for some that are fixed."""
    knobs = {}
    for name, (least, most) in RANGES.items():
        low = draw(st.integers(least, most))
        knobs[name] = {"low": low, "high": draw(st.integers(low, most))}
    if knobs["top_k"]["low"] > knobs["experts"]["high"]:
        knobs["top_k"]["low"] = 1
    low = draw(st.floats(0.2, 4))
    knobs["expert_ratio"] = {"low": low, "high": low + draw(st.floats(0, 4))}
    return SearchSpace.model_validate(knobs)


def drawn(space, suite, count=200, seed=0):
    rng = np.random.default_rng(seed)
    return [space.candidate(space.sample(suite, rng), suite) for _ in range(count)]


@pytest.mark.parametrize(
    "knobs",
    [
        {"width": {"low": 48, "high": 512}},
        {"width": {"low": 48, "high": 512, "log": True}, "head_dim": {"choices": [16, 32]}},
        {"width": {"low": 48, "high": 512}, "kv_groups": {"low": 1, "high": 4}},
        {"width": 96, "head_dim": {"low": 8, "high": 48}, "kv_groups": {"low": 1, "high": 6}},
        {"experts": {"low": 1, "high": 16}, "top_k": {"low": 1, "high": 8}},
        {"experts": {"low": 2, "high": 16}, "top_k": 4},
        {"depth": {"low": 1, "high": 6}, "dense_layers": {"low": 0, "high": 3}},
        {"expert_ratio": {"low": 0.3, "high": 4}},
    ],
    ids=str,
)
def test_nearly_every_draw_from_ranges_can_be_built(suite, knobs):
    space = SearchSpace.model_validate({"experts": 4, "top_k": 2, **knobs})
    built = [candidate for candidate in drawn(space, suite) if candidate is not None]
    assert len(built) >= 190
    moved = {getattr(candidate.architecture, name) for candidate in built for name in knobs}
    assert len(moved) > len(knobs)  # whatever moves does not move to one place


def test_a_list_says_which_values_are_meant_so_they_stay(suite):
    space = SearchSpace.model_validate({"width": {"choices": [48, 50]}, "experts": 4, "top_k": 2})
    found = drawn(space, suite)
    assert {candidate.architecture.width for candidate in found if candidate is not None} == {48}
    assert None in found


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 1000))
def test_what_is_snapped_stays_within_its_ranges_and_what_can_be_built_still_can(space, seed):
    rng = np.random.default_rng(seed)
    for _ in range(5):
        raw = {name: getattr(space, name).sample(rng) for name in RANGES}
        raw["expert_ratio"] = space.expert_ratio.sample(rng)
        params = space.snapped(raw)
        for name, value in params.items():
            assert getattr(space, name).low <= value <= getattr(space, name).high
        assert space.snapped(params) == pytest.approx(params)
        if buildable(raw):
            assert buildable(params)


def buildable(knobs):
    try:
        Architecture.model_validate(knobs)
    except ValueError:
        return False
    return True


def test_a_real_knob_stays_real_however_its_bounds_are_written(suite):
    space = SearchSpace.model_validate({"expert_ratio": {"low": 1, "high": 4}, "width": 64})
    ratios = {space.sample(suite, np.random.default_rng(seed))["expert_ratio"] for seed in range(100)}
    assert len(ratios) > 10
    assert all(ratio * 64 % 8 == 0 for ratio in ratios)  # a whole expert of so many channels
    candidates = [candidate for candidate in drawn(space, suite) if candidate is not None]
    assert all(c.architecture.expert_ratio * 64 == c.architecture.expert_width for c in candidates)


def test_a_stored_range_of_whole_numbers_stays_one(suite):
    data = {"expert_ratio": {"low": 1, "high": 4, "log": False}}
    stored = SearchSpace.model_validate(data, context=STORED)
    assert stored == SearchSpace.model_validate(data)
    assert stored.expert_ratio.values() == [1, 2, 3, 4]
    assert {stored.sample(suite, np.random.default_rng(seed))["expert_ratio"] for seed in range(50)} == {
        1,
        2,
        3,
        4,
    }


ONE_NETWORK = [
    ({"experts": 4, "top_k": 2, "dense_layers": 2}, {"experts": 8, "top_k": 2, "dense_layers": 2}),
    ({"experts": 4, "top_k": 2, "dense_layers": 2}, {"expert_ratio": 4.0}),
    ({"experts": 4, "top_k": 1, "shared_experts": 1, "dense_layers": 2}, {"shared_experts": 1}),
    ({"shared_experts": 1}, {"expert_ratio": 4.0}),
    ({"dense_layers": 1, "router": "sigmoid"}, {}),
    ({"expert_ratio": 1.03, "experts": 4}, {"expert_ratio": 0.97, "experts": 4}),
    ({"expert_ratio": 0.01}, {"expert_ratio": 0.125}),
]


@pytest.mark.parametrize(("one", "other"), ONE_NETWORK, ids=str)
def test_two_descriptions_of_one_network_are_one_architecture(one, other):
    a, b = (Architecture.model_validate({"depth": 2, "width": 64} | knobs) for knobs in (one, other))
    assert a != b
    assert a.canonical == b.canonical
    assert a.canonical.canonical == a.canonical


def test_what_is_canonical_already_keeps_its_ratio_to_the_last_digit():
    arch = Architecture(depth=2, width=48, experts=4, top_k=2, expert_ratio=7 / 3, dense_layers=1)
    assert arch.canonical is arch
