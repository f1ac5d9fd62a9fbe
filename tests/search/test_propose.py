"""Proposals: feasible, new, spread over costs, and the same for the same ledger."""

from collections import Counter

import pytest
from factories import suite
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_trainers import toy_config

from search.choose.optuna_samplers import distributions
from search.choose.outcomes import corrected_scores
from search.choose.propose import Proposer
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from space.mixture import TaskMixture

QUICK = {
    "space": {
        "depth": {"low": 1, "high": 3},
        "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
        "mixture": {"spread": 1.0},
    }
}


def grow(proposer, count, ended=True):
    """Propose, and let every candidate end at rung 0 with a score that follows from its cost."""
    candidates, trials, proposals = [], [], []
    for ordinal in range(count):
        proposal = proposer.propose(Snapshot(tuple(candidates), tuple(trials), 0.0))
        proposals.append(proposal)
        flops, sparse = proposal.cost.flops_per_token, proposal.candidate.architecture.sparse
        candidates.append(Candidate(proposal.candidate.id, ordinal, proposal.params, flops, sparse))
        state, score = ("done", min(1.0, flops / 1.5e6)) if ended else ("running", None)
        trial = SnapshotTrial(proposal.candidate.id, 0, state, ended, score, 0.01, flops, flops)
        trials.append(trial)
    return proposals, Snapshot(tuple(candidates), tuple(trials), 0.0)


def proposer(sampler="stratified", seed=0, arguments=None, **changes):
    search = {"sampler": sampler, "seed": seed, "sampler_args": arguments or {}}
    config = toy_config(**{**QUICK, **changes}, search=search)
    return Proposer(config, suite())


@pytest.mark.parametrize("sampler", ["stratified", "random", "tpe", "nsga2"])
def test_proposals_are_feasible_new_and_repeatable(sampler):
    ours = proposer(sampler)
    proposals, _ = grow(ours, 14)
    assert len({p.candidate.id for p in proposals}) == 14
    for p in proposals:
        assert ours.config.limits.broken(p.cost) is None
        assert ours.config.space.candidate(p.params, ours.suite) == p.candidate
    assert [p.candidate.id for p in grow(proposer(sampler), 14)[0]] == [p.candidate.id for p in proposals]
    assert proposals[-1].origin == sampler
    if sampler == "stratified":
        other = [p.candidate.id for p in grow(proposer(sampler, seed=1), 3)[0]]
        assert other != [p.candidate.id for p in proposals[:3]]


def test_a_gaussian_process_proposes_too():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it misses an optional package
    ours = proposer("gp")
    _, view = grow(proposer("stratified"), 10)
    found = ours.propose(view)
    assert found is not None
    assert found.origin == "gp"
    assert ours.config.limits.broken(found.cost) is None


@pytest.mark.parametrize("seed", range(4))
def test_the_first_twelve_hold_dense_sparse_and_controls(seed):
    proposals, _ = grow(proposer(seed=seed), 12)
    sparse = [p.candidate.architecture.sparse for p in proposals]
    assert sparse.count(False) >= 3
    assert sparse.count(True) >= 5
    uniform = TaskMixture.uniform(suite().tasks)
    assert [p.candidate.mixture == uniform for p in proposals[:3]] == [True, True, False]
    assert [p.origin for p in proposals[:3]] == ["control", "control", "stratified"]
    assert {sparse[0], sparse[1]} == {True, False}


def test_the_first_twelve_reach_from_cheap_to_dear():
    proposals, _ = grow(proposer(), 12)
    flops = sorted(p.cost.flops_per_token for p in proposals)
    assert flops[0] < 1.5e5
    assert flops[-1] > 1e6


@pytest.mark.slow
def test_compute_is_spread_over_the_cells():
    ours = proposer()
    proposals, view = grow(ours, 60)
    spent = ours.sampler.spent(view)
    sparse = [flops for (is_sparse, _), flops in spent.items() if is_sparse]
    assert max(sparse) < 4 * min(sparse)
    cheap = Counter(p.cost.flops_per_token < 4e5 for p in proposals)
    assert cheap[True] > cheap[False]  # as many FLOPs buy more cheap ones


@pytest.mark.slow
def test_by_candidates_each_cell_gets_as_many_and_one_in_five_is_dense():
    ours = proposer(arguments={"by": "candidates", "dense_every": 5})
    proposals, view = grow(ours, 60)
    held = ours.sampler.spent(view)
    assert sum(held.values()) == 60
    sparse = [count for (is_sparse, _), count in held.items() if is_sparse]
    assert max(sparse) - min(sparse) <= 2  # a rare cell may be missing among the draws
    dense = [number for number, p in enumerate(proposals) if not p.candidate.architecture.sparse]
    assert dense == list(range(0, 60, 5))


def test_a_used_up_space_proposes_nothing():
    keys = ("depth", "width", "experts", "top_k", "expert_ratio")
    fixed = {**dict.fromkeys(keys, 1), "width": 48, "learning_rate": {"choices": [1e-3, 2e-3]}}
    ours = proposer(space={**fixed, "mixture": {"fixed": True}})
    _, view = grow(ours, 2)
    assert ours.propose(view) is None


def test_running_candidates_are_known_to_a_sampler():
    ours = proposer("tpe")
    _, view = grow(ours, 12, ended=False)
    assert ours.propose(view).candidate.id not in {c.id for c in view.candidates}


def test_choices_keep_their_types():
    ours = proposer("tpe")
    _, view = grow(ours, 10)
    params = next(ours.sampler.suggest(view))
    assert type(params["experts"]) is int
    assert type(params["expert_ratio"]) in (int, float)
    assert set(params) == set(distributions(ours.parameters)) == set(ours.parameters)


def test_booleans_are_categorical():
    ours = proposer("tpe", space={"qk_norm": {"choices": [True, False]}})
    assert "Categorical" in distributions(ours.parameters)["qk_norm"]
    _, view = grow(ours, 11)
    assert isinstance(view.candidates[-1].params["qk_norm"], bool)


def test_scores_are_corrected_for_the_rung():
    def at(name, rung, score):
        return SnapshotTrial(name, rung, "done", True, score, 0.01, 1.0, 1.0)

    trials = [at("a", 0, 0.2), at("a", 1, 0.3), at("b", 0, 0.1), at("b", 1, 0.4), at("b", 2, 0.5)]
    scores = corrected_scores(Snapshot((), (*trials, at("c", 0, 0.3)), 0.0))
    assert scores == pytest.approx({"a": 0.3 + 0.1, "b": 0.5, "c": 0.3 + 0.2 + 0.1})
    assert corrected_scores(Snapshot((), (), 0.0)) == {}


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 40))
def test_proposals_follow_from_seed_and_ledger_alone(seed, others):
    ours = proposer("random", seed=seed)
    view = grow(proposer("random", seed=others), 4)[1]
    assert ours.propose(view).candidate == proposer("random", seed=seed).propose(view).candidate
