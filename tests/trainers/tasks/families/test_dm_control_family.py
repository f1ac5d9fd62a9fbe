"""The suite is stepped as its authors step it, sessions share a simulator and nothing else."""

import os
import subprocess
import sys

import numpy as np
import pytest

from trainers.tasks.families.dm_control import experts as dm_experts
from trainers.tasks.families.dm_control import tasks as dm_control
from trainers.tasks.registry import load_task

LEVELS = {level.name: level for level in dm_control.LEVELS}


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_a_stage_steps_as_the_suite_does(name):
    level = LEVELS[name]
    stage = dm_control.Stage(level.domain, level.task)
    situation = stage.begin(3)
    twin = dm_control._suite().load(level.domain, level.task, task_kwargs={"random": 3})
    start = twin.reset()
    assert stage.look(situation) == pytest.approx(dm_control.sequence.flatten(start.observation))
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1, 1, stage.num_controls)
        situation, reward = stage.move(situation, action, level.repeat)
        wanted = [twin.step(action) for _ in range(level.repeat)][-1]
        seen = dm_control.sequence.flatten(wanted.observation)
        assert stage.look(situation) == pytest.approx(seen, abs=1e-6)
        assert reward == pytest.approx(wanted.reward, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("dm-cartpole-balance-sparse", 0.95),
        ("dm-cartpole-swingup", 0.65),
        ("dm-pendulum-swingup", 0.4),
        ("dm-point-mass-easy", 0.65),
        ("dm-reacher-easy", 0.85),
        ("dm-reacher-hard", 0.8),
    ],
)
def test_each_expert_does_its_work(name, least, quick, tokenizer):
    task = load_task(name, quick, tokenizer)
    assert task.score(task.expert_policy()[1], "train", 10).mean() > least


def test_demonstrations_start_wide_and_slip_near_the_expert(quick, tokenizer):
    task = load_task("dm-cartpole-balance-sparse", quick, tokenizer)
    place, _, sine, *_ = np.abs([task.training_session(i).state for i in range(40)]).T
    shy = np.arange(40) % 4 == 0  # those start as evaluation does
    assert place[shy].max() < 0.11
    assert np.median(place[~shy]) > 0.2
    assert np.median(sine[~shy]) > 0.05
    session, rng = task.session("train", 0), np.random.default_rng(0)
    slips = [session.actions.decode(task.slip(session, rng)) for _ in range(200)]
    assert np.mean(slips) == pytest.approx(session.actions.decode(session.expert())[0], abs=0.1)
    assert np.std(slips) == pytest.approx(task.level.nudge, rel=0.2)


@pytest.mark.parametrize("name", ["dm-reacher-hard", "dm-cartpole-swingup"])
def test_sessions_do_not_disturb_each_other(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer)
    states = []
    for count in (1, 3):
        sessions = [task.session("select", i) for i in range(count)]
        for _ in range(5):
            for session in sessions:
                session.observe()
                session.act(session.expert())
        states.append(sessions[0].state)
    assert np.array_equal(*states)


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


def finger(angles):
    aims = np.array([angles[0], angles.sum()])
    return dm_experts.LENGTH * np.array([np.cos(aims).sum(), np.sin(aims).sum()])


def test_the_arm_goes_to_where_the_target_is():
    reach = dm_experts.reach(None, 1)
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles, goal = rng.uniform((-3, -2.5), (3, 2.5)), rng.uniform((-3, 0.3), (3, 2.5))
        for _ in range(400):  # an arm without mass, whose speeds are the action
            way = finger(goal) - finger(angles)
            angles = angles + 0.1 * reach(np.concatenate([angles, way, np.zeros(2)]))
        assert np.abs(finger(goal) - finger(angles)).max() < 0.01


def test_the_suite_loads_without_a_renderer():
    code = (
        "from trainers.tasks.families.dm_control import tasks; tasks._suite();"
        "import os, sys; from dm_control import _render;"
        "sys.exit(_render.BACKEND != 'off' or 'MUJOCO_GL' in os.environ)"
    )
    bare = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60, env=bare)
