"""What a study is expected to take, and what it cannot exceed, against studies that are played in full."""

import math

import numpy as np
import pytest
from factories import suite
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_trainers import toy_config

from search.choose.promote import promote
from search.choose.propose import Proposer
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from search.planning.bounds import most_expensive, most_tokens, step_tokens
from search.planning.forecast import Speed, forecast
from search.planning.simulate import executed_flops_per_token
from space.cost import checkpoint_bytes, price
from space.study import StudyConfig, read_study

SPEED = Speed(flops_per_second=1e10, evaluation_seconds=5.0)


@pytest.fixture(autouse=True)
def _suite(monkeypatch):
    monkeypatch.setattr(StudyConfig, "suite_record", lambda self: suite())


def play(config, workers, spend, score):
    """A study with the code of a worker: as many trials at once as there are workers, none of them counted.

    Args:
        config: the study.
        workers: trials that begin on the same view.
        spend: candidate, cost, rung -> training FLOPs of its trial.
        score: candidate's id, FLOPs per token, rung -> its score.

    Returns:
        Training FLOPs in all, and trials by rung.
    """
    proposer = Proposer(config, suite())
    candidates, trials, proposals, spent = [], [], {}, 0.0
    while True:
        view = Snapshot(tuple(candidates), tuple(trials), launched_seconds=0.0)
        begun = []
        for _ in range(workers if view.may_start(config.stop) else 0):
            now = Snapshot(tuple(candidates), (*trials, *begun), launched_seconds=0.0)
            choice = promote(now, config.rungs, config.search, enough_peers=True)
            if choice is None and now.may_propose(config.stop):
                proposal = proposer.propose(now)
                if proposal is not None:
                    proposals[proposal.candidate.id] = proposal
                    flops, sparse = proposal.cost.flops_per_token, proposal.candidate.architecture.sparse
                    known = Candidate(proposal.candidate.id, len(candidates), proposal.params, flops, sparse)
                    candidates.append(known)
                    choice = known.id, 0
            choice = choice or promote(now, config.rungs, config.search, enough_peers=False)
            if choice is not None:
                cost = proposals[choice[0]].cost
                cost_of_trial = spend(proposals[choice[0]].candidate, cost, choice[1])
                at = score(choice[0], cost.flops_per_token, choice[1])
                begun.append(
                    SnapshotTrial(*choice, "done", True, at, 0.001, cost.flops_per_token, cost_of_trial)
                )
        if not begun:
            counts = [sum(t.rung == rung for t in trials) for rung in range(len(config.rungs.tokens))]
            return spent, counts
        trials += begun
        spent += sum(trial.training_flops for trial in begun)


def luck(name):
    return int(name, 16) % 1000 / 1000


def by_chance(name, flops, rung):
    return 0.3 + 0.4 * luck(name) + 0.1 * rung


def by_cost(name, flops, rung):
    return 0.2 + 0.1 * luck(name) + 0.15 * math.log10(flops / 1e5) + 0.1 * rung


@pytest.mark.parametrize(
    ("sampler", "stop", "score"),
    [
        ("stratified", {"candidates": 16}, by_chance),
        ("stratified", {"training_flops": 8e12}, by_cost),
        ("random", {"candidates": 16}, by_cost),
        pytest.param("tpe", {"candidates": 16}, by_cost, marks=pytest.mark.slow),
        pytest.param("nsga2", {"training_flops": 8e12}, by_cost, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_studies_that_are_played_in_full_take_what_is_expected(sampler, stop, score):
    rungs = {"tokens": [225_000, 450_000, 900_000], "eta": 2}
    config = toy_config(rungs=rungs, stop=stop, search={"sampler": sampler})

    def spend(candidate, cost, rung):
        return executed_flops_per_token(cost, candidate.optimizer, suite()) * config.rungs.trial_tokens(rung)

    played = []
    for seed in range(2):
        search = config.search.model_copy(update={"seed": seed})
        played.append(play(config.model_copy(update={"search": search}), 2, spend, score))
    priced = forecast(config, 2, "cpu", SPEED)
    assert priced.training_flops == pytest.approx(np.mean([spent for spent, _ in played]), rel=0.3)
    assert all(spent <= priced.training_flops_most for spent, _ in played)
    if "candidates" in stop:
        assert all(counts == [rung.trials for rung in priced.rungs] for _, counts in played)


@st.composite
def studies(draw):
    """A small study of any kind, whose trials are cheap to play."""

    def choices(of, least=1):
        return {"choices": draw(st.lists(st.sampled_from(of), min_size=least, max_size=3, unique=True))}

    space = {
        "depth": {"low": 1, "high": draw(st.integers(1, 3))},
        "width": draw(st.sampled_from([48, {"low": 32, "high": 160}, {"choices": [48, 96, 112]}])),
        "experts": choices([1, 2, 4, 8]),
        "top_k": {"choices": sorted({1, draw(st.sampled_from([1, 2, 4]))})},
        "expert_ratio": draw(st.sampled_from([1, {"low": 0.5, "high": 3.0}, {"choices": [0.5, 2]}])),
        "shared_experts": choices([0, 1]),
        "dense_layers": {"low": 0, "high": draw(st.integers(0, 2))},
        "kv_groups": {"choices": [1, *draw(st.sampled_from([(), (2,)]))]},
        "optimizer": choices(["adamw", "muon"]),
        "learning_rate": draw(st.sampled_from([1e-3, {"low": 1e-3, "high": 1e-2}])),
        "mixture": draw(st.sampled_from([{"fixed": True}, {"floor": 0.0, "spread": 3.0}, {"spread": 0.5}])),
    }
    space["top_k"]["choices"] = [
        k for k in space["top_k"]["choices"] if k <= max(space["experts"]["choices"])
    ]
    tokens = draw(st.lists(st.integers(2048, 40_000), min_size=1, max_size=3, unique=True).map(sorted))
    candidates, flops = draw(st.integers(1, 7)), draw(st.floats(1e9, 2e11))
    stop = draw(st.sampled_from([{"candidates": candidates}, {"training_flops": flops}]))
    if draw(st.booleans()):
        stop = {**stop, "candidates": candidates}
    return toy_config(
        space=space,
        limits=draw(st.sampled_from([{}, {"flops_per_token": 5e6}])),
        rungs={
            "tokens": tokens,
            "eta": draw(st.sampled_from([1.1, 1.5, 2, 3])),
            "decay": draw(st.floats(0, 1)),
        },
        search={"sampler": draw(st.sampled_from(["stratified", "random"])), "seed": draw(st.integers(0, 99))},
        stop=stop,
    )


@settings(max_examples=6, deadline=None)
@given(studies(), st.integers(1, 3), st.sampled_from([1.0, -1.0, 0.0]))
@pytest.mark.slow
def test_no_study_takes_more_than_its_bound(config, workers, trend):
    """Every token is scored, and every trial trains whole steps on the patches of its own mixture."""
    tokens = []

    def spend(candidate, cost, rung):
        count = most_tokens(config.rungs, rung, suite())
        tokens.append(count)
        patches = {}
        for task, weight in candidate.mixture.weights.items():
            for name, share in suite().patch_share.get(task, {}).items():
                patches[name] = patches.get(name, 0) + math.floor(weight * share * count)
        steps = count // step_tokens(suite()) if candidate.optimizer == "muon" else 0
        return cost.training_flops(count, count, patches, steps)

    def score(name, flops, rung):
        return 0.5 + 0.05 * trend * math.log10(flops / 1e6) + 0.01 * luck(name) + 0.1 * rung

    spent, _ = play(config, workers, spend, score)
    priced = forecast(config, workers, "cpu", SPEED)
    assert spent <= priced.training_flops_most
    assert sum(tokens) <= priced.training_tokens_most


def test_time_alone_bounds_no_flops():
    config = toy_config(stop={"wall_minutes": 5})
    priced = forecast(config, 2, "cpu", SPEED)
    assert priced.training_flops_most is None
    assert priced.training_tokens_most is None
    assert priced.disk_bytes.most is None
    assert priced.wall_seconds == pytest.approx(300, rel=0.3)


def test_a_space_that_is_used_up_ends_a_study():
    fixed = {"depth": 1, "width": 48, "experts": 1, "top_k": 1, "expert_ratio": 1}
    space = {**fixed, "learning_rate": {"choices": [1e-3, 2e-3, 3e-3]}, "mixture": {"fixed": True}}
    priced = forecast(toy_config(space=space, stop={"wall_minutes": 1e6}), 2, "cpu", SPEED)
    assert priced.candidates == 3
    assert priced.training_flops_most is not None


@pytest.mark.parametrize(
    "stop", [{"candidates": 10_000}, {"training_flops": 1e16}, {"wall_minutes": 1e5}], ids=str
)
@pytest.mark.slow
def test_a_long_study_goes_on_as_it_begins(stop):
    rungs = {"tokens": [225_000, 450_000, 900_000], "eta": 2}
    priced = forecast(toy_config(rungs=rungs, stop=stop), 2, "cpu", SPEED)
    assert priced.candidates > 1000
    if "training_flops" in stop:
        assert priced.training_flops == pytest.approx(1e16, rel=0.1)
    if "wall_minutes" in stop:
        assert priced.wall_seconds == pytest.approx(6e6, rel=0.1)


def test_the_dearest_is_dearer_than_all_of_a_space():
    config = toy_config(space={"width": {"low": 32, "high": 200}, "expert_ratio": {"low": 0.5, "high": 3}})
    corner = price(most_expensive(config), suite())
    for _, cost in config.space.feasible(suite(), config.limits):
        assert cost.flops_per_token <= corner.flops_per_token
        assert cost.total_params <= corner.total_params
        assert cost.muon_flops_per_step <= corner.muon_flops_per_step


@pytest.mark.slow
def test_quick_takes_what_was_measured(monkeypatch):
    monkeypatch.undo()
    priced = forecast(read_study("quick"), 2, "cpu", SPEED)
    assert 6e12 < priced.training_flops < 10e12  # 8.0e12 were measured
    assert priced.training_flops_most > 12.1e12  # as the stratified sampler spent
    assert 100e6 < priced.disk_bytes.final < 215e6  # 134 MB were, without trunks of rungs left behind
    assert priced.disk_bytes.final < priced.disk_bytes.peak < priced.disk_bytes.most


def test_only_the_front_takes_less_disk():
    kept = {keep: forecast(toy_config(keep=keep), 2, "cpu", SPEED).disk_bytes for keep in ("all", "front")}
    assert kept["front"].final < kept["all"].final
    trunk, weights = checkpoint_bytes(most_expensive(toy_config()), suite(), "adamw", 2)
    half = forecast(toy_config(precision="bf16-true"), 2, "cpu", SPEED).disk_bytes
    assert half.weights[1] < 0.51 * kept["all"].weights[1]
    assert (half.trunk[1], half.weights[1]) <= (trunk, weights)
