"""Orders of promotion: those that ship, the example, and functions that break the contract."""

import sys
from pathlib import Path

import pytest
from factories import suite
from test_promote import RUNGS, standing, view
from toy_trainers import toy_config

from search.choose.contract import check_promotion
from search.choose.orders import make_order
from search.choose.promote import promote
from search.choose.rehearsal import rehearse_sampler
from search.choose.sampler import Problem
from space.errors import PathfrontError, StudyFileError
from space.shipped import PROMOTIONS
from space.study import Search

EXAMPLES = Path(__file__).parents[1] / "examples"
BAD = """
import itertools

calls = itertools.count()

def fickle(trials, view, problem):
    return sorted(trials, key=lambda trial: hash((trial.candidate, next(calls))))

def twice(trials, view, problem):
    return [*trials, *trials]

def invents(trials, view, problem):
    return [*trials, *view.rungs.get(1, [])[:0], *([view.trials[0]] if not trials else [])]

def names(trials, view, problem):
    return [trial.candidate for trial in trials]

def spoils(trials, view, problem):
    return trials.pop()

def raises(trials, view, problem):
    return trials[0].scor

def two(trials, view):
    return trials

def cheapest(trials, view, problem):
    assert problem.rungs.tokens and view.trials
    return sorted(trials, key=lambda trial: trial.flops_per_token)

class Order:
    pass
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    (tmp_path / "bad_orders.py").write_text(BAD)
    (tmp_path / "my_promotion.py").write_text((EXAMPLES / "my_promotion.py").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("bad_orders", "my_promotion"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", [*PROMOTIONS, "my_promotion:score_for_compute", "bad_orders.cheapest"])
def test_orders_keep_the_contract(name):
    check_promotion(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fickle", "contract of orders of promotion: the same study gives the same order"),
        ("twice", "each at most once, got candidate [0-9a-f]{12} twice"),
        ("invents", "an order returns trials that it is given, each at most once, got candidate"),
        ("names", r"search.promotion: 'bad_orders:names': an order returns a list of the trials"),
        ("spoils", "an order returns a list of the trials that it is given"),
        ("raises", r"search.promotion: 'bad_orders:raises' raises AttributeError: .* \(bad_orders.py:\d+\)"),
        ("two", "search.promotion: a function order.* refuses these arguments: too many positional"),
        ("Order", "search.promotion: a function order.*, and 'bad_orders:Order' is a type"),
        ("missing", "module 'bad_orders' has no 'missing'"),
    ],
)
def test_what_breaks_the_contract_is_found_in_one_line(name, message):
    with pytest.raises(PathfrontError, match=message) as caught:
        check_promotion(f"bad_orders:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["twice", "names", "raises", "two", "missing"])
def test_a_launch_finds_it_before_anything_is_written(name):
    config = toy_config(search={"promotion": f"bad_orders:{name}"})
    with pytest.raises(StudyFileError, match=r"^search\.promotion: "):
        rehearse_sampler(config, suite())


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"rank, all or package\.module:function, got 'rnk'; did you mean 'rank'"
    ):
        Search(promotion="rnk")
    assert Search(promotion="bad_orders.cheapest").promotion == "bad_orders:cheapest"


def test_the_order_of_a_study_decides_and_the_floor_and_the_quota_hold():
    config = toy_config(search={"promotion": "bad_orders:cheapest"})
    order = make_order(config.search, Problem.of(config, suite()))
    field = [standing(str(n), score=0.1 + n / 10, flops=1e6 + n) for n in range(7)]
    lost = standing("lost", score=0.0, flops=1)
    found = []
    trials = [lost, *field]
    while (chosen := promote(view(*trials), RUNGS, config.search, False, order)) is not None:
        found.append(chosen)
        trials.append(standing(*chosen))
    assert [name for name, rung in found if rung == 1] == ["0", "1", "2", "3"]
    assert promote(view(*trials[:8]), RUNGS, Search(), False) == ("6", 1)


def test_all_promotes_every_candidate_with_a_score_at_once_and_from_the_top():
    search = Search(promotion="all")
    field = [standing("a", score=-0.2), standing("b", score=None, state="failed"), standing("c")]
    trials, found = list(field), []
    while (chosen := promote(view(*trials), RUNGS, search, enough_peers=True)) is not None:
        found.append(chosen)
        trials.append(standing(*chosen))
    assert found == [("a", 1), ("a", 2), ("c", 1), ("c", 2)]
