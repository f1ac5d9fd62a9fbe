"""Expected hypervolume improvement for up to three objectives that are predicted independently: exact.

What a front leaves to gain is divided into boxes. The volume that a point gains in a box is a product over
the objectives, and so is its expectation if their predictions are independent; each factor is a difference of
two expected improvements (Emmerich 2011, https://doi.org/10.1109/CEC.2011.5949880; Yang 2019,
https://doi.org/10.1007/s10898-019-00798-7). One objective has one box, which makes it expected improvement.
All objectives are maximised.
"""

from itertools import pairwise

import numpy as np
from scipy.special import ndtr

LEAST_STD = 1e-6
CHUNK = 2_000_000  # factors that are held in memory at once


def expected_volume(
    mean: np.ndarray, std: np.ndarray, front: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """Expected gain in hypervolume of each of many points, alone.

    Args:
        mean: (points, objectives).
        std: (points, objectives).
        front: (known, objectives) known points; dominated ones do no harm.
        reference: (objectives,) corner of the volume; points at or below it in an objective gain nothing.

    Returns:
        (points,)
    """
    lower, upper = boxes(front, reference)
    above = []  # for each objective, expected improvement over each end of each box
    for objective in range(len(reference)):
        ends = np.stack((lower[:, objective], upper[:, objective]))
        levels, which = np.unique(ends, return_inverse=True)
        above.append((_improvement(mean[:, objective], std[:, objective], levels), which.reshape(ends.shape)))
    gain = np.zeros(len(mean))
    size = max(1, CHUNK // max(len(mean), 1))
    for first in range(0, len(lower), size):
        part = np.ones(())
        for improvement, which in above:
            low, high = which[:, first : first + size]
            part = part * (improvement[:, low] - improvement[:, high])
        gain += part.sum(axis=1)
    return gain


def boxes(front: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide what is above a reference and not dominated by a front into boxes.

    Args:
        front: (known, objectives).
        reference: (objectives,).

    Returns:
        Lower and upper corners, both (boxes, objectives); upper ones may be infinite.
    """
    front = _nondominated(front[(front > reference).all(axis=1)])
    if len(reference) == 1:
        return np.max(front, axis=0, initial=reference[0])[None, :], np.full((1, 1), np.inf)
    levels = np.append(np.unique(np.append(reference[-1], front[:, -1])), np.inf)
    lows, highs = [], []
    for bottom, top in pairwise(levels):
        low, high = boxes(front[front[:, -1] >= top, :-1], reference[:-1])
        lows.append(np.column_stack((low, np.full(len(low), bottom))))
        highs.append(np.column_stack((high, np.full(len(high), top))))
    return np.concatenate(lows), np.concatenate(highs)


def _improvement(mean: np.ndarray, std: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Expected improvement over levels, (points, levels); 0 over infinity."""
    spread = np.maximum(std, LEAST_STD)[:, None]
    endless = np.isinf(levels)
    z = (mean[:, None] - np.where(endless, 0.0, levels)[None, :]) / spread
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.where(endless, 0.0, spread * np.maximum(density + z * ndtr(z), 0.0))


def _nondominated(points: np.ndarray) -> np.ndarray:
    """Distinct points that no other one dominates, (front, objectives)."""
    points = np.unique(points, axis=0)
    if len(points) <= 1 or points.shape[1] == 1:
        return points[-1:]
    if points.shape[1] == 2:  # by rising first objective: above all later ones in the second
        best = np.maximum.accumulate(points[::-1, 1])[::-1]
        return points[np.append(points[:-1, 1] > best[1:], True)]
    covers = np.ones((len(points), len(points)), dtype=bool)
    for column in points.T:
        covers &= column[:, None] >= column[None, :]
    return points[covers.sum(axis=0) == 1]
