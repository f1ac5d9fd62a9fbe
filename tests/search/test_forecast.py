"""The price of a study: by hand, and against the stop rules."""

import pytest
from factories import suite

from search.choose.promote import quota
from search.planning.bounds import expected_trials, most_trials
from search.planning.forecast import Speed, forecast
from search.planning.simulate import executed_flops_per_token
from space.cost import price
from space.study import Rungs, Search, StudyConfig

SPEED = Speed(flops_per_second=1e9, evaluation_seconds=2.0)


@pytest.fixture(autouse=True)
def _suite(monkeypatch):
    monkeypatch.setattr(StudyConfig, "check", lambda self: suite())


def study(**change) -> StudyConfig:
    base = {
        "study": "priced",
        "space": {"depth": 2, "width": 64, "experts": 4, "top_k": 2, "expert_ratio": 1},
        "rungs": {"tokens": [10_000, 20_000, 40_000], "eta": 2},
        "stop": {"candidates": 12},
    }
    return StudyConfig.model_validate(base | change)


def test_one_of_eta_climbs():
    by_rank = Search()
    assert expected_trials(Rungs(tokens=(1, 2, 3), eta=2), 12, by_rank) == [12, 6, 3]
    assert expected_trials(Rungs(tokens=(1, 2, 3), eta=3), 10, by_rank) == [10, 3, 1]
    assert expected_trials(Rungs(tokens=(1, 2), eta=1.1), 11, by_rank) == [11, quota(11, 1.1)] == [11, 10]


def test_promotion_of_all_and_repeats_are_counted():
    rungs = Rungs(tokens=(1, 2, 3), eta=2)
    table = Search(promotion="all", repeats=0.1)
    every = study(search={"promotion": "all", "repeats": 0.1})
    assert expected_trials(rungs, 192, table) == most_trials(every, 192) == [211, 211, 211]
    assert expected_trials(rungs, 12, Search(promotion="all")) == [12, 12, 12]
    some = Search(repeats=0.25)
    assert expected_trials(rungs, 12, some) == [15, 8, 4]  # a quarter of 12, 6 and 3
    repeating = study(search={"repeats": 0.25})
    assert most_trials(repeating, 12) == [15, 9, 6]  # if the repeated ones are promoted


@pytest.mark.slow
def test_a_study_that_promotes_all_and_repeats_is_priced_exactly():
    search = {"promotion": "all", "repeats": 0.25}
    priced = forecast(study(search=search), workers=2, device="cpu", speed=SPEED)
    assert priced.candidates == 12
    assert [rung.trials for rung in priced.rungs] == [15, 15, 15]
    assert priced.training_tokens == 15 * (12_000 + 14_000 + 28_000)
    assert priced.training_flops <= priced.training_flops_most
    long = forecast(study(search=search, stop={"candidates": 400}), 2, "cpu", SPEED)
    assert [rung.trials for rung in long.rungs] == [500, 500, 500]
    assert long.candidates == 400
    until = forecast(study(search=search, stop={"training_flops": long.training_flops}), 2, "cpu", SPEED)
    assert until.candidates == pytest.approx(400, rel=0.05)


def test_a_trial_pays_its_part_of_the_trunk_and_its_decay_branch():
    rungs = Rungs(tokens=(100, 300), decay=0.2)
    assert [rungs.trial_tokens(rung) for rung in (0, 1)] == [120, 260]


def test_a_space_of_one_architecture_is_priced_exactly():
    priced = forecast(study(), workers=2, device="cpu", speed=SPEED)
    assert (priced.architectures, priced.within_limits) == (1, 1)
    per_token = priced.flops_per_token[0]
    tokens = 12 * 12_000 + 6 * 14_000 + 3 * 28_000
    assert priced.training_tokens == tokens
    (cost,) = (cost for _, cost in study().space.feasible(suite(), study().limits))
    executed = executed_flops_per_token(cost, "adamw", suite())
    assert 3 * (per_token - cost.head_flops_per_token) < executed < 3 * per_token
    assert priced.training_flops == pytest.approx(executed * tokens)
    assert priced.wall_seconds == pytest.approx((3 * per_token * tokens / 1e9 + 21 * 2.0) / 2)
    assert [rung.trials for rung in priced.rungs] == [12, 6, 3]


def test_half_of_the_candidates_pay_for_an_optimizer_that_is_one_of_two():
    search = {"sampler": "stratified"}  # which draws each optimizer as often
    space = study().space.model_dump()
    spaces = space, space | {"optimizer": {"choices": ["adamw", "muon"]}}
    adamw, mixed = (forecast(study(space=of, search=search), 2, "cpu", SPEED) for of in spaces)
    steps = mixed.training_tokens / suite().batch_tokens
    cost = price(next(study().space.architectures(suite().context)), suite())
    own = steps * cost.muon_flops_per_step / 2
    assert mixed.training_flops - adamw.training_flops == pytest.approx(own, rel=0.4)


@pytest.mark.slow
def test_ranges_span_the_architectures_within_the_limits():
    space = {"width": {"choices": [64, 128, 256]}}
    wide = forecast(study(space=space), 1, "cpu", SPEED)
    narrow = forecast(study(space=space, limits={"flops_per_token": 1e6}), 1, "cpu", SPEED)
    assert narrow.architectures == wide.architectures
    assert narrow.within_limits < wide.within_limits
    assert narrow.flops_per_token[1] <= 1e6 < wide.flops_per_token[1]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [{"training_flops": 1e12}, {"wall_minutes": 10}])
def test_other_stop_rules_bound_the_candidates(stop):
    priced = forecast(study(stop=stop), 2, "cpu", SPEED)
    limit = stop.get("training_flops", 0) or stop["wall_minutes"] * 60
    spent = priced.training_flops if "training_flops" in stop else priced.wall_seconds
    assert spent == pytest.approx(limit, rel=0.25)
    both = forecast(study(stop=stop | {"candidates": 1}), 2, "cpu", SPEED)
    assert both.candidates == 1
