"""The scaling law: fits of several groups, its marginal likelihood, and draws of its uncertain scales."""

from dataclasses import replace

import numpy as np
import pytest

from search.surrogate.draws import draw
from search.surrogate.law import FLOOR, LEAST_NOISE, Fit, Law, Prior, Rows, fit, fraction

LEVEL, POWER, MISFIT = 0.3, 0.1, 0.02
PRIOR = Prior(
    mean=np.array([-0.5, 0.4]),
    std=np.array([1.0, 0.3]),
    spread=np.array([LEVEL, POWER]),
    pooled=np.array([0, 1]),
    misfit=MISFIT,
)


def made(seed: int, groups: int, rows: int = 3, level: float = LEVEL) -> tuple[Rows, np.ndarray]:
    """Scores of groups with known coefficients (groups, 2), of which one group lacks its last score."""
    rng = np.random.default_rng(seed)
    beta = np.array([-0.5, 0.4]) + rng.standard_normal((groups, 2)) * [level, POWER]
    fewer = np.broadcast_to(np.log(2.0) * (1 - np.arange(rows)), (groups, rows))
    x = np.stack((np.ones((groups, rows)), fewer), axis=2)
    y = fraction(np.einsum("grc,gc->gr", x, beta), np.full((groups, 1), FLOOR))
    y = y + np.hypot(MISFIT, LEAST_NOISE) * rng.standard_normal((groups, rows))
    y[0, -1] = np.nan
    return Rows(x, y, np.full((groups, rows), LEAST_NOISE)), beta


def test_several_fits_at_once_are_the_fits_one_by_one():
    rows, _ = made(0, groups=5)
    single = fit(rows, PRIOR)
    spreads, misfits, floors = np.array([[0.1, 0.2], [0.5, 0.05]]), np.array([0.01, 0.05]), [0.02, 0.1]
    several = Law(
        beta=np.stack([single.beta] * 2),
        floor=np.stack([single.floor] * 2),
        spread=spreads,
        misfit=np.tile(misfits[:, None], 5),
        draws=single.draws,
    )
    both = Fit(rows, replace(PRIOR, floor=np.array(floors)), several).run(3)
    for n in range(2):
        start = replace(single, spread=spreads[n], misfit=np.full(5, misfits[n]))
        alone = Fit(rows, replace(PRIOR, floor=floors[n]), start).run(3)
        np.testing.assert_allclose(both.theta[n], alone.theta, rtol=1e-5)
        np.testing.assert_allclose(both.evidence()[n], alone.evidence(), rtol=1e-5)
        np.testing.assert_allclose(both.covariance_of_all[n], alone.covariance_of_all, rtol=1e-4, atol=1e-9)


def test_the_marginal_likelihood_is_the_integral_over_the_coefficients():
    """One group, one column: the level is integrated on a grid, at two misfits."""
    prior = Prior(np.array([-0.5]), np.array([0.4]), np.array([0.3]), np.array([-1]), floor_spread=1e-4)
    y = np.array([[0.45, 0.5, 0.43]])
    rows, found, exact = Rows(np.ones((1, 3, 1)), y, np.full((1, 3), 0.02)), [], []
    for misfit in (0.02, 0.06):
        start = replace(fit(rows, prior), misfit=np.array([misfit]))
        found.append(Fit(rows, prior, start).run(6).evidence())
        level, variance = np.linspace(-3, 2, 20_001), 0.02**2 + misfit**2
        error = y[0][:, None] - fraction(level, np.array(FLOOR))
        log = -(error**2 / variance + np.log(variance)).sum(axis=0) / 2
        log = log - (level + 0.5) ** 2 / (0.4**2 + 0.3**2) / 2
        exact.append(np.log(np.exp(log).sum()))
    assert found[1] - found[0] == pytest.approx(exact[1] - exact[0], abs=0.02)
    assert abs(exact[1] - exact[0]) > 0.2


@pytest.mark.slow
def test_draws_hold_the_truth_nine_times_of_ten_and_learn_the_spread():
    within, total, levels = 0, 0, {0.1: [], 0.6: []}
    for seed in range(20):
        for level, medians in levels.items():
            rows, beta = made(seed, groups=12, level=level)
            drawn = draw(rows, PRIOR, 500, np.random.default_rng(seed))
            low, high = np.quantile(drawn.each, (0.05, 0.95), axis=0)
            within += ((low <= beta) & (beta <= high)).sum()
            total += beta.size
            medians.append(np.median(drawn.spread[:, 0]))
    assert 0.85 <= within / total <= 0.97
    assert np.median(levels[0.1]) < 0.2 < 0.45 < np.median(levels[0.6])


def test_draws_of_the_law_share_one_floor_and_no_scale_is_fixed():
    rows, _ = made(3, groups=8)
    drawn = draw(rows, PRIOR, 300, np.random.default_rng(0))
    shapes = {name: getattr(drawn, name).shape for name in ("common", "each", "spread", "misfit", "floor")}
    assert shapes == {
        "common": (300, 2),
        "each": (300, 8, 2),
        "spread": (300, 2),
        "misfit": (300,),
        "floor": (300,),
    }
    assert (drawn.floor > 0).all()
    for scale in (drawn.spread[:, 0], drawn.spread[:, 1], drawn.misfit, drawn.floor):
        assert len(np.unique(scale)) > 5
