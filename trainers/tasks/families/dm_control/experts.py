"""Smooth experts for the control suite: regulators, pumps of energy, inverse kinematics.

Each is made from a stage and the steps that an action lasts, and maps what is seen to an action in [-1, 1].
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from trainers.tasks.parts.regulators import Step, linearise, lqr_gain

Expert = Callable[[np.ndarray], np.ndarray]
LENGTH = 0.12  # of either of the reacher's links, in metres
DAMPING = 0.004  # square metres


class Plant(Protocol):
    """What an expert may use of a simulator."""

    def dynamics(self, repeat: int) -> Step:
        """Places and speeds, an action -> places and speeds after it."""
        ...


def regulator(plant: Plant, repeat: int, state_cost: list[float], control_cost: list[float]) -> np.ndarray:
    """Gain (controls, places and speeds) about rest at zero."""
    at, still = np.zeros(len(state_cost)), np.zeros(len(control_cost))
    drift, push = linearise(plant.dynamics(repeat), at, still)
    return lqr_gain(drift, push, np.diag(state_cost), np.diag(control_cost))


def balance(plant: Plant, repeat: int) -> Expert:
    """Cart and pole; seen are place, cosine, sine, speeds."""
    gain = regulator(plant, repeat, [1.0, 5.0, 0.1, 0.1], [0.1])

    def act(seen: np.ndarray) -> np.ndarray:
        place, cosine, sine, *speeds = seen
        return np.clip(-gain @ [place, np.arctan2(sine, cosine), *speeds], -1, 1)

    return act


def swing_cart(plant: Plant, repeat: int) -> Expert:
    """Pump energy into the pole, with the cart about the middle; near the top, regulate."""
    hold = balance(plant, repeat)

    def act(seen: np.ndarray) -> np.ndarray:
        place, cosine, sine, speed, turn = seen
        angle = np.arctan2(sine, cosine)
        if max(abs(angle), abs(angle + 0.2 * turn)) < 1.0:
            return hold(seen)
        missing = turn**2 / 6 + 9.81 * 0.5 * (cosine - 1)  # joules below the top, of a rod of 1 kg and 1 m
        swing = np.sign(turn * cosine) * min(1.0, abs(turn * cosine))
        return np.clip([missing * swing - 0.2 * place - 0.5 * speed], -1, 1)

    return act


def swing_pendulum(plant: Plant, repeat: int) -> Expert:
    """Push in the direction of motion until there is enough energy for the top; then regulate.

    The push is smooth in energy and speed, so an imitator with small errors still arrives.
    """
    gain = regulator(plant, repeat, [1.0, 0.1], [0.1])

    def act(seen: np.ndarray) -> np.ndarray:
        cosine, sine, turn = seen
        angle = np.arctan2(sine, cosine)
        if max(abs(angle), abs(angle + 0.4 * turn)) < 0.5:
            return np.clip(-gain @ [angle, turn], -1, 1)
        missing = 0.4 - turn**2 * 0.25 / 2 - 9.81 * 0.5 * (cosine - 1)  # joules
        way = np.clip(2 * turn, -1, 1) if abs(turn) > 0.01 else 1.0
        return np.array([np.clip(2 * missing, -1, 1) * way])

    return act


def centre(plant: Plant, repeat: int) -> Expert:
    """A mass in the plane; seen are places and speeds."""
    gain = regulator(plant, repeat, [1.0, 1.0, 0.02, 0.02], [0.001, 0.001])
    return lambda seen: np.clip(-gain @ seen, -1, 1)


def reach(plant: Plant, repeat: int) -> Expert:
    """Two links; seen are angles, the way to the target, speeds of the angles.

    The angles go along the damped inverse of the Jacobian, which stays small where the arm is straight, and
    brake: a smooth function of what is seen, which chooses no elbow.
    """

    def act(seen: np.ndarray) -> np.ndarray:
        angles, way, turns = np.split(seen, 3)
        aims = np.array([angles[0], angles.sum()])  # where the links point to
        links = LENGTH * np.stack([-np.sin(aims), np.cos(aims)])  # what turning each one moves the finger by
        jacobian = np.stack([links.sum(1), links[:, 1]], axis=1)
        turn = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + DAMPING * np.eye(2), way)
        return np.clip(2 * turn - 0.1 * turns, -1, 1)

    return act
