"""The simulated clock plays studies as workers do, and its runs are measured against random search."""

from itertools import pairwise

import numpy as np
import pytest
from factories import suite
from toy_trainers import RUNGS, quality, score, toy_config

from search.choose.next_trial import Promotions
from search.choose.promote import Promotion
from search.choose.propose import Proposer
from search.choose.sampler import Problem
from search.choose.snapshot import TaskFraction
from search.database import tables
from search.pareto import hypervolume
from search.planning.clock import Result, play
from search.planning.reach import Judge, Point, first_reach, lasting_reach, reported_front, within
from search.worker import run_worker
from space.errors import StudyFileError

TOP = len(RUNGS) - 1


class Toy:
    """Scores of the toy trainer `climb`, which have no noise."""

    def trial(self, candidate, cost, rung, seed):
        fraction = TaskFraction(quality(candidate, rung), 0.0)
        return Result.of(suite(), dict.fromkeys(suite().tasks, fraction))

    def truth(self, candidate, cost, rung=-1):
        return quality(candidate, TOP)


class DenseDiverges(Toy):
    def trial(self, candidate, cost, rung, seed):
        return super().trial(candidate, cost, rung, seed) if candidate.architecture.sparse else Result()


class Noisy(Toy):
    """Scores with errors that differ from rung to rung."""

    def trial(self, candidate, cost, rung, seed):
        error = 0.1 * np.random.default_rng([int(candidate.id, 16), rung, seed]).standard_normal()
        fraction = TaskFraction(quality(candidate, rung) + error, 0.05)
        return Result.of(suite(), dict.fromkeys(suite().tasks, fraction))


def run_of(workers=1, surface=None, propose=None, **changes):
    return play(toy_config(**changes), suite(), surface or Toy(), workers, propose)


def chosen(run):
    """Candidate and rung of each trial, in the order of their starts."""
    return [(trial.candidate, trial.rung) for trial in run.snapshot.trials]


@pytest.mark.parametrize(
    "sampler",
    ["pathfront", *(pytest.param(n, marks=pytest.mark.slow) for n in ("stratified", "random", "tpe"))],
)
@pytest.mark.slow
def test_one_worker_makes_the_same_decisions_as_under_the_clock(sampler, launch, url, rows):
    config = launch(search={"sampler": sampler}, trainer="toy_trainers:climb_at_cost")
    run_worker(url, "toy")
    ledger = sorted(rows(tables.trials), key=lambda row: row["started_at"])
    run = play(config, suite(), Toy(), 1)
    assert chosen(run) == [(row["candidate"], row["rung"]) for row in ledger]
    assert [t.training_flops for t in run.snapshot.trials] == [row["training_flops"] for row in ledger]


def test_results_are_those_of_a_scorecard():
    run = run_of()
    candidate = run.trials[0].proposal.candidate
    card = score(candidate, suite(), toy_config().rungs.budget(0))
    assert run.trials[0].result.score == pytest.approx(card.score)
    tasks = {"cartpole": TaskFraction(3.0, 0.1), "docs": TaskFraction(-2.0, 0.2)}
    mixed = Result.of(suite(), {name: tasks.get(name, TaskFraction(0.5, 0.1)) for name in suite().tasks})
    assert mixed.score == pytest.approx(np.mean([(1 + 0.5 + 0.5) / 3, 0.5, 0.5, -1]))  # clipped, by domain
    assert mixed.stderr == pytest.approx(np.sqrt(6 * (0.1 / 12) ** 2 + (0.1 / 4) ** 2 + (0.2 / 4) ** 2))


def test_a_run_depends_on_its_seed_alone():
    first, again = (run_of(4, Noisy()) for _ in range(2))
    assert [(t.candidate, t.rung, t.result, t.ended) for t in first.trials] == [
        (t.candidate, t.rung, t.result, t.ended) for t in again.trials
    ]
    assert chosen(run_of(4, Noisy(), search={"seed": 1})) != chosen(first)


@pytest.mark.parametrize("workers", [1, 4, 64])
def test_running_trials_are_in_the_snapshots(workers):
    running = []
    proposer = Proposer(toy_config(), suite())

    def propose(view):
        running.append(sum(trial.state == "running" for trial in view.trials))
        assert all(bool(trial.tasks) == (trial.state == "done") for trial in view.trials)
        return proposer.propose(view)

    run = run_of(workers, propose=propose)
    assert max(running) == min(workers, 12) - 1
    assert len(run.proposal_seconds) == len(running) == 12
    assert len(run.trials) == 12 + 6 + 3


@pytest.mark.parametrize("workers", [1, 3])
def test_time_is_the_training_flops_of_one_worker(workers):
    run = run_of(workers)
    assert all(trial.ended - trial.started == pytest.approx(trial.training_flops) for trial in run.trials)
    assert all(a.ended <= b.ended and a.spent <= b.spent for a, b in pairwise(run.trials))
    assert run.trials[-1].spent == pytest.approx(run.training_flops)
    if workers == 1:
        assert [trial.spent for trial in run.trials] == pytest.approx([t.ended for t in run.trials])
    else:
        assert run.trials[0].spent == pytest.approx(workers * run.trials[0].ended)  # all are busy at first


@pytest.mark.parametrize("workers", [1, 4])
def test_no_trial_starts_once_the_budget_is_spent(workers):
    budget = 0.4 * run_of().training_flops
    run = run_of(workers, stop={"training_flops": budget})
    dearest = max(trial.training_flops for trial in run.trials)
    assert budget <= run.training_flops <= budget + workers * dearest


def test_divergence_ends_a_candidate():
    run = run_of(2, DenseDiverges())
    lost = [trial for trial in run.snapshot.trials if trial.diverged]
    assert lost
    assert all(trial.state == "failed" and trial.final and trial.rung == 0 for trial in lost)
    assert {trial.candidate for trial in lost}.isdisjoint(t.candidate for t in run.trials if t.rung)


def test_what_the_clock_does_not_simulate_is_refused():
    with pytest.raises(StudyFileError, match=r"stop\.wall_minutes"):
        run_of(stop={"wall_minutes": 1})
    with pytest.raises(StudyFileError, match=r"search\.repeats"):
        run_of(search={"repeats": 0.5})


def test_wrong_proposals_and_promotions_are_refused():
    proposer = Proposer(toy_config(), suite())
    once = proposer.propose(run_of(stop={"candidates": 1}).snapshot)
    with pytest.raises(ValueError, match="has not seen"):
        run_of(propose=lambda view: once)
    with pytest.raises(ValueError, match="at the rung below"):
        play(
            toy_config(),
            suite(),
            Toy(),
            1,
            None,
            Promotions(lambda view, enough_peers: Promotion("unknown", 1)),
        )


def judge(surface):
    config = toy_config()
    return Judge(Problem(config.space, suite(), config.limits, 0, config.rungs), surface)


def test_a_front_is_reported_with_noise_and_judged_without():
    run, judged = run_of(4, Noisy()), judge(Noisy())
    curve = judged.curve(run.trials)
    assert [point.spent for point in curve] == [trial.spent for trial in run.trials]
    highest = {trial.candidate: trial for trial in run.trials}  # a higher rung ends later
    front = reported_front(list(highest.values()), judged.problem)
    truths = [(quality(t.proposal.candidate, TOP), t.proposal.cost.flops_per_token) for t in front]
    assert curve[-1].value == pytest.approx(hypervolume(truths, judged.least_score, judged.most))
    observed = [(t.result.score, t.proposal.cost.flops_per_token) for t in front]
    assert curve[-1].value != pytest.approx(hypervolume(observed, judged.least_score, judged.most))


def test_the_level_of_random_search_rises_with_its_candidates():
    judged = judge(Noisy())
    few, many = (judged.level(4, number=number) for number in (10, 100))
    assert few.value < many.value
    assert few.noise > 0
    assert many.ratio(many.full_flops) == 200


def test_a_level_is_reached_for_good_once_it_is_never_lost_again():
    curve = [Point(1, 0.2), Point(2, 0.6), Point(3, 0.3), Point(4, 0.7), Point(5, 0.55)]
    assert first_reach(curve, 0.6) == 2
    assert lasting_reach(curve, 0.6, noise=0.1) == 4
    assert lasting_reach(curve, 0.6, noise=0.01) is None
    assert lasting_reach(curve, 0.6, noise=0.4) == 2
    assert first_reach(curve, 0.8) is None
    assert within(4, budget=10) == (4, True)
    assert within(None, budget=10) == within(11, budget=10) == (10, False)
