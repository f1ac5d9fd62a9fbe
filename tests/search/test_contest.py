"""The benchmark of search methods: peers obey the contract of samplers, rules of promotion, resumed runs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.contest.chance import chance_of_worst
from benchmarks.peers.known_cost_gp import expected_improvement
from benchmarks.peers.mo_asha import MOASHA, ordering
from benchmarks.peers.oracle import Oracle
from benchmarks.surfaces.families import make_surface
from benchmarks.surfaces.settings import study

from search.choose import contract
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot, SnapshotTrial
from search.pareto import hypervolume
from search.planning.clock import play
from search.planning.reach import Judge

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    "rule", [pytest.param("feasible_and_new", marks=pytest.mark.slow), "failed_trials", "one_parameter"]
)
def test_the_known_cost_gp_obeys_the_contract_of_samplers(rule):
    subject = contract.Subject("benchmarks.peers.known_cost_gp:KnownCostGP", {"start": 6})
    contract.RULES[rule](subject)


def test_the_expected_improvement_is_the_mean_gain_of_hypervolume():
    known = [(0.3, 2e5), (0.5, 5e5), (0.45, 8e5), (0.2, 1e5)]
    mean, deviation, flops = np.array([0.45, 0.3]), np.array([0.1, 0.2]), np.array([3e5, 1.5e5])
    exact = expected_improvement(mean, deviation, flops, known, 1e6)
    rng = np.random.default_rng(0)
    before = hypervolume(known, 0.2, 1e6)
    for of in range(2):
        scores = mean[of] + deviation[of] * rng.standard_normal(1_000)
        gains = [hypervolume([*known, (score, flops[of])], 0.2, 1e6) - before for score in scores]
        error = np.std(gains) / len(gains) ** 0.5
        assert exact[of] / np.log(10) == pytest.approx(np.mean(gains), abs=4 * error)


def at(score, flops, name):
    return SnapshotTrial(name, 0, "done", True, score, 0.01, flops, 1.0)


def goes_on(mended, trials):
    """Whether the last of the trials goes on."""
    rule, promotion = MOASHA(2, eta=2, mended=mended), None
    for count in range(1, len(trials) + 1):
        promotion = rule(Snapshot((), tuple(trials[:count]), 0.0), enough_peers=True)
    return promotion == (trials[-1].candidate, 1)


def test_mended_mo_asha_keeps_the_best_trial_and_the_released_one_stops_it_after_a_bad_one():
    usual = [at(0.5 + 0.01 * n, 1e5 * (n + 1), f"usual{n}") for n in range(10)]
    bad, best = at(0.1, 2e6, "bad"), at(0.9, 5e4, "best")
    assert goes_on(True, [*usual, best])
    assert not goes_on(True, [*usual, bad])
    assert goes_on(True, [*usual, bad, best])
    assert not goes_on(False, [*usual, bad, best])


def test_the_ordering_goes_layer_by_layer():
    points = np.array([(0.2, 3.0), (0.9, 2.0), (0.5, 1.0), (0.4, 2.5), (0.45, 1.5)])
    assert ordering(points).tolist() == [1, 2, 4, 3, 0]


@pytest.mark.slow
def test_the_oracle_reaches_more_than_random_search_with_less():
    config = study(sampler="random", candidates=8)
    suite, surface = config.suite_record(), make_surface("smooth", config, 0)
    judge = Judge(Problem(config.space, suite, config.limits, 0, config.rungs), surface)
    known = play(config, suite, surface, 4, Oracle(judge, 0).propose)
    chance = play(config, suite, surface, 4)
    assert judge.curve(known.trials)[-1].value > 1.1 * judge.curve(chance.trials)[-1].value


@pytest.mark.slow
def test_the_chance_of_the_worst_spending_counts_that_it_was_chosen_among_many():
    rng = np.random.default_rng(1)
    equal = [rng.standard_normal((20, 12)) for _ in range(16)]
    chances = np.array([chance_of_worst(gaps) for gaps in equal])
    assert 0.15 < (chances < 0.5).mean() < 0.85
    assert (chances < 0.05).mean() < 0.4
    dip = equal[0] - np.where(np.arange(12) == 7, 1.5, 0.0)
    dip[10:, 9:] = np.nan  # pairs that ended early
    assert chance_of_worst(dip) < 0.01
    assert chance_of_worst(equal[0] + 2) == 1


@pytest.mark.slow
def test_a_contest_that_was_stopped_continues(tmp_path):
    out, picture = tmp_path / "results.jsonl", tmp_path / "curves.svg"
    command = [sys.executable, str(BENCHMARKS / "search_methods.py"), "--out", str(out)]
    command += ["--families", "law", "--surfaces", "0", "--methods", "random", "mo-asha"]
    command += ["--repetitions", "2"]

    def contest(*more):
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout

    contest("--seeds", "1")
    first = out.read_text()
    assert first.count("\n") == 2
    out.write_text(first[:-20])  # torn
    shown = contest("--seeds", "2", "--plot", str(picture))
    lines = out.read_text().splitlines()
    assert len(lines) == 4
    assert lines[0] == first.splitlines()[0]
    assert "| random |" in shown
    assert picture.read_text().endswith("</svg>")
