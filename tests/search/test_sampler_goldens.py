"""The proposals of every shipped sampler, as candidate ids that never change for a seed and a history."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from factories import suite
from toy_trainers import toy_config

from search.choose.propose import Proposer
from search.choose.provenance import provenance
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from search.planning.simulate import courses

GOLDENS = Path(__file__).parents[1] / "data" / "proposals.json"
SAMPLERS = ("stratified", "random", "tpe", "nsga2", "gp")
CHOICES = {
    "depth": {"low": 1, "high": 6},
    "learning_rate": {"choices": [1e-3, 2e-3, 4e-3, 8e-3]},
    "mixture": {"fixed": True},
}
REALS = {
    "depth": {"low": 1, "high": 3},
    "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "mixture": {"spread": 1.0},
}
COUNT = 18


def config_of(sampler, space, seed):
    return toy_config(space=space, search={"sampler": sampler, "seed": seed}, stop={"candidates": COUNT})


def proposed(sampler, space, seed):
    """Proposals of a study in which some candidates fail, some still train and some are promoted."""
    proposer = Proposer(config_of(sampler, space, seed), suite())
    rng = np.random.default_rng(seed)
    candidates, trials, found = [], [], []
    for ordinal in range(COUNT):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proposal = proposer.propose(Snapshot(tuple(candidates), tuple(trials), 0.0))
        found.append(f"{proposal.candidate.id} {provenance(proposal.origin).rule}")
        flops, sparse = proposal.cost.flops_per_token, proposal.candidate.architecture.sparse
        name = proposal.candidate.id
        candidates.append(Candidate(name, ordinal, proposal.params, flops, sparse))
        score = round(0.2 + 0.1 * np.log10(flops / 1e5) + 0.05 * float(rng.random()), 6)
        if ordinal % 5 == 4:
            trials.append(
                SnapshotTrial(name, 0, "failed", True, None, None, flops, 1e9 * flops, ordinal % 2 == 0)
            )
        elif ordinal % 7 == 6:
            trials.append(SnapshotTrial(name, 0, "running", False, None, None, flops, 1e9 * flops))
        else:
            trials.append(SnapshotTrial(name, 0, "done", True, score, 0.01, flops, 1e9 * flops))
            if ordinal % 3 == 0:
                trials.append(SnapshotTrial(name, 1, "done", True, score + 0.04, 0.01, flops, 1e9 * flops))
    return found


def simulated(sampler):
    """Trials of a study as its forecast expects them."""
    played = courses(config_of(sampler, CHOICES, 0), suite(), 2, lambda flops: flops / 1e10, COUNT)
    return [[f"{t.proposal.candidate.id} {t.rung} {t.score:.9f}" for t in course.trials] for course in played]


def make():
    """What the file of goldens holds."""
    return {
        "choices": {s: {str(seed): proposed(s, CHOICES, seed) for seed in (0, 3)} for s in SAMPLERS},
        "reals": {s: {"1": proposed(s, REALS, 1)} for s in SAMPLERS if s != "gp"},
        "simulated": {s: simulated(s) for s in SAMPLERS},
    }


@pytest.fixture(scope="module")
def goldens():
    return json.loads(GOLDENS.read_text())


@pytest.mark.parametrize(
    ("sampler", "seed"),
    [
        pytest.param(name, seed, marks=pytest.mark.slow if (name, seed) == ("gp", 3) else ())
        for name in SAMPLERS
        for seed in (0, 3)
    ],
)
def test_proposals_over_choices(goldens, sampler, seed):
    assert proposed(sampler, CHOICES, seed) == goldens["choices"][sampler][str(seed)]


@pytest.mark.parametrize("sampler", SAMPLERS[:-1])
def test_proposals_over_ranges(goldens, sampler):
    assert proposed(sampler, REALS, 1) == goldens["reals"][sampler]["1"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_simulated_studies(goldens, sampler):
    assert simulated(sampler) == goldens["simulated"][sampler]
