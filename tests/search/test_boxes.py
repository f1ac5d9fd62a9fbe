"""Expected hypervolume improvement: boxes that cover what a front leaves once, and the integral over them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from search.surrogate.boxes import boxes, expected_volume
from search.surrogate.ehvi import expected_gain

TOP = 5


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 3), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_boxes_cover_each_cell_that_is_not_dominated_once(objectives, count, seed):
    front = np.random.default_rng(seed).integers(-1, TOP, (count, objectives)).astype(float)
    lower, upper = boxes(front, np.zeros(objectives))
    cells = np.stack(np.meshgrid(*[np.arange(TOP)] * objectives), axis=-1).reshape(-1, objectives) + 0.5
    dominated = (front[:, None] > cells).all(axis=2).any(axis=0)
    inside = ((lower[:, None] < cells) & (upper[:, None] > cells)).all(axis=2).sum(axis=0)
    np.testing.assert_array_equal(inside, ~dominated)


def test_expected_volume_is_the_mean_of_gains_that_are_drawn():
    rng = np.random.default_rng(0)
    for objectives in (1, 2, 3):
        front = rng.normal(size=(5, objectives))
        reference = np.full(objectives, -2.0)
        mean, std = rng.normal(size=(4, objectives)), rng.uniform(0.3, 1, (4, objectives))
        draws = rng.normal(size=(20_000, 4, objectives)) * std + mean
        lower, upper = boxes(front, reference)
        gained = [
            np.clip(np.minimum(draws, u) - low, 0, None).prod(axis=2)
            for low, u in zip(lower, upper, strict=True)
        ]
        np.testing.assert_allclose(
            expected_volume(mean, std, front, reference), sum(gained).mean(axis=0), rtol=0.05, atol=0.01
        )


def test_an_objective_without_doubt_is_a_known_cost():
    rng = np.random.default_rng(1)
    scores, log_costs = rng.normal(size=8), rng.normal(size=8)
    mean, std, log_cost = rng.normal(size=30), rng.uniform(0.1, 1, 30), rng.uniform(-2, 2.5, 30)
    known = expected_gain(mean, std, log_cost, (scores, log_costs), -3.0, 3.0)
    both = expected_volume(
        np.column_stack((mean, -log_cost)),
        np.column_stack((std, np.zeros(30))),
        np.column_stack((scores, -log_costs)),
        np.array([-3.0, -3.0]),
    )
    np.testing.assert_allclose(both, known, rtol=1e-4, atol=1e-5)
