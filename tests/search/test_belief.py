"""Priors: densities that exclude nothing, draws that follow them, and scores that decide in the end."""

from dataclasses import replace

import numpy as np
import pytest
from factories import suite
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_trainers import toy_config

from search.choose.belief import WIDEST, Belief
from search.choose.pool import PoolSpace
from search.choose.priors import OWN, KnobPrior
from search.choose.promote import MOST_BELIEVED
from search.choose.propose import Proposer
from search.choose.provenance import provenance
from search.choose.sampler import Problem
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from space.errors import StudyFileError
from space.knobs import Between, Choices
from space.knowledge import Prior
from space.mixture import TaskMixture

EMPTY = Snapshot((), (), 0.0)
TASK = suite().tasks[0]
KNOBS = [
    (Between(low=1, high=4), 3),
    (Between(low=48, high=512, step=16), 64),
    (Between(low=1, high=64, log=True), 8),
    (Between(low=1e-3, high=1e-2, log=True), 2e-3),
    (Between(low=0.5, high=4.0), 0.5),
    (Choices(choices=(1, 2, 4, 8, 16)), 8),
    (Choices(choices=("adamw", "muon")), "muon"),
    (Choices(choices=(True, False)), True),
]
STRONG = {
    "depth": {"value": 3, "strength": 4},
    "experts": {"value": 16, "strength": 4},
    "learning_rate": {"value": 9e-3, "strength": 4},
    f"mixture.{TASK}": {"value": 0.4, "strength": 4},
}


def study(priors, sampler="pathfront", **changes):
    return toy_config(priors=priors, search={"sampler": sampler}, **changes)


def belief_of(priors):
    config = study(priors)
    problem = Problem(config.space, suite(), config.limits, 0, config.rungs)
    return Belief(config, problem), problem


@pytest.mark.parametrize(("knob", "value"), KNOBS, ids=str)
@given(strength=st.floats(0.1, 10))
@settings(max_examples=10, deadline=None)
def test_a_density_is_one_on_average_and_excludes_nothing(knob, value, strength):
    prior = KnobPrior(knob, Prior(value=value, strength=strength))
    rng = np.random.default_rng(0)
    drawn = [knob.sample(rng) for _ in range(400)]
    densities = np.array([prior.density(each) for each in drawn])
    assert densities.min() >= OWN * 0.999
    assert prior.density(value) >= densities.max() * 0.99
    exact = knob.values()
    if exact is not None and not (isinstance(knob, Between) and knob.log):
        assert np.mean([prior.density(each) for each in exact]) == pytest.approx(1)
    else:
        assert densities.mean() == pytest.approx(1, abs=5 * densities.std() / 20 + 0.05)


@pytest.mark.parametrize(("knob", "value"), KNOBS, ids=str)
def test_draws_follow_the_density(knob, value):
    prior = KnobPrior(knob, Prior(value=value, strength=2))
    rng = np.random.default_rng(1)
    drawn, plain = [prior.draw(rng) for _ in range(600)], [knob.sample(rng) for _ in range(600)]
    assert all(each in knob if isinstance(knob, Between) else each in knob.choices for each in drawn)
    mean, usual = (np.mean([prior.density(each) for each in some]) for some in (drawn, plain))
    assert mean > usual * 1.15


def test_weights_are_those_of_the_draws():
    prior = KnobPrior(Choices(choices=(1, 2, 4)), Prior(weights={"1": 3, "4": 1}))  # type: ignore[arg-type]
    drawn = [prior.draw(np.random.default_rng(seed)) for seed in range(800)]
    shares = [drawn.count(value) / 800 for value in (1, 2, 4)]
    expected = [(1 - OWN) * share + OWN / 3 for share in (0.75, 0.0, 0.25)]
    assert shares == pytest.approx(expected, abs=0.06)


def test_a_belief_compares_points_of_the_same_cost_and_is_tempered():
    belief, problem = belief_of(STRONG)
    space = PoolSpace(problem)
    pool = space.random(np.random.default_rng(5), 600, 0.0)
    density = belief.log_density(space, pool)
    assert 0.3 < density.std() < 1.3 * WIDEST
    assert abs(np.corrcoef(density, space.points(pool).log_flops)[0, 1]) < 0.15
    rates = space.points(pool).log_rate
    assert np.corrcoef(density, rates)[0, 1] > 0.3


def test_the_start_is_drawn_near_the_prior_at_the_costs_of_a_plain_start():
    belief, problem = belief_of(STRONG)
    space = PoolSpace(problem)
    believed = space.points(belief.pool(space, np.random.default_rng(0), 300, -1.0))
    plain = space.points(space.random(np.random.default_rng(1), 300, -1.0))
    assert believed.log_rate.mean() > plain.log_rate.mean() + 0.2
    assert believed.shares[:, 0].mean() > plain.shares[:, 0].mean() + 0.05
    assert believed.log_flops.mean() == pytest.approx(plain.log_flops.mean(), abs=0.2)
    assert believed.log_rate.min() < np.log(3e-3)  # nothing is excluded


@pytest.mark.parametrize(
    "sampler",
    ["random", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stratified", "pathfront", "tpe"))],
)
@pytest.mark.slow
def test_every_sampler_with_a_random_start_draws_it_by_the_prior(sampler):
    def proposals(priors, seed):
        config = toy_config(priors=priors, search={"sampler": sampler, "seed": seed})
        proposer, view, found = Proposer(config, suite()), EMPTY, []
        for ordinal in range(MOST_BELIEVED + 3):
            proposal = proposer.propose(view)
            assert proposal is not None
            found.append(proposal.candidate)
            name, flops, sparse = (
                proposal.candidate.id,
                proposal.cost.flops_per_token,
                found[-1].architecture.sparse,
            )
            known = Candidate(name, ordinal, proposal.params, flops, sparse, proposal.origin)
            view = replace(view, candidates=(*view.candidates, known))
        return found[len(view.believed) :][:3]

    def mean_rate(priors):
        return np.mean([np.log(c.learning_rate) for seed in range(10) for c in proposals(priors, seed)])

    assert mean_rate({"learning_rate": {"value": 9e-3, "strength": 8}}) > mean_rate({}) + 0.3
    uniform = TaskMixture.uniform(suite().tasks)
    held = [c.mixture == uniform for c in proposals({f"mixture.{TASK}": {"value": 0.4, "strength": 8}}, 0)]
    assert held == [True, True, False]


@pytest.mark.parametrize("sampler", ["optuna.samplers:QMCSampler", "optuna.samplers:RandomSampler"])
def test_a_sampler_without_a_random_start_refuses_priors(sampler):
    with pytest.raises(StudyFileError, match=r"^priors: .*draws none; leave out priors") as refused:
        Proposer(study({"depth": 2}, sampler), suite())
    assert "\n" not in str(refused.value)
    Proposer(study({}, sampler), suite())


def test_once_there_are_scores_they_decide():
    """Listed candidates are compared as without the priors, which only add points to those of the study."""
    priors = {"learning_rate": {"value": 9e-3, "strength": 6}}
    plain, believing = Proposer(study({}), suite()), Proposer(study(priors), suite())
    view = EMPTY
    for ordinal in range(8):
        proposal = plain.propose(view)
        assert proposal is not None
        name, flops = proposal.candidate.id, proposal.cost.flops_per_token
        sparse = proposal.candidate.architecture.sparse
        known = Candidate(name, ordinal, proposal.params, flops, sparse, proposal.origin)
        score = 0.3 + 0.01 * (ordinal * 7 % 5)
        trial = SnapshotTrial(name, 0, "done", True, score, 0.05, flops, flops)
        view = replace(view, candidates=(*view.candidates, known), trials=(*view.trials, trial))
    rng, problem = np.random.default_rng(0), plain.problem
    drawn = (problem.feasible(problem.sample(rng)) for _ in range(60))
    pool = [found for found in drawn if found is not None]
    one, other = (proposer.choose_among(view, pool) for proposer in (plain, believing))
    assert one is not None
    assert provenance(one.origin).rule == "pathfront model"
    assert one == other
