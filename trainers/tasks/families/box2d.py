"""Land on the moon: place, speed, angle and the legs' contacts in, engines out.

The expert is the environment's own heuristic.
"""

import warnings
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium import Env

from trainers.tasks.parts.gymnasium_control import ControlLevel, GymnasiumTask
from trainers.tasks.sessions import Noise
from trainers.tokens import values

SCALE = values.Linear((-1, -0.3, -1.2, -1.6, -1, -2, 0, 0), (1, 1.7, 1.2, 0.6, 1, 2, 1, 1))


@cache
def _module() -> ModuleType:
    """Gymnasium's module of the lander; Box2D warns on import, and crashes if warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return import_module("gymnasium.envs.box2d.lunar_lander")


def lander(continuous: bool) -> Env:
    """LunarLander-v3 in one of its two forms."""
    return _module().LunarLander(continuous=continuous)


def steer(continuous: bool, state: np.ndarray) -> Any:
    """The action of the environment's `heuristic`."""
    return _module().heuristic(_Form(continuous), state)


class _Form:
    """The part of an environment that the heuristic uses."""

    def __init__(self, continuous: bool) -> None:
        self.continuous = continuous
        self.unwrapped = self


def landed(env: Any, over: bool) -> float:
    """1 if the lander is at rest, intact and within the picture."""
    return float(over and not env.game_over and not env.lander.awake)


LEVELS = (
    ControlLevel(
        name="lunar-lander",
        family="box2d",
        make=partial(lander, False),
        scale=SCALE,
        choices=4,
        limit=170,
        repeat=3,
        expert=partial(steer, False),
        gain=landed,
        expert_name="the environment's heuristic",
        episodes=250,
        noise=Noise(rate=0.01),
        packages=("box2d", "gymnasium", "numpy"),
    ),
    ControlLevel(
        name="lunar-lander-continuous",
        family="box2d",
        make=partial(lander, True),
        scale=SCALE,
        choices=None,
        limit=120,
        repeat=4,
        expert=partial(steer, True),
        gain=landed,
        expert_name="the environment's heuristic",
        episodes=300,
        noise=Noise(rate=0.04),
        packages=("box2d", "gymnasium", "numpy"),
    ),
)
TASKS = {level.name: partial(GymnasiumTask, level) for level in LEVELS}
