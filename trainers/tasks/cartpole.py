"""Keep a pole upright on a cart: four floats in, left or right out; the expert is the sign of an LQR."""

from functools import cache

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from space.catalog import Sense, Split
from trainers.tasks.control import Choices, ControlSession
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
