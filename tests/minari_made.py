"""Small data sets of Minari, written by Minari itself from episodes that are played here.

Minari's `DataCollector` needs jax; what it writes goes through the same storage as these buffers.
"""

import warnings
from collections.abc import Callable
from copy import deepcopy
from itertools import cycle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import AddRenderObservation, DiscretizeAction

CARTPOLE = "CartPole-v1"


def balance(seen: np.ndarray, rng: np.random.Generator) -> int:
    """A pole stays up."""
    return int(seen @ (0.1, 0.5, 5, 1) > 0)


def swing(seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pendulum swings up and is held."""
    cosine, sine, speed = seen
    angle = np.arctan2(sine, cosine)
    torque = -(10 * angle + 2 * speed) if abs(angle) < 0.6 else np.sign(speed or 1) * 2
    return np.clip([torque], -2, 2).astype(np.float32)


def along(way: tuple[int, ...]) -> Callable:
    """Take these actions in turn, again and again."""
    turn = cycle(way)
    return lambda seen, rng: next(turn)


def stack(observations: list, space: gymnasium.Space) -> Any:
    """Observations as Minari keeps them."""
    if isinstance(space, spaces.Dict):
        return {key: stack([one[key] for one in observations], part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
        return tuple(stack([one[i] for one in observations], part) for i, part in parts)
    return observations if isinstance(space, spaces.Text) else np.array(observations, dtype=space.dtype)


def record(env: gymnasium.Env, policy: Callable, episodes: int, steps: int, space=None) -> list:
    """Play episodes."""
    from minari.data_collector import EpisodeBuffer

    found, rng = [], np.random.default_rng(0)
    for seed in range(episodes):
        seen = [env.reset(seed=1000 + seed)[0]]
        actions, rewards, ends = [], [], []
        while len(actions) < steps and not any(ends[-1:]):
            actions.append(policy(seen[-1], rng))
            observation, reward, over, _, _ = env.step(actions[-1])
            seen.append(observation)
            rewards.append(float(reward))
            ends.append(bool(over))
        found.append(
            EpisodeBuffer(
                id=seed,
                seed=1000 + seed,
                observations=stack(seen, space or env.observation_space),
                actions=np.array(actions, dtype=env.action_space.dtype),
                rewards=np.array(rewards),
                terminations=np.array(ends),
                truncations=np.array([False] * (len(ends) - 1) + [not ends[-1]]),
            )
        )
    return found


def write(root: Path, name: str, buffers: list, monkeypatch: Any, **facts: Any) -> Path:
    """Let Minari write episodes below its folder; returns the data set's."""
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nobody is named as the author, and the like
        minari.create_dataset_from_buffers(dataset_id=name, buffer=buffers, **facts)
    return root / name


def short(name: str, steps: int) -> gymnasium.envs.registration.EnvSpec:
    """An environment with another limit."""
    spec = deepcopy(gymnasium.spec(name))
    spec.max_episode_steps = steps
    return spec


def write_cartpole(root: Path, monkeypatch: Any, policy: Callable = balance, **facts: Any) -> Path:
    """Thirty episodes of up to sixty steps."""
    spec = short(CARTPOLE, 60)
    buffers = record(gymnasium.make(spec), policy, 30, 60)
    facts = {"env": spec, "eval_env": spec, "data_format": "arrow"} | facts
    return write(root, "cartpole/good-v0", buffers, monkeypatch, **facts)


def write_pendulum(root: Path, monkeypatch: Any) -> Path:
    """Floats in and out."""
    spec = short("Pendulum-v1", 60)
    buffers = record(gymnasium.make(spec), swing, 12, 60)
    return write(root, "pendulum-v3", buffers, monkeypatch, env=spec, eval_env=spec, data_format="hdf5")


def write_grid(root: Path, monkeypatch: Any) -> Path:
    """A Dict of MiniGrid's cells, a heading and a mission; every episode starts alike."""
    import minigrid  # noqa: F401 - registers its environments

    env = gymnasium.make("MiniGrid-Empty-5x5-v0")
    space = spaces.Dict({**env.observation_space.spaces, "mission": spaces.Text(60)})
    buffers = record(env, along((2, 2, 1, 2, 2)), 6, 20, space)
    facts = {"env": env.spec, "eval_env": env.spec, "observation_space": space, "data_format": "hdf5"}
    return write(root, "grid-v0", buffers, monkeypatch, **facts)


def write_pictures(root: Path, monkeypatch: Any) -> Path:
    """Images of a grid from above."""
    import minigrid  # noqa: F401 - registers its environments

    env = AddRenderObservation(gymnasium.make("MiniGrid-Empty-5x5-v0", render_mode="rgb_array"))
    facts = {"env": env.spec, "eval_env": env.spec, "data_format": "arrow", "jpeg_encoding": False}
    facts["observation_space"] = env.observation_space
    return write(root, "pictures-v0", record(env, along((2, 2, 1, 2, 2)), 3, 20), monkeypatch, **facts)


def write_cards(root: Path, monkeypatch: Any) -> Path:
    """A Tuple of Discrete."""
    buffers = record(gymnasium.make("Blackjack-v1"), lambda seen, rng: int(seen[0] < 17), 40, 20)
    facts = {"env": "Blackjack-v1", "eval_env": "Blackjack-v1", "data_format": "hdf5"}
    return write(root, "cards-v0", buffers, monkeypatch, **facts)


def write_levels(root: Path, monkeypatch: Any) -> Path:
    """Actions of MultiDiscrete."""
    env = DiscretizeAction(gymnasium.make(short("Pendulum-v1", 30)), 5, multidiscrete=True)
    buffers = record(env, lambda seen, rng: np.array([rng.integers(5)]), 4, 30)
    facts = {"env": env.spec, "eval_env": env.spec, "data_format": "arrow"}
    return write(root, "levels-v0", buffers, monkeypatch, **facts)
