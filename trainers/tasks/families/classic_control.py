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

from space.catalog import Sense, Split
from trainers.tasks.control import Choices, ControlSession
from trainers.tasks.parts.gymnasium_control import GymnasiumTask, Level
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence, values
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

LIMIT = 500  # of CartPole-v1
TRAIN_LIMIT = 64
WIDE_START = np.array([1.2, 0.9, 0.12, 0.9])
STATE_SCALE = values.Linear(low=(-2.4, -2.5, -0.21, -2.5), high=(2.4, 2.5, 0.21, 2.5))
STATE_COST = np.diag([1.0, 1.0, 10.0, 1.0])
FORCE_COST = 0.1


class CartPoleSession(ControlSession):
    """One episode; its value is the number of timesteps that the pole stays up."""

    def __init__(self, vocabulary: Vocabulary, seed: int, spread: np.ndarray | None, limit: int) -> None:
        self.actions = Choices(vocabulary, 2)
        super().__init__(vocabulary, self.actions.spec, limit)
        self._env = CartPoleEnv()
        self.state, _ = self._env.reset(seed=seed)
        if spread is not None:
            self._env.state = np.random.default_rng(seed).uniform(-spread, spread)
            self.state = self._env.state

    def look(self) -> Chunk:
        """Cart position, cart velocity, pole angle, pole velocity."""
        bins = values.encode(self.state, self.vocabulary.bins, STATE_SCALE)
        return sequence.observation(self.vocabulary, ids=self.vocabulary.continuous_ids(bins))

    def expert(self) -> np.ndarray:
        """Push to the side that the linear-quadratic regulator pushes to."""
        return self.actions.encode(int(_lqr_gain() @ self.state < 0))

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Left or right."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Push; True when the pole has fallen or the cart has left the track."""
        self.state, _, fallen, _, _ = self._env.step(self.actions.decode(tokens))
        self.value += 1.0
        return bool(fallen)


class CartPole(SessionTask):
    """CartPole-v1 of Gymnasium, at most 500 timesteps."""

    name = "cartpole"
    family = "classic-control"
    domain = "continuous"
    modality: Sense = "continuous"
    metric = "return"
    unit = "timesteps"
    expert_name = "sign of an LQR"
    eval_episodes = 16
    num_train_episodes = 700
    noise = Noise(rate=0.08, longest=3)
    packages = ("gymnasium", "numpy")

    def session(self, split: Split, index: int) -> CartPoleSession:
        """Start as the environment starts."""
        return CartPoleSession(self.vocabulary, self.seed(split, index), None, LIMIT)

    def training_session(self, index: int) -> CartPoleSession:
        """Start anywhere from which the pole can mostly be saved; a fourth starts as evaluation does."""
        spread = None if index % 4 == 0 else WIDE_START
        return CartPoleSession(self.vocabulary, self.seed("train", index), spread, TRAIN_LIMIT)

    def identity(self, split: Split, index: int) -> bytes:
        """The state in which the episode starts."""
        return self.session(split, index).state.tobytes()

    def constants(self) -> list[np.ndarray]:
        """Always left, always right."""
        return Choices(self.vocabulary, 2).constants()


def ended(env: Env, over: bool) -> float:
    """1 when the environment ends, which it does at the top only."""
    return float(over)


def drive(state: np.ndarray) -> int:
    """Which way to drive for the top (MountainCar): right between two parabolas of speed over place.

    The rule of Xiao 2019, "Reinforcement learning: theory and Python implementation".
    """
    place, speed = state
    low = min(-0.09 * (place + 0.25) ** 2 + 0.03, 0.3 * (place + 0.9) ** 4 - 0.008)
    return 2 if low <= speed <= -0.07 * (place + 0.38) ** 2 + 0.07 else 0


def throttle(state: np.ndarray) -> np.ndarray:
    """Push the way that the car rolls, and no harder than it takes."""
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
    Level(
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
    Level(
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
    Level(
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
    Level(
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
TASKS = {"cartpole": CartPole} | {level.name: partial(GymnasiumTask, level) for level in LEVELS}


@cache
def _lqr_gain() -> np.ndarray:
    """Gain (4,) of the discrete LQR of the linearised cart and pole; the force is -gain @ state."""
    env = CartPoleEnv()
    pole = env.length * (4 / 3 - env.masspole / env.total_mass)
    drift = np.zeros((4, 4))
    drift[0, 1] = drift[2, 3] = 1
    drift[3, 2] = env.gravity / pole
    drift[1, 2] = -env.polemass_length / env.total_mass * drift[3, 2]
    push = np.array([0, 1 / env.total_mass, 0, -1 / (pole * env.total_mass)])
    push[1] -= env.polemass_length / env.total_mass * push[3]
    a, b = np.eye(4) + env.tau * drift, env.tau * push[:, None]
    cost, gain = STATE_COST, np.zeros((1, 4))
    for _ in range(2000):
        gain = np.linalg.solve(FORCE_COST + b.T @ cost @ b, b.T @ cost @ a)
        cost = STATE_COST + a.T @ cost @ (a - b @ gain)
    return gain[0]
