"""Promotion in any Optuna study: the worker's own rule, whatever the objectives, states and samplers."""

from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from search.choose.promote import promote
from search.choose.promotion import Promoter
from search.choose.snapshot import Snapshot, SnapshotTrial
from space.study import Rungs, Search

EXAMPLES = Path(__file__).parents[1] / "examples"
RUNGS = Rungs(tokens=(1_000, 2_000, 4_000), eta=2)


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def study_of(*trials, directions=("maximize", "minimize")):
    """A study of (candidate, rung, values), or of (candidate, rung, state)."""
    study = optuna.create_study(directions=list(directions))
    for candidate, rung, result in trials:
        state = result if isinstance(result, TrialState) else TrialState.COMPLETE
        values = None if isinstance(result, TrialState) else result
        attrs = {"candidate": candidate, "rung": rung}
        study.add_trial(optuna.create_trial(state=state, values=values, user_attrs=attrs))
    return study


STATES = st.sampled_from(["done", "done", "done", "running", "failed", "diverged"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(1, 1e6), STATES), min_size=1, max_size=30),
    st.booleans(),
    st.integers(0, 2),
)
def test_promotions_are_those_of_the_worker(points, enough_peers, seed):
    search, trials, given_trials = Search(seed=seed), [], []
    promoter = Promoter(3, eta=2, seed=seed, eligible=lambda trial: trial.values[0] > 0.1)
    for n, (score, flops, state) in enumerate(points):
        result = {"running": TrialState.RUNNING, "failed": TrialState.FAIL, "diverged": TrialState.PRUNED}
        given_trials.append((str(n), 0, result.get(state, [score, np.log(flops)])))
        ended = state in ("failed", "diverged")
        trials.append(
            SnapshotTrial(
                candidate=str(n),
                rung=0,
                state="failed" if ended else state,
                final=state != "running",
                score=score if state == "done" else None,
                stderr=0.1,
                flops_per_token=flops,
                training_flops=1.0,
                diverged=state == "diverged",
            )
        )
    study = study_of(*given_trials)
    for _ in range(30):
        ours = promote(Snapshot((), tuple(trials), 0.0), RUNGS, search, enough_peers)
        assert promoter.next(study, enough_peers) == ours
        if ours is None:
            break
        score, flops, _ = points[int(ours.candidate)]
        trials.append(SnapshotTrial(*ours, "done", True, score, 0.1, flops, 1.0))
        study.add_trial(optuna.create_trial(values=[score, np.log(flops)], user_attrs=ours._asdict()))


FIELD = [
    (name, 0, [loss, size, rate])
    for name, loss, size, rate in zip("abcd", (1, 2, 3, 4), (4, 3, 5, 9), (0, 0, 0, 9), strict=True)
]
THREE = ("minimize", "minimize", "maximize")


def promoted(promoter, study):
    """Promote until nobody may, each with its old values."""
    found = []
    while (chosen := promoter.next(study, enough_peers=False)) is not None:
        found.append(chosen)
        values = next(
            t.values for t in study.trials if t.user_attrs["candidate"] == chosen.candidate and t.values
        )
        study.add_trial(optuna.create_trial(values=values, user_attrs=chosen._asdict()))
    return found


def test_of_three_objectives_the_dominated_stay():
    found = promoted(Promoter(2, eta=4 / 3), study_of(*FIELD, directions=THREE))
    assert {candidate for candidate, _ in found} == {"a", "b", "d"}  # c is dominated by a


def test_one_objective_is_promoted_by_its_value():
    study = study_of(*((str(n), 0, [n]) for n in range(8)), directions=("maximize",))
    assert promoted(Promoter(3, eta=2), study) == [*((str(n), 1) for n in (7, 6, 5, 4)), ("7", 2), ("6", 2)]


def test_waiting_and_running_promotions_are_taken():
    study = study_of(*((str(n), 0, [n]) for n in range(4)), directions=("maximize",))
    promoter = Promoter(2, eta=2, peers=0)
    assert promoter.next(study) == ("3", 1)
    study.enqueue_trial({}, user_attrs={"candidate": "3", "rung": 1})
    assert promoter.next(study) == ("2", 1)
    study.enqueue_trial({}, user_attrs={"candidate": "2", "rung": 1})
    study.ask()
    study.ask()
    assert promoter.next(study) is None


def test_a_failed_promotion_is_repeated_as_often_as_asked():
    trials = [*((str(n), 0, [n]) for n in range(4)), ("3", 1, TrialState.FAIL)]
    study = study_of(*trials, directions=("maximize",))
    assert Promoter(2, eta=2, peers=0).next(study) == ("2", 1)
    assert Promoter(2, eta=2, peers=0, retries=1).next(study) == ("3", 1)
    again = study_of(*trials, ("3", 1, TrialState.FAIL), directions=("maximize",))
    assert Promoter(2, eta=2, peers=0, retries=1).next(again) == ("2", 1)


def test_seeds_of_a_candidate_count_once_by_their_mean():
    trials = [("lucky", 0, [9]), ("lucky", 0, [1]), ("steady", 0, [6]), ("low", 0, [0]), ("least", 0, [-1])]
    study = study_of(*trials, directions=("maximize",))
    assert promoted(Promoter(2, eta=2), study) == [("steady", 1), ("lucky", 1)]


def test_new_candidates_come_first_until_there_are_peers():
    study = study_of(*((str(n), 0, [n]) for n in range(7)), directions=("maximize",))
    assert Promoter(2, eta=2, peers=4).next(study) is None
    assert Promoter(2, eta=2, peers=3).next(study) == ("6", 1)
    assert Promoter(2, eta=2, peers=4).next(study, enough_peers=False) == ("6", 1)


@pytest.mark.parametrize("attrs", [{}, {"candidate": "a"}, {"candidate": "a", "rung": 2}, {"rung": 0}])
def test_a_finished_trial_without_candidate_and_rung_is_refused(attrs):
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(value=1.0, user_attrs=attrs))
    with pytest.raises(ValueError, match="trials name 'candidate' and 'rung', from 0 to 1"):
        Promoter(2).next(study)


def test_a_trial_that_has_no_attributes_yet_is_waited_for():
    study = optuna.create_study()
    study.ask()
    assert Promoter(2).next(study, enough_peers=False) is None


@pytest.mark.parametrize("wrong", [{"rungs": 0}, {"eta": 1}, {"peers": -1}, {"retries": -1}])
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="eta above 1"):
        Promoter(**{"rungs": 3, **wrong})


@pytest.mark.parametrize(
    "sampler",
    [
        optuna.samplers.RandomSampler(seed=0),
        optuna.samplers.TPESampler(seed=0),
        optuna.samplers.NSGAIISampler(seed=0, population_size=8),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_the_example_promotes_from_checkpoints_under_any_sampler(sampler, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from plain_optuna import search

    study = search(sampler)
    rungs = Counter(trial.user_attrs["rung"] for trial in study.trials)
    assert rungs == {0: 35, 1: 17, 2: 8}
    named = Counter((t.user_attrs["candidate"], t.user_attrs["rung"]) for t in study.trials)
    assert max(named.values()) == 1
    losses = {
        key: t.values[0] for t in study.trials for key in [(t.user_attrs["candidate"], t.user_attrs["rung"])]
    }
    for (name, rung), loss in losses.items():
        if rung:
            assert loss < losses[name, rung - 1]  # it trained on from where it was
