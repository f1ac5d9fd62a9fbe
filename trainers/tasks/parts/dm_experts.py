"""Experts for the control suite: regulators, pumps of energy and inverse kinematics.

Each is made from a stage and the steps that an action lasts, and maps what is seen to an action in [-1, 1].
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from trainers.tasks.parts.regulators import Step, linearise, lqr_gain

Expert = Callable[[np.ndarray], np.ndarray]
LENGTH = 0.12  # of either of the reacher's links, in metres


class Plant(Protocol):
    """What an expert may know of a simulator."""

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
    """Push the way the pendulum turns until it has the energy for the top; near it, regulate."""
    gain = regulator(plant, repeat, [1.0, 0.1], [0.1])

    def act(seen: np.ndarray) -> np.ndarray:
        cosine, sine, turn = seen
        angle = np.arctan2(sine, cosine)
        if abs(angle) < 0.3:
            return np.clip(-gain @ [angle, turn], -1, 1)
        energy = turn**2 * 0.25 / 2 + 9.81 * 0.5 * (cosine - 1)
        return np.array([np.clip(-3 * energy, -1, 1) * (1 if turn >= 0 else -1)])

    return act


def centre(plant: Plant, repeat: int) -> Expert:
    """A mass in the plane; seen are places and speeds."""
    gain = regulator(plant, repeat, [1.0, 1.0, 0.02, 0.02], [0.001, 0.001])
    return lambda seen: np.clip(-gain @ seen, -1, 1)


def reach(plant: Plant, repeat: int) -> Expert:
    """Two links; seen are angles, the way to the target, speeds of the angles."""
    gain = regulator(plant, repeat, [1.0, 1.0, 0.001, 0.001], [0.01, 0.01])

    def act(seen: np.ndarray) -> np.ndarray:
        angles, way, turns = np.split(seen, 3)
        lower = angles[0] + angles[1]
        finger = LENGTH * np.array([np.cos(angles[0]) + np.cos(lower), np.sin(angles[0]) + np.sin(lower)])
        goal = nearest_angles(finger + way, angles)
        return np.clip(-gain @ np.concatenate([angles - goal, turns]), -1, 1)

    return act


def nearest_angles(place: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Of the two ways in which the links reach a place, the one nearer to where they are, (2,)."""
    cosine = np.clip((place @ place) / (2 * LENGTH**2) - 1, -1, 1)
    found = []
    for wrist in (np.arccos(cosine), -np.arccos(cosine)):
        shoulder = np.arctan2(place[1], place[0]) - wrist / 2  # links of one length bend evenly
        turn = shoulder - angles[0]
        found.append(np.array([angles[0] + (turn + np.pi) % (2 * np.pi) - np.pi, wrist]))
    return min(found, key=lambda goal: np.abs(goal - angles).max())
