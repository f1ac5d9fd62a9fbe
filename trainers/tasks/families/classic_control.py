"""Gymnasium's classic control: a pole on a cart, a car in a valley, pendulums; floats in, one action out.

The pole's expert is the sign of an LQR, the others' are short rules.
"""

from functools import cache, partial

import numpy as np
from gymnasium import Env
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from trainers.tasks.parts.gymnasium_control import ControlLevel, GymnasiumTask
from trainers.tasks.parts.regulators import linearise, lqr_gain
from trainers.tasks.sessions import Noise
from trainers.tokens import values

LIMIT = 500  # of CartPole-v1
TRAIN_LIMIT = 64
WIDE_START = (1.2, 0.9, 0.12, 0.9)
STATE_COST, FORCE_COST = (1.0, 1.0, 10.0, 1.0), 0.1


def lasted(env: CartPoleEnv, over: bool) -> float:
    """1 for each step, including the last one."""
    return 1.0


def balance(state: np.ndarray) -> int:
    """Push to the side that the linear-quadratic regulator pushes to."""
    return int(_gain() @ state < 0)


def disturb(env: CartPoleEnv, rng: np.random.Generator) -> np.ndarray:
    """Start in a state from which the pole can mostly be saved, (4,)."""
    spread = np.array(WIDE_START)
    env.state = rng.uniform(-spread, spread)
    return env.state


@cache
def _gain() -> np.ndarray:
    """The regulator's gain about the upright state at rest, (4,)."""
    env = CartPoleEnv()

    def step(state: np.ndarray, force: np.ndarray) -> np.ndarray:
        env.state, env.force_mag = state, float(force[0])
        env.step(1)
        return np.array(env.state)

    drift, push = linearise(step, np.zeros(4), np.zeros(1))
    return lqr_gain(drift, push, np.diag(STATE_COST), np.diag([FORCE_COST]))[0]


def ended(env: Env, over: bool) -> float:
    """1 when the environment ends, which happens only at the top."""
    return float(over)


def drive(state: np.ndarray) -> int:
    """Which way to drive for the top (MountainCar): right between two parabolas of speed over place.

    The rule of Xiao 2019, "Reinforcement learning: theory and Python implementation".
    """
    place, speed = state
    low = min(-0.09 * (place + 0.25) ** 2 + 0.03, 0.3 * (place + 0.9) ** 4 - 0.008)
    return 2 if low <= speed <= -0.07 * (place + 0.38) ** 2 + 0.07 else 0


def throttle(state: np.ndarray) -> np.ndarray:
    """Push in the direction of motion, no harder than necessary."""
    return np.array([0.6 if state[1] >= 0 else -0.6])


def pump(state: np.ndarray) -> int:
    """Turn the acrobot's elbow against the shoulder's swing."""
    return 0 if state[4] > 0 else 2


def swing_up(state: np.ndarray) -> np.ndarray:
    """Pump energy into the pendulum until it is near the top; hold it there."""
    cosine, sine, speed = state
    if cosine > 0.9:
        return np.clip([-12 * np.arctan2(sine, cosine) - 3 * speed], -2, 2)
    missing = 5 * (1 - cosine) - speed**2 / 6  # energy in joules: of a rod of 1 kg and 1 m, g = 10
    return np.clip([5 * missing * (speed if abs(speed) > 1e-3 else 1e-3)], -2, 2)


def upright(env: PendulumEnv, over: bool) -> float:
    """A step's share of the episode, where the pendulum is within 18 degrees of the top."""
    assert env.state is not None
    return float(np.cos(env.state[0]) > UPRIGHT_COSINE) / (PENDULUM_LIMIT * PENDULUM_REPEAT)


UPRIGHT_COSINE = 0.95
PENDULUM_LIMIT, PENDULUM_REPEAT = 50, 4  # together the 200 steps of Pendulum-v1
FAMILY = "classic-control"
LEVELS = (
    ControlLevel(
        name="cartpole",
        family=FAMILY,
        make=CartPoleEnv,
        scale=values.Linear((-2.4, -2.5, -0.21, -2.5), (2.4, 2.5, 0.21, 2.5)),
        choices=2,
        limit=LIMIT,
        repeat=1,
        expert=balance,
        gain=lasted,
        expert_name="sign of an LQR",
        metric="return",
        unit="timesteps",
        episodes=700,
        eval_episodes=16,
        noise=Noise(rate=0.08, longest=3),
        train_limit=TRAIN_LIMIT,
        disturb=disturb,
        packages=("gymnasium", "numpy", "scipy"),
    ),
    ControlLevel(
        name="mountain-car",
        family=FAMILY,
        make=MountainCarEnv,
        scale=values.Linear((-1.2, -0.07), (0.6, 0.07)),
        choices=3,
        limit=50,
        repeat=4,
        expert=drive,
        gain=ended,
        expert_name="two parabolas",
        episodes=1000,
        noise=Noise(rate=0.08, longest=3),
    ),
    ControlLevel(
        name="mountain-car-continuous",
        family=FAMILY,
        make=Continuous_MountainCarEnv,
        scale=values.Linear((-1.2, -0.07), (0.6, 0.07)),
        choices=None,
        limit=50,
        repeat=5,
        expert=throttle,
        gain=ended,
        expert_name="push the way it rolls",
        episodes=1000,
        noise=Noise(rate=0.08, longest=3),
    ),
    ControlLevel(
        name="acrobot",
        family=FAMILY,
        make=AcrobotEnv,
        scale=values.Linear((-1, -1, -1, -1, -8, -16), (1, 1, 1, 1, 8, 16)),
        choices=3,
        limit=100,
        repeat=2,
        expert=pump,
        gain=ended,
        expert_name="turn against the swing",
        episodes=400,
        noise=Noise(rate=0.08, longest=3),
    ),
    ControlLevel(
        name="pendulum",
        family=FAMILY,
        make=PendulumEnv,
        scale=values.Linear((-1, -1, -8), (1, 1, 8)),
        choices=None,
        limit=PENDULUM_LIMIT,
        repeat=PENDULUM_REPEAT,
        expert=swing_up,
        gain=upright,
        expert_name="energy pump and PD",
        metric="upright",
        unit="share of time",
        episodes=600,
        noise=Noise(rate=0.05, longest=3),
    ),
)
TASKS = {level.name: partial(GymnasiumTask, level) for level in LEVELS}
