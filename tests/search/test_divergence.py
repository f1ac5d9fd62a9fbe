"""The probability of divergence: its fit, and what it says near and far from runs that diverged."""

import numpy as np
import pytest
from made_studies import encoded, problem_of
from scipy.optimize import minimize

from search.choose.divergence import PRIOR_MEAN, PRIOR_STD, Divergence
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial


@pytest.fixture(scope="module")
def points():
    space, _ = encoded(problem_of())
    return space.points(space.random(np.random.default_rng(0), 60, 0.0))


def fitted(points, diverged, running=()):
    """The model of a study in which some candidates diverged, others were scored and some still train."""
    candidates = [Candidate(str(n), n, {}, 1e5, True) for n in range(len(points))]
    trials = []
    for n in range(len(points)):
        state = "running" if n in running else "failed" if diverged[n] else "done"
        score = 0.5 if state == "done" else None
        ended = state != "running"
        trials.append(
            SnapshotTrial(str(n), 0, state, ended, score, 0.01, 1e5, 1e9, ended and bool(diverged[n]))
        )
    return Divergence(points, candidates, Snapshot(tuple(candidates), tuple(trials), 0.0))


def test_everything_survives_while_nothing_has_diverged(points):
    assert (fitted(points, np.zeros(60)).survives(points) == 1).all()
    running = fitted(points, np.ones(60), range(60))
    assert (running.survives(points) == 1).all()


def test_high_learning_rates_are_avoided_once_they_have_diverged(points):
    high = points.log_rate > np.quantile(points.log_rate, 0.75)
    survives = fitted(points, high).survives(points)
    assert survives[high].max() < survives[~high].max()
    assert survives[high].mean() < 0.35
    assert survives[~high].mean() > 0.85
    order = np.argsort(points.log_rate)
    assert np.corrcoef(points.log_rate[order], survives[order])[0, 1] < -0.7


def test_wide_ones_are_avoided_once_they_alone_have_diverged(points):
    width = points.shapes[:, 4]
    survives = fitted(points, width == width.max()).survives(points)
    assert survives[width == width.max()].mean() < survives[width == width.min()].mean() - 0.3


def test_it_is_the_mode_of_the_posterior(points):
    diverged = np.random.default_rng(1).random(60) < 0.3
    model = fitted(points, diverged)
    x = model._columns(points)

    def loss(theta):
        logits = x @ theta
        return np.sum(np.logaddexp(0, logits) - diverged * logits) + 0.5 * np.sum(
            ((theta - PRIOR_MEAN) / PRIOR_STD) ** 2
        )

    mode = minimize(loss, PRIOR_MEAN).x
    assert model.survives(points) == pytest.approx(1 / (1 + np.exp(x @ mode)), abs=1e-4)


@pytest.mark.parametrize("count", [1, 60])
def test_all_or_one_diverged_gives_probabilities(points, count):
    some = points.take(np.arange(count))
    survives = fitted(some, np.ones(count)).survives(points)
    assert np.isfinite(survives).all()
    assert ((survives > 0) & (survives < 1)).all()
    assert (survives.mean() < 0.3) == (count == 60)
