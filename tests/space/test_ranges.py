import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from space.errors import StudyFileError
from space.ranges import MOST_ARCHITECTURES, Between, Choices, Limits, SearchSpace


@given(st.integers(1, 50), st.integers(0, 50), st.booleans(), st.integers(0, 2**32))
def test_samples_stay_within_a_range(low, extra, log, seed):
    knob = Between(low=low, high=low + extra, log=log)
    rng = np.random.default_rng(seed)
    assert all(low <= knob.sample(rng) <= low + extra for _ in range(20))
    assert set(knob.values()) == set(range(low, low + extra + 1))


def test_a_number_fixes_a_knob_and_takes_its_parameter_away(suite):
    space = SearchSpace.model_validate({"depth": 3, "learning_rate": 1e-3})
    assert {"depth", "learning_rate"}.isdisjoint(space.parameters(suite))
    candidate = space.candidate(space.sample(suite, np.random.default_rng(0)) | {"top_k": 1}, suite)
    assert (candidate.architecture.depth, candidate.learning_rate) == (3, 1e-3)


def test_parameters_that_describe_no_architecture_make_no_candidate(suite):
    space = SearchSpace()
    params = space.sample(suite, np.random.default_rng(0))
    assert space.candidate(params | {"experts": 2, "top_k": 4}, suite) is None
    assert space.candidate(params | {"experts": 4, "top_k": 4}, suite) is not None


def test_the_control_is_the_uniform_mixture_whatever_the_prior(suite):
    for prior in ("uniform", {"control": 0.5, "text": 0.5}, {"walk": 0.2, "run": 0.3, "read": 0.5}):
        space = SearchSpace.model_validate({"mixture": {"prior": prior, "floor": 0.02}})
        (control,) = space.controls(suite)
        params = space.sample(suite, np.random.default_rng(1)) | control | {"top_k": 1}
        weights = space.candidate(params, suite).mixture.weights
        assert weights == pytest.approx(dict.fromkeys(suite.tasks, 1 / 3), abs=2e-6)


def test_a_domain_shares_its_weight_among_its_tasks(suite):
    space = SearchSpace.model_validate({"mixture": {"prior": {"control": 0.5, "text": 0.5}}})
    assert space.mixture.prior_weights(suite) == pytest.approx({"walk": 0.25, "run": 0.25, "read": 0.5})


def test_a_fixed_mixture_is_not_searched(suite):
    space = SearchSpace.model_validate({"mixture": {"prior": "uniform", "fixed": True}})
    assert not any(name.startswith("mixture.") for name in space.parameters(suite))
    assert space.controls(suite) == []


def test_feasible_architectures_are_within_the_limits_and_sorted_by_cost(suite):
    space = SearchSpace()
    kept = space.feasible(suite, Limits(flops_per_token=3e5))
    costs = [cost.flops_per_token for _, cost in kept]
    assert costs == sorted(costs)
    assert costs[-1] <= 3e5
    assert 0 < len(kept) < len(space.feasible(suite, Limits()))
    with pytest.raises(StudyFileError, match="within them, got none of"):
        space.feasible(suite, Limits(total_params=10))


@pytest.mark.parametrize("choices", [(), (1, 1)])
def test_choices_are_some_and_distinct(choices):
    with pytest.raises(ValidationError):
        Choices(choices=choices)


EVERY_KNOB = {
    "depth": {"low": 1, "high": 8},
    "width": {"choices": [64, 128, 256]},
    "experts": {"choices": [1, 4, 16, 64]},
    "top_k": {"choices": [1, 2, 4, 8]},
    "expert_ratio": {"choices": [0.25, 0.5, 1, 2]},
    "shared_experts": {"choices": [0, 1]},
    "dense_layers": {"choices": [0, 1]},
    "router": {"choices": ["softmax", "sigmoid"]},
    "head_dim": {"choices": [16, 32]},
    "kv_groups": {"choices": [1, 2]},
    "qk_norm": {"choices": [True, False]},
    "window": {"choices": [0, 8]},
    "optimizer": {"choices": ["adamw", "muon"]},
}


def test_every_knob_can_be_searched_and_a_very_large_space_is_sampled(suite):
    space = SearchSpace.model_validate(EVERY_KNOB)
    assert set(EVERY_KNOB) <= space.parameters(suite).keys()
    rng = np.random.default_rng(0)
    drawn = [space.candidate(space.sample(suite, rng), suite) for _ in range(300)]
    found = [candidate for candidate in drawn if candidate is not None]
    assert {candidate.optimizer for candidate in found} == {"adamw", "muon"}
    assert {candidate.architecture.router for candidate in found} == {"softmax", "sigmoid"}
    architectures = list(space.architectures(suite.context))
    assert space.points > MOST_ARCHITECTURES >= len(architectures) > 1000
    assert architectures == list(space.architectures(suite.context))


def test_what_a_dense_candidate_has_no_use_for_makes_no_second_one(suite):
    space = SearchSpace.model_validate(EVERY_KNOB)
    params = space.sample(suite, np.random.default_rng(0)) | {"experts": 1, "top_k": 1}
    ids = {
        space.candidate(params | {"router": router, "dense_layers": layers}, suite).id
        for router in ("softmax", "sigmoid")
        for layers in (0, 1)
    }
    assert len(ids) == 1


def test_a_window_that_holds_the_whole_context_is_full_attention(suite):
    space = SearchSpace.model_validate({"window": {"choices": [0, 16, 32, 64]}, "experts": 1, "top_k": 1})
    params = space.sample(suite, np.random.default_rng(0))
    ids = [space.candidate(params | {"window": window}, suite).id for window in (0, 16, 32, 64)]
    assert ids[0] == ids[2] == ids[3] != ids[1]
    windows = {architecture.window for architecture, _ in space.feasible(suite, Limits())}
    assert windows == {0, 16}
