"""The Gaussian process: parity with scikit-learn, exact gradients, and the hyperparameters that it finds."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from search.surrogate import gp
from search.surrogate.gp import DrawnProcess, GaussianProcess, Kernel, tuned

KERNEL = Kernel(np.array([0.7, 1.5, 3.0]), 0.4, 0.1)
ONE_EACH = np.arange(3)


def rows(count=30, inputs=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, inputs))
    return x, 0.4 * np.sin(2 * x[:, 0]) + 0.1 * rng.standard_normal(count), rng.uniform(0, 0.02, count)


def peer(kernel, x, y, variance):
    """The same process of scikit-learn, with the jitter of ours."""
    noise = variance + kernel.noise**2 + 1e-8 * kernel.signal**2
    covariance = ConstantKernel(kernel.signal**2) * Matern(kernel.lengths, nu=2.5)
    return GaussianProcessRegressor(covariance, alpha=noise, optimizer=None).fit(x, y)


def test_predictions_equal_those_of_scikit_learn():
    x, y, variance = rows()
    at = np.random.default_rng(1).standard_normal((50, 3)) * 2
    mean, of_function = GaussianProcess(x, y, variance, KERNEL).predict(at)
    expected, deviation = peer(KERNEL, x, y, variance).predict(at, return_std=True)
    assert mean == pytest.approx(expected, abs=1e-9)
    assert np.sqrt(of_function) == pytest.approx(deviation, abs=1e-9)


def test_the_kernel_equals_that_of_scikit_learn():
    x, y, variance = rows(7)
    covariance = peer(KERNEL, x, y, variance).kernel_
    assert KERNEL(x, x[:4]) == pytest.approx(covariance(x, x[:4]), abs=1e-7)


@pytest.fixture
def posterior(monkeypatch):
    """The function that `tuned` minimises, and where it starts."""

    def of(x, y, variance, groups):
        found = {}

        def minimize(loss, start, **options):
            found.update(loss=loss, start=start)
            return SimpleNamespace(x=start)

        monkeypatch.setattr(gp, "minimize", minimize)
        kernel = tuned(x, y, variance, groups)
        return found["loss"], found["start"], kernel

    return of


@pytest.mark.parametrize("groups", [[0, 1, 2], [0, 0, 1], [0, 0, 0]])
def test_the_gradient_equals_finite_differences(posterior, groups):
    loss, start, _ = posterior(*rows(), np.array(groups))
    for seed in range(3):
        at = start + np.random.default_rng(seed).normal(0, 0.5, len(start))
        numeric = approx_fprime(at, lambda logs: loss(logs)[0], 1e-6)
        assert loss(at)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_the_loss_is_the_likelihood_of_scikit_learn_and_the_prior(posterior):
    x, y, variance = rows()
    loss, start, kernel = posterior(x, y, variance, ONE_EACH)
    at = start + np.array([0.3, -0.5, 1.0, 0.2, -0.4])
    spread = np.array([gp.LENGTH_SPREAD] * 3 + [gp.SIGNAL_SPREAD, gp.NOISE_SPREAD])

    def likelihood(logs):
        other = Kernel(np.exp(logs[:3]), float(np.exp(logs[3])), float(np.exp(logs[4])))
        return peer(other, x, y, variance).log_marginal_likelihood_value_

    expected = likelihood(start) - likelihood(at) + 0.5 * (((at - start) / spread) ** 2).sum()
    assert loss(at)[0] - loss(start)[0] == pytest.approx(expected, abs=1e-6)
    assert kernel.lengths == pytest.approx(np.full(3, gp.LENGTH))


def test_the_input_that_matters_gets_the_shortest_length():
    x, y, variance = rows(80)
    kernel = tuned(x, y, variance, ONE_EACH)
    assert kernel.lengths[0] < 0.5 * kernel.lengths[1:].min()
    assert 0.05 < kernel.noise < 0.2
    shared = tuned(x, y, variance, np.array([0, 1, 1]))
    assert shared.lengths[1] == shared.lengths[2] > shared.lengths[0]


def test_it_interpolates_without_noise_and_returns_to_the_prior_far_away():
    x, y, _ = rows(12)
    exact = GaussianProcess(x, y, np.zeros(12), Kernel(KERNEL.lengths, 0.4, 1e-5))
    mean, variance = exact.predict(x)
    assert mean == pytest.approx(y, abs=1e-4)
    assert (variance < 1e-6).all()
    mean, variance = exact.predict(x + 100)
    assert mean == pytest.approx(0, abs=1e-9)
    assert variance == pytest.approx(0.16)


def test_a_row_with_little_noise_of_its_own_counts_for_more():
    x, y = np.zeros((2, 3)), np.array([0.0, 1.0])
    mean, _ = GaussianProcess(x, y, np.array([1.0, 0.01]), KERNEL).predict(np.zeros((1, 3)))
    other, _ = GaussianProcess(x, y, np.array([0.01, 1.0]), KERNEL).predict(np.zeros((1, 3)))
    assert mean > 0.7 > 0.3 > other


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_equal_and_repeated_rows_can_be_fitted(value):
    x = np.zeros((20, 3))
    kernel = tuned(x, np.full(20, value), np.zeros(20), ONE_EACH)
    mean, variance = GaussianProcess(x, np.full(20, value), np.zeros(20), kernel).predict(x[:1])
    assert mean == pytest.approx(value, abs=0.02)
    assert np.isfinite(variance).all()
    assert variance > 0


def test_a_drawn_process_is_the_one_that_has_also_seen_the_values_drawn():
    x, y, variance = rows()
    known, at = (np.random.default_rng(seed).standard_normal((8, 3)) for seed in (1, 2))
    process = GaussianProcess(x, y, variance, KERNEL)
    drawn = DrawnProcess(process, known, np.random.default_rng(3).standard_normal((4, 8)))
    means, left = drawn.predict(at)
    exact = np.append(variance, np.full(8, -(KERNEL.noise**2)))  # without the common noise
    for mean, values in zip(means, drawn.values, strict=True):
        both = GaussianProcess(np.concatenate((x, known)), np.append(y, values), exact, KERNEL)
        assert mean == pytest.approx(both.predict(at)[0], abs=1e-3)
        assert left == pytest.approx(both.predict(at)[1], abs=1e-4)


def test_values_are_drawn_with_the_mean_and_the_covariance_of_the_process():
    x, y, variance = rows()
    known = np.random.default_rng(1).standard_normal((8, 3))
    process = GaussianProcess(x, y, variance, KERNEL)
    values = DrawnProcess(process, known, np.random.default_rng(3).standard_normal((20_000, 8))).values
    mean, deviation = peer(KERNEL, x, y, variance).predict(known, return_std=True)
    covariance = peer(KERNEL, x, y, variance).predict(known, return_cov=True)[1]
    assert values.mean(axis=0) == pytest.approx(mean, abs=0.01)
    assert np.cov(values.T) == pytest.approx(covariance, abs=0.05 * deviation.max() ** 2)


def test_values_may_be_drawn_at_the_same_point_twice_or_nowhere():
    x, y, variance = rows()
    process = GaussianProcess(x, y, variance, KERNEL)
    normal = np.random.default_rng(3).standard_normal((4, 2))
    twice = DrawnProcess(process, np.zeros((2, 3)), normal).values
    assert twice[:, 0] == pytest.approx(twice[:, 1], abs=0.01)
    means, left = DrawnProcess(process, np.zeros((0, 3)), normal[:, :0]).predict(x)
    mean, of_function = process.predict(x)
    assert means == pytest.approx(np.tile(mean, (4, 1)))
    assert left == pytest.approx(of_function)
