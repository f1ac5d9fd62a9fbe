"""The short rules reach what they should, and what they are shown lies within the limits."""

import numpy as np
import pytest

from trainers.tasks.families import classic_control
from trainers.tasks.registry import load_task

LEVELS = {level.name: level for level in classic_control.LEVELS}


@pytest.mark.parametrize(
    ("name", "least"),
    [("mountain-car", 1.0), ("mountain-car-continuous", 1.0), ("acrobot", 0.95), ("pendulum", 0.75)],
)
def test_each_rule_does_its_work(name, least, quick, tokenizer):
    task = load_task(name, quick, tokenizer)
    assert task.score(task.expert_policy()[1], "train", 20).mean() >= least


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_what_the_expert_sees_lies_within_the_limits(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer)
    scale, outside = LEVELS[name].scale, []
    for index in range(5):
        session = task.session("train", index)
        over = False
        while not over:
            outside.append((session.state < scale.low) | (session.state > scale.high))
            session.observe()
            over = session.act(session.expert())
    assert np.mean(outside) < 0.01


def test_a_float_action_is_in_the_environments_units(quick, tokenizer):
    session = load_task("pendulum", quick, tokenizer).session("select", 0)
    ends = [session.actions.decode(ids)[0] for ids in load_task("pendulum", quick, tokenizer).constants()]
    assert ends == pytest.approx([0, 2, -2], abs=0.02)
    drawn = [session.actions.decode(session.random(np.random.default_rng(i)))[0] for i in range(50)]
    assert max(drawn) > 1.5
    assert min(drawn) < -1.5


def test_an_action_lasts_several_steps_of_the_environment(quick, tokenizer):
    session = load_task("mountain-car", quick, tokenizer).session("select", 0)
    twin = load_task("mountain-car", quick, tokenizer).session("select", 0)
    session.observe()
    session.act(session.actions.encode(2))
    for _ in range(LEVELS["mountain-car"].repeat):
        twin.state = twin.env.step(2)[0]
    assert np.array_equal(session.state, twin.state)


def test_the_pendulum_is_upright_for_as_long_as_its_value_says(quick, tokenizer):
    session = load_task("pendulum", quick, tokenizer).session("select", 0)
    session.env.state = np.zeros(2)
    session.state = np.array([1.0, 0.0, 0.0])
    over = False
    while not over:
        session.observe()
        over = session.act(session.expert())
    assert session.value == pytest.approx(1)
