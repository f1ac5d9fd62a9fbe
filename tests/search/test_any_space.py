"""Spaces that a person may write: every knob at once, huge ones, tight limits, one architecture, steps."""

from itertools import islice

import numpy as np
import pytest
from factories import suite
from test_propose import grow
from test_samplers import config_of, seen, suggestions

from search.choose.optuna_samplers import distributions
from search.choose.propose import Proposer
from search.choose.snapshot import Snapshot
from space.errors import StudyFileError

HUGE = {
    "width": {"low": 64, "high": 4096, "step": 64},
    "depth": {"low": 1, "high": 64},
    "experts": {"low": 1, "high": 256},
}
EVERY_KNOB = {
    "depth": {"low": 1, "high": 8},
    "width": {"low": 32, "high": 512, "step": 8},
    "experts": {"low": 1, "high": 32},
    "top_k": {"low": 1, "high": 8},
    "expert_ratio": {"low": 0.25, "high": 4.0},
    "shared_experts": {"low": 0, "high": 1},
    "dense_layers": {"low": 0, "high": 8},
    "router": {"choices": ["softmax", "sigmoid"]},
    "head_dim": {"low": 8, "high": 64},
    "kv_groups": {"low": 1, "high": 8},
    "qk_norm": {"choices": [True, False]},
    "window": {"low": 0, "high": 128, "step": 16},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "optimizer": {"choices": ["adamw", "muon"]},
}
ONE = {"depth": 2, "width": 48, "experts": 4, "top_k": 2, "expert_ratio": 1}
MIXED = {
    "width": {"choices": [96, 48, 128, 64]},
    "experts": {"choices": [8, 1, 4]},
    "top_k": {"choices": [4, 1]},
}
SELDOM_BUILT = {  # one width in 128 is a multiple of a head, and the combinations are too many to list
    "width": {"choices": [*range(10_007, 12_007, 16), 48]},
    "depth": {"low": 1, "high": 64},
    "head_dim": {"choices": [8, 16, 24, 32]},
}
SPACES = {
    "huge": (HUGE, {}),
    "huge, few within the limits": (HUGE, {"total_params": 3e6}),
    "huge, one within the limits": (HUGE, {"total_params": 2.7e5}),
    "every knob": (EVERY_KNOB, {}),
    "every knob, few within the limits": (EVERY_KNOB, {"flops_per_token": 2.5e5}),
    "one architecture": (ONE, {}),
    "lists in any order": (MIXED, {}),
    "seldom built": (SELDOM_BUILT, {}),
}


def made(sampler, space, limits):
    config = config_of(sampler, space)
    return config.model_copy(update={"limits": type(config.limits).model_validate(limits)})


@pytest.mark.parametrize("sampler", ["stratified", pytest.param("random", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SPACES)
def test_candidates_are_proposed_within_the_limits_and_each_once(name, sampler):
    config = made(sampler, *SPACES[name])
    config.space.feasible(suite(), config.limits)
    ours = Proposer(config, suite())
    proposals, view = grow(ours, 6)
    assert len({found.candidate.id for found in proposals}) == 6
    for found in proposals:
        assert config.limits.broken(found.cost) is None
        assert ours.problem.checked_params(found.params) == found.params
    again = [found.candidate.id for found in grow(Proposer(config, suite()), 6)[0]]
    assert again == [found.candidate.id for found in proposals]
    assert ours.propose(view) is not None


def test_a_space_with_one_candidate_proposes_it_and_one_with_none_is_refused():
    ours = Proposer(
        made("stratified", {**ONE, "learning_rate": 1e-3, "mixture": {"fixed": True}}, {}), suite()
    )
    (found,), view = grow(ours, 1)
    assert found.params == {}
    assert ours.propose(view) is None
    nothing = made("stratified", {"width": {"choices": [50, 70]}}, {})
    with pytest.raises(StudyFileError, match="can be built, got none of"):
        nothing.space.feasible(suite(), nothing.limits)


@pytest.mark.slow
def test_costs_of_a_huge_space_within_limits_spread_over_the_whole_range():
    config = made("stratified", HUGE, {"total_params": 3e6})
    proposals, _ = grow(Proposer(config, suite()), 12)
    flops = [found.cost.flops_per_token for found in proposals]
    assert max(flops) > 3 * min(flops)
    assert len({found.candidate.architecture for found in proposals}) >= 8


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp"])
def test_samplers_of_optunas_suggest_on_the_steps(sampler):
    space = {"width": {"low": 48, "high": 250, "step": 48}, "depth": {"low": 1, "high": 9, "step": 4}}
    config = config_of(sampler, {**space, "mixture": {"fixed": True}})
    found = list(islice(suggestions(config, seen(config, 12)), 40))
    assert {params["width"] for params in found} <= {48, 96, 144, 192, 240}
    assert {params["depth"] for params in found} <= {1, 5, 9}


def test_optuna_is_told_the_steps_and_nothing_new_without_them():
    found = distributions(
        made("random", {"depth": {"low": 1, "high": 8, "step": 3}}, {}).space.parameters(suite())
    )
    assert '"high": 7' in found["depth"]
    assert '"step": 3' in found["depth"]
    plain = distributions(made("random", {"depth": {"low": 1, "high": 4}}, {}).space.parameters(suite()))
    assert plain["depth"] == (
        '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}'
    )


def test_a_suggestion_off_the_steps_is_refused_in_one_line():
    config = made("random", {"depth": {"low": 1, "high": 8, "step": 3}, "mixture": {"fixed": True}}, {})
    problem = Proposer(config, suite()).problem
    params = next(problem.draws(np.random.default_rng(0), Snapshot((), (), 0.0)))
    with pytest.raises(
        StudyFileError, match=r"depth is a whole number from 1 to 7 in steps of 3, and .* has 2"
    ):
        problem.checked_params({**params, "depth": 2})
    assert problem.checked_params({**params, "depth": np.int64(4)})["depth"] == 4


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "optuna.samplers.RandomSampler"])
def test_models_suggest_within_limits_that_random_draws_hardly_ever_meet(sampler):
    config = made(sampler, HUGE, {"total_params": 3e6})
    _, view = grow(Proposer(made("random", HUGE, {"total_params": 3e6}), suite()), 12)
    ours = Proposer(config, suite())
    assert ours.problem.hardly_feasible
    found = ours.propose(view)
    assert found.origin == ours.name
    assert config.limits.broken(found.cost) is None
    assert not Proposer(made("random", HUGE, {}), suite()).problem.hardly_feasible
