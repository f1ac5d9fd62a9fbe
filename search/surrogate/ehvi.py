"""Expected hypervolume improvement where one of the two objectives, the cost, is known exactly.

Points are (score, log cost). The score of a new point is normally distributed and its cost is known, so the
expected gain is a sum of one-dimensional expected improvements, one for each step of the front's staircase to
the right of the cost: exact, and cheap for thousands of points at once.
"""

import numpy as np
from scipy.special import ndtr

LEAST_STD = 1e-6


def expected_gain(
    mean: np.ndarray,
    std: np.ndarray,
    log_cost: np.ndarray,
    front: tuple[np.ndarray, np.ndarray],
    least_score: float,
    most_log_cost: float,
) -> np.ndarray:
    """Expected gain in hypervolume of each of many points, alone.

    Args:
        mean: (points,) of the score.
        std: (points,) of the score.
        log_cost: (points,).
        front: (known,) scores and (known,) log costs of known points; dominated ones do no harm.
        least_score: scores at or below it gain nothing.
        most_log_cost: where the area ends; dearer points gain nothing.

    Returns:
        (points,) area in units of score times log cost.
    """
    edges, heights = steps(front, least_score)
    right = np.append(edges[1:], np.inf)
    left = np.maximum(edges[None, :], log_cost[:, None])
    width = np.clip(np.minimum(right[None, :], most_log_cost) - left, 0.0, None)
    spread = np.maximum(std, LEAST_STD)[:, None]
    z = (mean[:, None] - heights[None, :]) / spread
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return (width * spread * (density + z * ndtr(z))).sum(axis=1)


def steps(front: tuple[np.ndarray, np.ndarray], least_score: float) -> tuple[np.ndarray, np.ndarray]:
    """The staircase of a front: best score that a cost buys.

    Args:
        front: (known,) scores and (known,) log costs.
        least_score: height before the first step.

    Returns:
        (steps,) rising log costs at which steps begin, the first -inf, and (steps,) their heights.
    """
    scores, log_costs = front
    order = np.lexsort((-scores, log_costs))
    heights = np.maximum.accumulate(np.append(least_score, scores[order]))
    rises = np.flatnonzero(np.diff(heights) > 0)
    edges = np.append(-np.inf, log_costs[order][rises])
    return edges, heights[np.append(0, rises + 1)]
