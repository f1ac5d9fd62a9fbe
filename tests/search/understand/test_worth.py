"""What more training is expected to bring: bounds, monotony, and studies that know too little."""

import numpy as np
import pytest
from made import by_rates_and_shares, made, score_of

from search.understand.worth import worth

RULE = by_rates_and_shares(rate=0.5, size=0.3)


@pytest.fixture(scope="module")
def studied():
    return made(RULE, 32, seed=0)


@pytest.mark.slow
def test_it_is_the_same_for_the_same_study_and_rises_with_the_compute(studied):
    found = worth(studied)
    assert found == worth(made(RULE, 32, seed=0))
    now, twice, fourfold = found.best
    assert [outlook.multiple for outlook in found.best] == [1, 2, 4]
    assert twice.training_flops == 2 * studied.view.training_flops
    assert (now.gain, now.chance) == (0, 0)
    assert now.score < twice.score <= 1
    assert fourfold.gain > twice.gain - 0.005  # 128 drawn functions
    assert fourfold.chance > twice.chance - 0.05
    for outlook in found.best:
        low, high = outlook.interval
        assert low < outlook.score < high <= 1


def test_a_search_that_has_found_the_best_expects_less_than_one_that_has_not():
    """Without noise and with one knob, many candidates leave little to find."""
    space = {"depth": 2, "width": 48, "experts": 4, "top_k": 2, "expert_ratio": 1, "mixture": {"fixed": True}}
    few, many = (
        worth(made(by_rates_and_shares(rate=1.0), count, seed=5, noise=0.003, space=space)).best[1]
        for count in (9, 100)
    )
    assert many.gain < few.gain
    assert many.chance < 0.2
    assert np.ptp(many.interval) < np.ptp(few.interval)


@pytest.mark.slow
def test_the_truth_now_lies_in_the_interval_of_most_studies():
    inside = []
    for seed in range(6):
        studied = made(RULE, 24, seed=20 + seed)
        top = max((t for t in studied.view.trials if t.rung == 2), key=lambda trial: trial.score)
        params = next(c.params for c in studied.view.candidates if c.id == top.candidate)
        fractions = RULE(studied.problem.feasible(params), 2)
        low, high = worth(studied).best[0].interval
        inside.append(low <= score_of(studied.problem, fractions) <= high)
    assert np.mean(inside) >= 4 / 6


def test_a_study_that_knows_too_little_is_not_predicted(studied):
    assert worth(made(RULE, 7, seed=0)) is None
    lower = tuple(trial for trial in studied.view.trials if trial.rung < 2)
    view = studied.view.__class__(studied.view.candidates, lower, 0.0)
    assert worth(studied._replace(view=view)) is None
