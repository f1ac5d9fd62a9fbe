"""Keep one or two poles upright on a cart in MuJoCo: floats in, a push out; the experts are LQRs.

The linear model is taken from the simulator itself, by differences about the upright state.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from trainers.tasks.parts.gymnasium_control import ControlLevel, GymnasiumTask
from trainers.tasks.parts.regulators import linearise, lqr_gain
from trainers.tasks.sessions import Noise
from trainers.tokens import values

LIMIT = 100  # actions: four and five seconds
TRAIN_LIMIT = 40


def single() -> Any:
    """InvertedPendulum-v5."""
    from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv

    return InvertedPendulumEnv()


def double() -> Any:
    """InvertedDoublePendulum-v5."""
    from gymnasium.envs.mujoco.inverted_double_pendulum_v5 import InvertedDoublePendulumEnv

    return InvertedDoublePendulumEnv()


def push_single(state: np.ndarray) -> np.ndarray:
    """The regulator's push; the state is place, angle, speeds."""
    return np.clip(-gain(single, (1.0, 10.0, 0.1, 0.1), 0.1) @ state, -3, 3)


def push_double(state: np.ndarray) -> np.ndarray:
    """The regulator's push; the state is place, sines, cosines, speeds, a force."""
    angles = np.arctan2(state[1:3], state[3:5])
    known = np.concatenate([state[:1], angles, state[5:8]])
    return np.clip(-gain(double, (1.0, 10.0, 10.0, 0.1, 0.1, 0.1), 0.1) @ known, -1, 1)


@cache
def gain(make: Callable[[], Any], state_cost: tuple[float, ...], control_cost: float) -> np.ndarray:
    """The regulator's gain about the upright state at rest, (1, state)."""
    env = make()
    upright = np.zeros(env.model.nq + env.model.nv)

    def step(state: np.ndarray, controls: np.ndarray) -> np.ndarray:
        env.set_state(*np.split(state, [env.model.nq]))
        env.do_simulation(controls, env.frame_skip)
        return np.concatenate([env.data.qpos, env.data.qvel])

    drift, push = linearise(step, upright, np.zeros(1))
    return lqr_gain(drift, push, np.diag(state_cost), np.diag([control_cost]))


def stands(env: Any, over: bool) -> float:
    """The share of one step in the episode; 0 if the poles fell."""
    return float(not over) / LIMIT


def disturb(spread: tuple[float, ...], env: Any, rng: np.random.Generator) -> np.ndarray:
    """Start within a spread of places and speeds, (state,)."""
    env.set_state(*np.split(rng.uniform(-1, 1, len(spread)) * spread, [env.model.nq]))
    return env._get_obs()


LEVELS = (
    ControlLevel(
        name="inverted-pendulum",
        family="mujoco",
        make=single,
        scale=values.Linear((-1, -0.2, -3, -3), (1, 0.2, 3, 3)),
        choices=None,
        limit=LIMIT,
        repeat=1,
        expert=push_single,
        gain=stands,
        expert_name="LQR",
        metric="upright",
        unit="share of time",
        episodes=600,
        noise=Noise(rate=0.05, longest=1),
        train_limit=TRAIN_LIMIT,
        disturb=partial(disturb, (0.5, 0.08, 0.5, 0.5)),
        packages=("gymnasium", "mujoco", "numpy", "scipy"),
    ),
    ControlLevel(
        name="inverted-double-pendulum",
        family="mujoco",
        make=double,
        scale=values.Linear((-1, -0.6, -0.6, -3, -6, -6), (1, 0.6, 0.6, 3, 6, 6)),
        fields=(0, 1, 2, 5, 6, 7),
        choices=None,
        limit=LIMIT,
        repeat=1,
        expert=push_double,
        gain=stands,
        expert_name="LQR",
        metric="upright",
        unit="share of time",
        episodes=500,
        noise=Noise(rate=0.04, longest=1),
        train_limit=TRAIN_LIMIT,
        disturb=partial(disturb, (0.4, 0.12, 0.12, 0.2, 0.3, 0.3)),
        packages=("gymnasium", "mujoco", "numpy", "scipy"),
    ),
)
TASKS = {level.name: partial(GymnasiumTask, level) for level in LEVELS}
