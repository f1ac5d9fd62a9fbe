"""Expected hypervolume improvement where all objectives but the score, the costs, are known exactly.

The score of a new point is normally distributed and its costs are known, so the expected gain is a sum of
one-dimensional expected improvements: with one cost, one for each step of the front's staircase to the right
of the cost; with two costs, one for each rectangle of the plane of log costs on which known points reach the
same score. Exact, and cheap for thousands of points at once.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

LEAST_STD = 1e-6
HOPELESS = -8.0  # standard deviations: so far below a height less than 1e-16 of one is gained


def expected_gain(
    mean: np.ndarray,
    std: np.ndarray,
    log_cost: np.ndarray,
    front: tuple[np.ndarray, np.ndarray],
    least_score: float,
    most_log_cost: float,
) -> np.ndarray:
    """Expected gain in hypervolume of each of many points, alone; its mean over draws, if there are several.

    Args:
        mean: (points,) of the score, or (draws, points).
        std: (points,) of the score, the same for each draw.
        log_cost: (points,).
        front: (known,) scores, or (draws, known), and (known,) log costs of known points; dominated ones do
            no harm.
        least_score: scores at or below it gain nothing.
        most_log_cost: where the area ends; dearer points gain nothing.

    Returns:
        (points,) area in units of score times log cost.
    """
    means = np.atleast_2d(mean)
    draw, edges, heights = _staircases(np.atleast_2d(front[0]), front[1], least_score)
    right = np.append(edges[1:], np.inf)
    right[right == -np.inf] = np.inf  # the next step is the first one of another draw
    width = np.minimum(right, most_log_cost) - np.maximum(edges, log_cost[:, None])
    return _gained(width, means.T[:, draw], std, heights) / len(means)


def _gained(size: np.ndarray, mean: np.ndarray, std: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Sum over parts of their size times the expected improvement over their height, (points,).

    Args:
        size: (points, parts); nothing is gained where it is not above 0.
        mean: (points, parts), or (points, 1), of the score.
        std: (points,).
        heights: (parts,).
    """
    spread = np.maximum(std, LEAST_STD)
    above = mean - heights
    point, part = np.nonzero((size > 0) & (above > HOPELESS * spread[:, None]))
    z = above[point, part] / spread[point]
    expected = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) + z * ndtr(z)
    return np.bincount(point, size[point, part] * spread[point] * expected, len(size))


class Terraces(NamedTuple):
    """The plane of two log costs, cut into rectangles on which known points reach the same score.

    Attributes:
        low: (rectangles, 2) their cheap corners, -inf where a rectangle has no end.
        high: (rectangles, 2) their dear corners, inf where a rectangle has no end.
        heights: (rectangles,) the best score of the known points that are no dearer in both costs.
        first: (terraces,) the first rectangle of each terrace; its rectangles are of the same height.
    """

    low: np.ndarray
    high: np.ndarray
    heights: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, log_costs: np.ndarray, least_score: float) -> "Terraces":
        """Cut the plane.

        Known points are added by falling score. Each one reaches the quadrant that is dearer than it, and
        owns what no point before it reaches: a strip for each corner of their outline that it hides, and
        one more. As a hidden corner never comes back, there are at most three rectangles for each point.

        Args:
            scores: (known,).
            log_costs: (known, 2).
            least_score: height where no point is cheaper; points at or below it own nothing.
        """
        outline: list[tuple[float, float]] = []  # corners of what is reached: rising, then falling log costs
        found: list[tuple[float, float, float, float, float]] = []
        order = np.lexsort((log_costs[:, 1], log_costs[:, 0], -scores))
        for score, (x, y) in zip(scores[order].tolist(), log_costs[order].tolist(), strict=True):
            if score <= least_score:
                break
            first = sum(corner[0] <= x for corner in outline)
            top = outline[first - 1][1] if first else np.inf
            if top <= y:
                continue
            left, last = x, first
            while last < len(outline) and outline[last][1] >= y:
                found.append((left, y, outline[last][0], top, score))
                left, top = outline[last]
                last += 1
            found.append((left, y, outline[last][0] if last < len(outline) else np.inf, top, score))
            if first and outline[first - 1][0] == x:
                first -= 1
            outline[first:last] = [(x, y)]
        left, top = -np.inf, np.inf
        for x, y in outline:
            found.append((left, -np.inf, x, top, least_score))
            left, top = x, y
        found.append((left, -np.inf, np.inf, top, least_score))
        table = np.array(found)
        heights = table[:, 4]
        first = np.flatnonzero(np.append(True, heights[1:] != heights[:-1]))
        return cls(table[:, :2], table[:, 2:4], heights, first)

    def expected_gain(
        self, mean: np.ndarray, std: np.ndarray, log_costs: np.ndarray, most: np.ndarray
    ) -> np.ndarray:
        """Expected gain in hypervolume of each of many points, alone.

        Args:
            mean: (points,) of the score.
            std: (points,) of the score.
            log_costs: (points, 2).
            most: (2,) where the volume ends; dearer points gain nothing.

        Returns:
            (points,) volume in units of score times both log costs.
        """
        high = np.minimum(self.high, most)
        sizes = np.ones((len(mean), len(self.heights)))
        for axis in (0, 1):
            low = np.maximum(self.low[:, axis], log_costs[:, axis, None])
            sizes *= np.maximum(high[:, axis] - low, 0.0)
        sizes = np.add.reduceat(sizes, self.first, axis=1)
        return _gained(sizes, mean[:, None], std, self.heights[self.first])


def steps(front: tuple[np.ndarray, np.ndarray], least_score: float) -> tuple[np.ndarray, np.ndarray]:
    """The staircase of a front: best score that a cost buys.

    Args:
        front: (known,) scores and (known,) log costs.
        least_score: height before the first step.

    Returns:
        (steps,) rising log costs at which steps begin, the first -inf, and (steps,) their heights.
    """
    scores, log_costs = front
    return _staircases(scores[None], log_costs, least_score)[1:]


def _staircases(
    scores: np.ndarray, log_costs: np.ndarray, least_score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The staircases of several fronts over the same costs, one after the other.

    Args:
        scores: (draws, known).
        log_costs: (known,).
        least_score: height before the first step of each.

    Returns:
        (steps,) number of the draw, log costs at which steps begin and their heights; see `steps`.
    """
    order = np.argsort(log_costs, kind="stable")
    costs = log_costs[order]
    last = np.append(costs[1:] > costs[:-1], True)[: len(costs)]  # of those at one cost
    best = np.maximum.accumulate(scores[:, order], axis=1)[:, last]
    heights = np.maximum(np.insert(best, 0, least_score, axis=1), least_score)
    begins = np.insert(heights[:, 1:] > heights[:, :-1], 0, True, axis=1)
    draw, place = np.nonzero(begins)
    return draw, np.append(-np.inf, costs[last])[place], heights[begins]
