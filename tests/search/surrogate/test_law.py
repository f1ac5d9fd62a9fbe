"""The laws of a study's tasks: recovery, calibration, sharing between tasks, order, gaps and outliers."""

from dataclasses import replace

import numpy as np
import pytest

from search.surrogate.law import FEW, STEPS, Fit, Prior, Rows, fit, fraction

PRIOR = Prior(  # intercept, size, learning rate squared, tokens
    mean=np.array([-0.2, -0.08, 0.12, -0.35]),
    std=np.array([1.0, 0.12, 0.12, 0.3]),
    spread=np.array([0.8, 0.05, 0.05, 0.25]),
    pooled=np.arange(4),
)


def columns(rng, rows):
    """(rows, columns) of candidates drawn at random."""
    size, rate, tokens = rng.normal(0, 1, rows), rng.normal(0, 1, rows), rng.uniform(-1, 1, rows)
    return np.column_stack((np.ones(rows), size, rate**2, tokens))


def laws(rng, tasks):
    """Coefficients (tasks, columns) and floors (tasks,) drawn from the prior."""
    of_all = rng.normal(PRIOR.mean, PRIOR.std)
    return rng.normal(of_all, PRIOR.spread, (tasks, 4)), np.clip(rng.normal(0.05, 0.08, tasks), -0.2, 0.4)


def true_fractions(x, beta, floor):
    return fraction(np.einsum("rc,tc->tr", x, beta), floor[:, None])


def study(seed=0, tasks=6, rows=40, noise=0.03):
    """A simulated study: its rows, coefficients and floors."""
    rng = np.random.default_rng(seed)
    x, (beta, floor) = columns(rng, rows), laws(rng, tasks)
    y = true_fractions(x, beta, floor) + noise * rng.standard_normal((tasks, rows))
    return Rows(np.broadcast_to(x, (tasks, rows, 4)), y, np.full((tasks, rows), noise)), beta, floor


def everywhere(law, seed=99, rows=60):
    """Fractions of a law at new points, with the points."""
    x = columns(np.random.default_rng(seed), rows)
    return law.fractions(np.broadcast_to(x, (len(law.floor), rows, 4))), x


def test_it_recovers_the_coefficients_of_a_simulated_study():
    rows, beta, floor = study(rows=300, noise=0.005)
    law = fit(rows, PRIOR)
    found, x = everywhere(law)
    assert found == pytest.approx(true_fractions(x, beta, floor), abs=0.02)
    deviations = law.draws[:, :, :-1].std(axis=0)
    z = (law.beta - beta) / deviations
    assert np.abs(z).max() < 4
    assert np.mean(np.abs(z) < 2) > 0.8
    assert law.beta[:, 0] == pytest.approx(beta[:, 0], abs=0.15)
    assert law.beta[:, 3] == pytest.approx(beta[:, 3], abs=0.1)


def test_nine_of_ten_true_fractions_lie_in_the_draws_90_percent_interval():
    inside = []
    for seed in range(40):
        rows, beta, floor = study(seed, tasks=5, rows=25)
        x = columns(np.random.default_rng(1000 + seed), 20)
        draws = fit(rows, PRIOR).drawn_fractions(np.broadcast_to(x, (5, 20, 4)))
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        truth = true_fractions(x, beta, floor)
        inside.append(np.mean((low <= truth) & (truth <= high)))
    assert 0.8 < np.mean(inside) < 0.96


def test_misfit_beyond_the_standard_error_is_learnt():
    rows, *_ = study(rows=150, noise=0.1)
    told = fit(rows, PRIOR).misfit
    untold = fit(replace(rows, stderr=np.full(rows.y.shape, 0.01)), PRIOR).misfit
    assert (told < 0.06).all()
    assert untold == pytest.approx(0.1, abs=0.03)


def test_a_task_without_data_is_pulled_to_the_others():
    rng = np.random.default_rng(3)
    x = columns(rng, 60)
    beta = np.array([-1.0, -0.2, 0.2, -0.6]) + rng.normal(0, 0.03, (6, 4))  # far from the prior's mean
    y = true_fractions(x, beta, np.full(6, 0.05))
    y[5] = np.nan
    law = fit(Rows(np.broadcast_to(x, (6, 60, 4)), y, np.full(y.shape, 0.01)), PRIOR)
    of_others = law.beta[:5].mean(axis=0)
    assert np.abs(law.beta[5] - of_others) == pytest.approx(0, abs=0.15)
    assert abs(law.beta[5, 3] - of_others[3]) < 0.3 * abs(PRIOR.mean[3] - of_others[3])
    spread = law.drawn_fractions(np.broadcast_to(x, (6, 60, 4))).std(axis=0).mean(axis=1)
    assert spread[5] > 2 * spread[:5].max()


def test_a_task_with_few_rows_is_shrunk_and_one_with_many_is_not():
    rows, *_ = study(seed=5, tasks=8, rows=60)
    few = rows.y.copy()
    few[0, 4:] = np.nan
    wide, narrow = fit(rows, PRIOR), fit(replace(rows, y=few), PRIOR)
    of_others = narrow.beta[1:].mean(axis=0)
    assert abs(narrow.beta[0, 3] - of_others[3]) < abs(wide.beta[0, 3] - of_others[3])
    assert wide.beta[1:] == pytest.approx(narrow.beta[1:], abs=0.1)


def test_the_mode_does_not_depend_on_the_order_of_rows_or_tasks():
    rows, *_ = study()
    law, rng = fit(rows, PRIOR), np.random.default_rng(1)
    by_row = fit(rows.take(rng.permutation(40)), PRIOR)
    assert by_row.beta == pytest.approx(law.beta, abs=1e-8)
    tasks = rng.permutation(6)
    by_task = fit(Rows(rows.x[tasks], rows.y[tasks], rows.stderr[tasks]), PRIOR)
    assert by_task.beta == pytest.approx(law.beta[tasks], abs=1e-8)
    assert by_task.misfit == pytest.approx(law.misfit[tasks], abs=1e-8)


def test_rows_without_a_score_are_ignored():
    rows, *_ = study()
    x = np.concatenate((rows.x, 20 * np.ones((6, 3, 4))), axis=1)
    y = np.concatenate((rows.y, np.full((6, 3), np.nan)), axis=1)
    more = Rows(x, y, np.concatenate((rows.stderr, np.zeros((6, 3))), axis=1))
    first, second = fit(rows, PRIOR), fit(more, PRIOR)
    assert second.beta == pytest.approx(first.beta, abs=1e-8)
    assert second.draws == pytest.approx(first.draws, abs=1e-8)


def test_an_outlier_moves_the_law_by_little():
    rows, beta, floor = study(rows=60, noise=0.02)
    wrong = rows.y.copy()
    wrong[:, 7] = -2.0
    clean, hit = (everywhere(fit(replace(rows, y=y), PRIOR)) for y in (rows.y, wrong))
    truth = true_fractions(clean[1], beta, floor)
    errors = [np.abs(found - truth).mean() for found, _ in (clean, hit)]
    assert errors[1] < errors[0] + 0.02


def test_the_slope_equals_finite_differences():
    law = fit(study()[0], PRIOR)
    x = np.broadcast_to(columns(np.random.default_rng(2), 30), (6, 30, 4))
    step, up, down = 1e-5, x.copy(), x.copy()
    up[:, :, 1] += step
    down[:, :, 1] -= step
    change = (law.fractions(up) - law.fractions(down)) / (2 * step)
    assert law.slope(x) * law.beta[:, 1:2] == pytest.approx(change, abs=1e-6)


def test_the_mode_and_the_draws_agree():
    law = fit(study(rows=200, noise=0.01)[0], PRIOR)
    found, x = everywhere(law)
    drawn = law.drawn_fractions(np.broadcast_to(x, (6, 60, 4)))
    assert drawn.shape == (len(law.draws), 6, 60)
    assert drawn.mean(axis=0) == pytest.approx(found, abs=0.02)


def test_a_fit_from_an_earlier_one_reaches_the_same_law():
    rows, *_ = study(rows=60)
    law = fit(rows, PRIOR)
    again = fit(rows.take(np.arange(50)), PRIOR, law)
    fresh = fit(rows.take(np.arange(50)), PRIOR)
    assert (again.spread == law.spread).all()
    assert everywhere(again)[0] == pytest.approx(everywhere(fresh)[0], abs=0.02)


def test_24_tasks_and_one_task_are_fitted():
    for tasks in (1, 24):
        rows, beta, floor = study(seed=7, tasks=tasks, rows=120, noise=0.02)
        law = fit(rows, PRIOR)
        found, x = everywhere(law)
        assert np.abs(found - true_fractions(x, beta, floor)).mean() < 0.02


@pytest.mark.parametrize("value", [-3.0, 0.0, 1.0, 1.5, 50.0])
def test_scores_beyond_the_laws_range_give_finite_laws(value):
    rows, *_ = study(tasks=3, rows=20)
    law = fit(replace(rows, y=np.full(rows.y.shape, value)), PRIOR)
    assert all(np.isfinite(part).all() for part in (law.beta, law.floor, law.misfit, law.draws))
    assert everywhere(law)[0].mean() == pytest.approx(np.clip(value, -0.1, 1), abs=0.3)


def test_no_row_at_all_gives_the_prior():
    rows, *_ = study(tasks=3, rows=5)
    law = fit(replace(rows, y=np.full(rows.y.shape, np.nan)), PRIOR)
    assert law.beta == pytest.approx(np.tile(PRIOR.mean, (3, 1)), abs=1e-6)


def test_the_law_is_a_power_law_for_small_regrets_and_saturates_for_large_ones():
    eta = np.array([-5.0, -4.0])
    assert 1 - fraction(eta, np.zeros(2)) == pytest.approx(1.1 * np.exp(eta), rel=0.02)
    assert fraction(np.array([3.0, 9.0]), np.full(2, 0.05)) == pytest.approx(-0.1, abs=1e-6)
    assert (np.diff(fraction(np.linspace(-7, 2, 50), np.array(0.1))) < 0).all()


def test_a_fraction_of_numbers_is_that_of_arrays():
    etas, floors = np.linspace(-9, 4, 7), np.array([[0.0], [0.1]])
    table = fraction(etas, floors)
    assert table.shape == (2, 7)
    alone = [[float(fraction(eta, float(floor))) for eta in etas] for floor in floors[:, 0]]
    assert table == pytest.approx(np.array(alone), abs=1e-12)
    assert fraction(etas[3], floors[:, 0]) == pytest.approx(table[:, 3], abs=1e-12)
    assert etas[0] == -9  # what is given stays as it is


@pytest.mark.parametrize("by_rung", [False, True])
def test_first_steps_on_few_rows_end_at_the_law_of_all_rows(by_rung):
    rows, *_ = study(rows=3 * FEW + 7)
    if by_rung:  # as a study's rows come: those of the first rung first
        order = np.argsort(rows.x[0, :, 3], kind="stable")
        rows = rows.take(order)
    found, all_rows = fit(rows, PRIOR), Fit(rows, PRIOR).run(STEPS)
    law = all_rows.law(found.draws)
    assert everywhere(found)[0] == pytest.approx(everywhere(law)[0], abs=2e-3)
    assert found.misfit == pytest.approx(law.misfit, rel=0.1, abs=2e-3)
    assert found.spread == pytest.approx(law.spread, rel=0.1)


def test_a_task_without_a_score_among_the_first_rows_is_fitted_too():
    rows, beta, floor = study(rows=3 * FEW)
    y = rows.y.copy()
    y[2, ::3] = np.nan  # all that the first steps see
    found, x = everywhere(fit(replace(rows, y=y), PRIOR))
    assert np.abs(found - true_fractions(x, beta, floor))[2].mean() < 0.02
