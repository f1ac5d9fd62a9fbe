import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from space.errors import StudyFileError
from space.ranges import Between, Choices, Limits, SearchSpace


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
