"""The regulators are optimal for the simulator's own linear model, and hold the poles."""

import numpy as np
import pytest

from trainers.tasks.families import mujoco_pendulums
from trainers.tasks.parts.regulators import linearise, lqr_gain
from trainers.tasks.registry import load_task


def test_differences_find_a_linear_system_exactly():
    rng = np.random.default_rng(0)
    drift, push = rng.normal(size=(4, 4)), rng.normal(size=(4, 2))
    found = linearise(lambda x, u: drift @ x + push @ u, rng.normal(size=4), rng.normal(size=2))
    assert found[0] == pytest.approx(drift, abs=1e-6)
    assert found[1] == pytest.approx(push, abs=1e-6)


def test_no_gain_beside_the_regulators_costs_less():
    drift, push = np.array([[1.0, 0.1], [0.2, 1.0]]), np.array([[0.0], [0.1]])

    def cost(gain):
        state, total = np.array([1.0, 0.5]), 0.0
        for _ in range(2000):
            control = -gain @ state
            total += state @ state + 0.1 * control @ control
            state = drift @ state + push @ control
        return total

    best = lqr_gain(drift, push, np.eye(2), 0.1 * np.eye(1))
    assert cost(best) < 100
    for nudge in 0.05 * np.concatenate([np.eye(2), -np.eye(2)]):
        assert cost(best + nudge) > cost(best)


@pytest.mark.parametrize("name", ["inverted-pendulum", "inverted-double-pendulum"])
def test_the_poles_stand_to_the_end(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer)
    assert task.score(task.expert_policy()[1], "train", 4) == pytest.approx(1)
    wide = [task.training_session(i) for i in range(1, 30)]
    assert wide[0].limit == mujoco_pendulums.TRAIN_LIMIT
    for session in wide:
        over = False
        while not over:
            session.observe()
            over = session.act(session.expert())
    stood = np.array([session.value for session in wide]) / (mujoco_pendulums.TRAIN_LIMIT / 100)
    assert stood.mean() > 0.9


@pytest.mark.parametrize("name", ["inverted-pendulum", "inverted-double-pendulum"])
def test_what_the_expert_sees_lies_within_the_limits(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer)
    level = task.level
    for index in range(1, 12):
        session = task.training_session(index)
        over = False
        while not over:
            seen = session.state[list(level.fields or range(len(session.state)))]
            assert (np.abs(seen) <= level.scale.high).all()
            session.observe()
            over = session.act(session.expert())
