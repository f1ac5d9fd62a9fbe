"""Who climbs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.choose.promote import promote, quota, ranked
from search.choose.snapshot import Snapshot, SnapshotTrial
from space.study import Rungs, Search

RUNGS = Rungs(tokens=(1_000, 2_000, 4_000), eta=2)
SEARCH = Search(seed=0)


def standing(name, rung=0, score: float | None = 0.5, flops=1e6, state="done", stderr=0.01, diverged=False):
    return SnapshotTrial(name, rung, state, state in ("done", "failed"), score, stderr, flops, 1.0, diverged)


def test_those_that_crashed_make_no_place_for_others():
    crashed = [standing(name, score=None, state="failed") for name in "xyz"]
    trials = climb([*crashed, standing("a"), standing("b", score=0.4)])
    assert names(trials, 1) == ["a"]


def view(*trials):
    return Snapshot((), trials, 0.0)


def climb(trials, enough_peers=False):
    """Promote until nobody may, as if every promotion ended at once with its old score."""
    trials = list(trials)
    while (chosen := promote(view(*trials), RUNGS, SEARCH, enough_peers)) is not None:
        name, rung = chosen
        before = next(t for t in trials if (t.candidate, t.rung) == (name, rung - 1))
        trials.append(standing(name, rung, before.score, before.flops_per_token))
    return trials


def names(trials, rung):
    return [trial.candidate for trial in trials if trial.rung == rung]


def test_twelve_six_three():
    trials = climb(standing(str(i), score=0.1 + i / 100, flops=1e6 + i) for i in range(12))
    assert [len(names(trials, rung)) for rung in range(3)] == [12, 6, 3]


def test_the_best_score_of_the_first_layer_comes_first():
    field = [standing("cheap", score=0.2, flops=1), standing("best", score=0.9, flops=9)]
    field += [standing("middle", score=0.5, flops=3), standing("beaten", score=0.4, flops=4)]
    assert [t.candidate for t in ranked(field, 0)] == ["best", "cheap", "middle", "beaten"]


def test_whoever_stands_alone_comes_before_a_crowd():
    flops = {"first": 1, "crowd a": 2, "crowd b": 2.1, "crowd c": 2.2, "alone": 5, "last": 9}
    field = [standing(n, score=0.1 + i / 10, flops=f) for i, (n, f) in enumerate(flops.items())]
    assert [t.candidate for t in ranked(field, 0)][:3] == ["last", "first", "alone"]


@pytest.mark.parametrize(
    "lost",
    [
        standing("lost", score=0.0, flops=1),
        standing("lost", score=-0.3, flops=1),
        standing("lost", score=0.02, stderr=0.02, flops=1),
        standing("lost", score=None, state="failed", flops=1, diverged=True),
    ],
)
def test_the_floor_and_the_failed_never_climb(lost):
    trials = climb([lost, standing("a"), standing("b", score=0.4), standing("c", score=0.3)])
    assert names(trials, 1) == ["a", "b"]
    assert names(climb([lost] * 4), 1) == []


def test_running_trials_are_waited_for():
    field = [standing("a"), standing("b", score=None, state="running")]
    assert promote(view(*field), RUNGS, SEARCH, enough_peers=False) is None


def test_patience_wants_peers():
    rungs = Rungs(tokens=(1_000, 2_000, 4_000), eta=2.5)
    field = [standing(str(i), score=0.1 + i / 100) for i in range(2)]
    assert promote(view(*field), rungs, SEARCH, enough_peers=True) is None
    assert promote(view(*field, standing("7", score=0.9)), rungs, SEARCH, enough_peers=True) == ("7", 1)


def test_the_patient_start_at_the_top_and_the_others_at_the_bottom():
    field = [standing(str(i), score=0.1 + i / 100) for i in range(20)]
    field += [standing(str(i), rung=1, score=0.1 + i / 100) for i in range(12, 20)]
    assert promote(view(*field), RUNGS, SEARCH, enough_peers=True) == ("19", 2)
    assert promote(view(*field), RUNGS, SEARCH, enough_peers=False) == ("11", 1)


def test_ties_are_drawn_by_the_seed():
    field = [standing(str(i)) for i in range(8)]
    orders = {tuple(t.candidate for t in ranked(field, seed)) for seed in range(9)}
    assert len(orders) > 1
    assert [t.candidate for t in ranked(field, 3)] == [t.candidate for t in ranked(field[::-1], 3)]


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(1, 1e9)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_never_more_than_the_quota_and_whatever_the_order(points, chance):
    field = [standing(str(i), score=score, flops=flops) for i, (score, flops) in enumerate(points)]
    trials = climb(field)
    above = [len(names(trials, rung)) for rung in range(3)]
    assert above[1] <= quota(above[0], 2)
    assert above[2] <= quota(above[1], 2)
    shuffled = list(field)
    chance.shuffle(shuffled)
    assert ranked(shuffled, 0) == ranked(field, 0)


def test_a_quota_is_exact():
    assert [quota(n, 3) for n in (2, 3, 8, 9)] == [0, 1, 2, 3]
    assert quota(7, 3.5) == math.floor(2)
