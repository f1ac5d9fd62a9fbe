"""Functions drawn from the posterior: their moments are those of the predictions."""

import numpy as np
from made_studies import by_law, encoded, observed, problem_of, true_law

from search.surrogate.gp import GaussianProcess, Kernel
from search.surrogate.paths import ProcessPaths
from search.surrogate.surrogate import Surrogate


def test_paths_of_a_process_have_its_mean_and_variance():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (20, 2))
    process = GaussianProcess(x, np.sin(2 * x[:, 0]), np.full(20, 1e-3), Kernel(np.full(2, 1.0), 1.0, 0.05))
    at = np.concatenate((rng.uniform(-1, 1, (30, 2)), rng.uniform(3, 5, (10, 2))))
    drawn = ProcessPaths(process, 4000, np.random.default_rng(1))(at)
    mean, variance = process.predict(at)
    assert np.abs(drawn.mean(axis=0) - mean).max() < 0.1
    assert np.abs(drawn.std(axis=0) - np.sqrt(variance)).max() < 0.12
    assert (drawn[:, 30:].std(axis=0) > 0.8).all()  # far from the rows a path is a draw of the prior
    assert np.median(drawn[:, :30].std(axis=0)) < 0.3


def test_paths_of_a_surrogate_have_the_moments_of_its_predictions_and_are_functions():
    problem = problem_of()
    space, encoder = encoded(problem)
    points = space.points(space.random(np.random.default_rng(1), 60, 0.0))
    rungs = np.arange(60) % 3
    seen = observed(encoder, points, rungs, by_law(encoder, true_law(encoder, 0), points, rungs), 2)
    surrogate = Surrogate(encoder, seen)
    at = space.points(space.random(np.random.default_rng(3), 50, 0.0))
    paths = surrogate.paths(600)
    assert sum(paths.counts) == 600
    assert abs(paths.counts[0] / 600 - surrogate.law_weight) < 0.01
    drawn, predicted = paths(at), surrogate.predict(at)
    assert np.abs(drawn.mean(axis=0) - predicted.mixed_mean).max() < 4 * predicted.mixed_std.max() / 600**0.5
    ratio = drawn.std(axis=0) / predicted.mixed_std
    assert 0.8 < np.median(ratio) < 1.2
    assert np.array_equal(drawn, surrogate.paths(600)(at))
    some = np.array([7, 3])
    assert np.allclose(paths(at.take(some)), drawn[:, some], atol=1e-9)
    other = surrogate.paths(600, seed=1)(at)
    assert not np.allclose(drawn, other)
