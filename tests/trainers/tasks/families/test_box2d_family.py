"""The lander is the environment's, and so is its expert; landing means to come to rest."""

import subprocess
import sys

import numpy as np
import pytest

from trainers.tasks.families import box2d
from trainers.tasks.registry import load_task


@pytest.mark.parametrize(("name", "least"), [("lunar-lander", 0.8), ("lunar-lander-continuous", 0.9)])
def test_the_heuristic_lands(name, least, quick, tokenizer):
    task = load_task(name, quick, tokenizer)
    assert task.score(task.expert_policy()[1], "train", 20).mean() >= least


@pytest.mark.parametrize("continuous", [False, True])
def test_the_heuristic_needs_no_environment_but_its_form(continuous):
    rng = np.random.default_rng(0)
    env = box2d.lander(continuous)
    for _ in range(50):
        state = rng.uniform(-1, 1, 8)
        wanted = box2d._module().heuristic(env, state)
        assert np.array_equal(box2d.steer(continuous, state), wanted)


def test_landed_is_neither_crashed_nor_out_of_sight(quick, tokenizer):
    level = box2d.LEVELS[0]
    for always, seed in ((0, 0), (2, 1)):
        env = level.make()
        env.reset(seed=seed)
        over, gained = False, 0.0
        while not over:
            over = env.step(always)[2]
            gained += level.gain(env, over)
        assert gained == 0


def test_box2d_loads_where_warnings_are_errors():
    code = "from trainers.tasks.families import box2d; box2d.lander(True).reset(seed=0)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
