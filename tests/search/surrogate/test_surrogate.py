"""Both models together: their weights with and without a law, calibration, purity."""

from dataclasses import replace

import numpy as np
import pytest
from made_studies import by_law, encoded, observed, problem_of, true_law
from scipy.special import ndtr

from search.surrogate.surrogate import Surrogate, Use

MOST = np.array([16.0])  # log FLOPs per token
LATER = 60  # points of the top rung that a surrogate has not seen


@pytest.fixture(scope="module")
def problem():
    return encoded(problem_of())


@pytest.fixture(scope="module")
def of_scores():
    return encoded(problem_of(), per_task=False)


def lawless(encoder, points, rungs, phase):
    """A smooth score without a law: waves over learning rate and width."""
    rate, width = points.log_rate, points.shapes[:, 4]
    rate, width = ((values - values.mean()) / values.std() for values in (rate, width))
    score = 0.3 + 0.25 * np.sin(2.5 * rate + phase) * np.cos(1.5 * width) + 0.05 * rungs
    return np.tile(score, (encoder.laws, 1))


def study(made, seed, count=40, follows_law=True, luck=0.0):
    """Seen trials, later trials of the top rung, and the later ones' scores without noise.

    `luck` is the standard deviation of what a training adds to all its fractions.
    """
    space, encoder = made
    rng = np.random.default_rng(seed)
    points = space.points(space.random(rng, count + LATER, 0.0))
    rungs = np.append(rng.integers(encoder.rungs, size=count), np.full(LATER, encoder.rungs - 1))
    if follows_law:
        fractions = by_law(encoder, true_law(encoder, seed), points, rungs)
    else:
        fractions = lawless(encoder, points, rungs, seed)
    everything = observed(encoder, points, rungs, fractions + luck * rng.standard_normal(len(points)), seed)
    seen = everything.take(np.flatnonzero(everything.candidate < count))
    later = everything.take(np.flatnonzero(everything.candidate >= count))
    return seen, later, encoder.score(fractions)[later.candidate]


def test_the_law_weighs_much_where_scores_follow_it_and_little_where_they_do_not(problem):
    by_law_, without = (
        [Surrogate(problem[1], study(problem, seed, 60, follows)[0]).law_weight for seed in range(4)]
        for follows in (True, False)
    )
    assert min(by_law_) > 0.75
    assert max(without) < 0.45
    assert np.mean(without) < 0.3


@pytest.mark.parametrize("follows_law", [True, False])
def test_some_held_out_candidates_weigh_the_models_of_many_like_all_of_them(
    problem, follows_law, monkeypatch
):
    seen = study(problem, 5, 300, follows_law, luck=0.03)[0]
    some = Surrogate(problem[1], seen)
    monkeypatch.setattr("search.surrogate.surrogate.HELD_OUT", 300)
    everyone = Surrogate(problem[1], seen)
    assert (some.weights != everyone.weights).all()  # half of the candidates are held out, or all
    assert some.weights == pytest.approx(everyone.weights, abs=0.2)
    assert some.scales == pytest.approx(everyone.scales, rel=0.35)


@pytest.mark.parametrize("follows_law", [True, False])
def test_later_scores_lie_in_the_90_percent_interval(problem, follows_law):
    inside = []
    for seed in range(8):
        seen, later, _ = study(problem, seed, follows_law=follows_law, luck=0.03)
        found = Surrogate(problem[1], seen).predict(later.points)
        deviation = np.sqrt(found.std**2 + found.noise[:, None] ** 2 + later.stderr**2)
        below = found.weights @ ndtr((later.score - found.mean) / deviation)
        inside.append(np.mean((below > 0.05) & (below < 0.95)))
    assert 0.8 < np.mean(inside) < 0.96


def squared_error(made, use, follows_law, count):
    """Mean squared error of the expected score, as a share of its variance."""
    errors = []
    for seed in range(3):
        seen, later, truth = study(made, seed, count, follows_law)
        found = Surrogate(made[1], seen, use).predict(later.points).mixed_mean
        errors.append(np.mean((found - truth) ** 2) / truth.var())
    return np.mean(errors)


def test_the_law_predicts_well_from_few_scores_where_it_holds(problem):
    both, law, plain = (
        squared_error(problem, use, True, 30) for use in (Use(), Use(plain=False), Use(law=False))
    )
    assert both < 0.1
    assert law < 0.1
    assert plain > 2 * both


def test_the_plain_model_rescues_studies_without_a_law(problem):
    both, law = (squared_error(problem, use, False, 120) for use in (Use(), Use(plain=False, residual=False)))
    assert both < 0.75
    assert law > 1.2 * both


def test_the_same_scores_give_the_same_prediction_in_any_order_within_a_rung(problem):
    seen, later, _ = study(problem, 3)
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(seen)), seen.rung))
    first, again, shuffled = (
        Surrogate(problem[1], rows).predict(later.points) for rows in (seen, seen, seen.take(order))
    )
    assert (first.mean == again.mean).all()
    assert (first.std == again.std).all()
    assert shuffled.mean == pytest.approx(first.mean, abs=1e-3)
    assert shuffled.std == pytest.approx(first.std, rel=0.02)
    assert shuffled.weights == pytest.approx(first.weights, abs=1e-3)


def test_parts_can_be_left_out(problem):
    seen, later, _ = study(problem, 1)
    for use, models, weight in (
        (Use(law=False), 1, 0.0),
        (Use(plain=False), 1, 1.0),
        (Use(residual=False), 2, None),
    ):
        surrogate = Surrogate(problem[1], seen, use)
        found = surrogate.predict(later.points)
        assert found.mean.shape == found.std.shape == (models, LATER)
        assert found.weights.sum() == pytest.approx(1)
        assert (found.std > 0).all()
        assert weight is None or surrogate.law_weight == weight
        assert (surrogate.law is None) == (not use.law)


def test_one_law_of_the_score_can_take_the_place_of_the_tasks_laws(of_scores):
    seen, later, truth = study(of_scores, 2, 60)
    surrogate = Surrogate(of_scores[1], seen)
    assert surrogate.law.beta.shape[0] == 1
    assert surrogate.law_weight > 0.5
    error = np.mean((surrogate.predict(later.points).mixed_mean - truth) ** 2)
    assert error < 0.3 * truth.var()


def test_lower_rungs_are_predicted_as_well(problem):
    encoder = problem[1]
    seen, later, _ = study(problem, 6, 80)
    beta = true_law(encoder, 6)
    surrogate = Surrogate(encoder, seen)
    for rung in range(3):
        truth = encoder.score(by_law(encoder, beta, later.points, np.full(LATER, rung)))
        assert np.sqrt(np.mean((surrogate.predict(later.points, rung).mixed_mean - truth) ** 2)) < 0.05


def test_few_scores_have_weights_and_inflated_deviations_of_the_prior(problem):
    seen, later, _ = study(problem, 5, 5)
    surrogate = Surrogate(problem[1], seen)
    assert surrogate.law_weight == 0.75
    assert (surrogate.scales == 1.2).all()
    assert np.isfinite(surrogate.predict(later.points).mean).all()


@pytest.mark.parametrize(
    "change", ["equal", "at the floor", "no tasks", "no noise", "beyond", "one candidate"]
)
def test_degenerate_scores_give_finite_predictions(problem, change):
    seen, later, _ = study(problem, 7)
    ones = np.ones(len(seen))
    seen = {
        "equal": replace(seen, score=0.5 * ones, fractions=np.full(seen.fractions.shape, 0.5)),
        "at the floor": replace(seen, score=0 * ones, fractions=0 * seen.fractions),
        "no tasks": replace(seen, fractions=np.nan * seen.fractions),
        "no noise": replace(seen, stderr=0 * ones, fraction_stderr=0 * seen.fraction_stderr),
        "beyond": replace(seen, score=ones, fractions=9 * np.sign(seen.fractions - 0.5)),
        "one candidate": replace(seen, candidate=np.zeros(len(seen), dtype=int)),
    }[change]
    surrogate = Surrogate(problem[1], seen)
    found = surrogate.predict(later.points)
    assert np.isfinite(found.mean).all()
    assert (found.std > 0).all()
    assert np.isfinite(surrogate.front(later.points).gain(later.points, MOST)).all()
    if change in ("equal", "at the floor"):
        assert found.mixed_mean == pytest.approx(seen.score[0], abs=0.05)


def test_a_study_whose_tasks_have_no_fractions_is_left_to_the_plain_model(problem):
    seen, later, truth = study(problem, 8, 60)
    surrogate = Surrogate(problem[1], replace(seen, fractions=np.nan * seen.fractions))
    assert surrogate.law_weight < 0.6
    assert np.mean((surrogate.predict(later.points).mixed_mean - truth) ** 2) < 0.5 * truth.var()
