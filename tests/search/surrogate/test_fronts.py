"""Gains over fronts that are uncertain: copies, points that are being trained, and sums over draws."""

import numpy as np
import pytest
from made_studies import by_law, encoded, observed, problem_of, true_law

from search.pareto import hypervolume
from search.surrogate.columns import Points
from search.surrogate.fronts import DrawnScores, Front
from search.surrogate.surrogate import Surrogate, Use

MOST = np.array([16.0])  # log FLOPs per token
USES = {
    "both": Use(),
    "law": Use(plain=False),
    "law alone": Use(plain=False, residual=False),
    "none": Use(law=False),
}


@pytest.fixture(scope="module")
def made():
    return encoded(problem_of())


def study(made, use, seed=0, count=30):
    """A surrogate, and the points that it has seen."""
    space, encoder = made
    rng = np.random.default_rng(seed)
    points = space.points(space.random(rng, count, 0.0))
    rungs = rng.integers(encoder.rungs, size=count)
    seen = observed(encoder, points, rungs, by_law(encoder, true_law(encoder, seed), points, rungs), seed)
    return Surrogate(encoder, seen, use), points


def others(made, seed=1, count=40):
    return made[0].points(made[0].random(np.random.default_rng(seed), count, 0.0))


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_copy_of_a_known_point_gains_nothing_and_other_points_do(made, use):
    surrogate, points = study(made, use)
    front = surrogate.front(points)
    assert front.gain(points, MOST).max() < 0.05 * front.gain(others(made), MOST).max()


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_copy_of_a_point_that_is_being_trained_gains_nothing(made, use):
    surrogate, points = study(made, use)
    new = others(made)
    alone = surrogate.front(points).gain(new, MOST)
    best = int(np.argmax(alone))
    counted = surrogate.front(Points.joined((points, new.take(np.array([best]))))).gain(new, MOST)
    assert counted[best] < 0.1 * alone[best]
    assert counted.max() > 0.2 * alone.max()


@pytest.mark.slow
def test_the_gain_is_the_mean_over_scores_that_are_drawn_together(made):
    """Against brute force: known and new scores drawn jointly from the plain Gaussian process."""
    surrogate, points = study(made, Use(law=False))
    new = others(made, count=8)
    front = surrogate.front(points)
    (model,) = front.drawn
    top, scale = surrogate.encoder.rungs - 1, float(surrogate.scales[0])
    together = Points.joined((front.known, new))
    normal = np.random.default_rng(5).standard_normal((4_000, len(together)))
    known = len(front.known)  # whose scores are drawn alike both times
    many = DrawnScores(model.model, front.known, top, scale, normal[:, :known])
    found = Front(front.weights, [many], front.known).gain(new, MOST)
    every = DrawnScores(model.model, together, top, scale, normal).scores
    costs, most = np.exp(together.log_flops), float(np.exp(MOST[0]))
    gains = np.empty((len(every), len(new)))
    for scores, gained in zip(every, gains, strict=True):
        drawn = list(zip(scores, costs, strict=True))
        of_front = hypervolume(drawn[:known], 0.0, most)
        gained[:] = [hypervolume([*drawn[:known], point], 0.0, most) - of_front for point in drawn[known:]]
    expected = np.log(10) * gains.mean(axis=0)  # hypervolumes are over log10 FLOPs
    assert found == pytest.approx(expected, rel=0.1, abs=0.01 * expected.max())
    assert np.corrcoef(front.gain(new, MOST), expected)[0, 1] > 0.9


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_over_no_known_point_all_gain_what_they_are_worth(made, use):
    surrogate, _ = study(made, use)
    new = others(made)
    gain = surrogate.front(new.take(np.arange(0))).gain(new, MOST)
    worth = np.maximum(surrogate.predict(new).mixed_mean, 0) * (MOST - new.log_flops)
    assert gain == pytest.approx(worth, rel=0.2, abs=0.02)


def test_points_far_below_a_front_are_left_out_of_it(made):
    surrogate, _ = study(made, Use())
    many = others(made, count=300)
    front = surrogate.front(many)
    assert len(front.known) == 64
    predicted = surrogate.predict(many)
    best = int(np.argmax(predicted.mixed_mean))
    assert many.log_flops[best] in front.known.log_flops
    some = others(made, seed=2)
    whole = Front(
        surrogate.weights,
        [
            DrawnScores(model.model, many, surrogate.encoder.rungs - 1, scale)
            for model, scale in zip(front.drawn, surrogate.scales.tolist(), strict=True)
        ],
        many,
    )
    all_gains, gains = whole.gain(some, MOST), front.gain(some, MOST)
    assert np.corrcoef(all_gains, gains)[0, 1] > 0.9
