"""Two objectives at once: the front, its staircase, its knee, its area and the layers behind it.

Points are (score, FLOPs per token) in the columns of an array: the score is maximised, the FLOPs minimised.
One point dominates another if it is at least as good in both and better in one, so equal points never
dominate each other and ties stay on the front, as in Optuna's `study.best_trials`. Nothing here knows what a
trial is.
"""

from bisect import bisect_right

import numpy as np
from numpy.typing import ArrayLike


def pareto(points: ArrayLike) -> np.ndarray:
    """Indices of the non-dominated points, best score first.

    Args:
        points: (points, 2) score and FLOPs per token.

    Returns:
        (front,) int64; the set does not depend on the order of the points, and equal points keep theirs.

    Raises:
        ValueError: a number is not finite.
    """
    scores, flops = _columns(points)
    distinct, which = _cheapest_first(scores, flops)
    rising = distinct[:, 1]  # negated scores, the best of equally cheap ones first
    cheaper = np.minimum.accumulate(np.append(np.inf, rising))[:-1]
    front = np.flatnonzero((rising < cheaper)[which])
    return front[np.lexsort((front, -scores[front]))]


def staircase(points: ArrayLike) -> np.ndarray:
    """The front's corners as a curve: the best score that a number of FLOPs per token buys.

    Returns:
        (corners, 2) score and FLOPs per token, cheapest first, each corner once.

    Raises:
        ValueError: a number is not finite.
    """
    scores, flops = _columns(points)
    front = pareto(points)
    return np.unique(np.column_stack((flops[front], scores[front])), axis=0)[:, ::-1]


def knee(points: ArrayLike) -> int:
    """Index of the front's knee: the corner that lies farthest above the chord of the staircase.

    Distances are taken in (log FLOPs, score), where the answer does not depend on either unit. Where no
    corner lies above the chord, as with two corners, the knee is the best score.

    Raises:
        ValueError: there are no points, or a number is not finite or no positive FLOPs.
    """
    scores, flops = _columns(points)
    front = pareto(points)
    if not len(front) or (flops <= 0).any():
        raise ValueError("a knee needs at least one point with FLOPs above 0")
    corners = staircase(points)
    x, y = np.log(corners[:, 1]), corners[:, 0]
    above = (x[-1] - x[0]) * (y - y[0]) - (y[-1] - y[0]) * (x - x[0])
    tolerance = 1e-12 * max(1.0, abs(x[-1] - x[0]) * abs(y[-1] - y[0]))
    corner = corners[int(np.argmax(above)) if above.max() > tolerance else -1]
    return int(next(i for i in front if scores[i] == corner[0] and flops[i] == corner[1]))


def hypervolume(points: ArrayLike, least_score: float, most_flops: float) -> float:
    """Area that the front dominates in (log10 FLOPs per token, score), up to a reference corner.

    Args:
        points: (points, 2) score and FLOPs per token.
        least_score: points at or below it add nothing.
        most_flops: points at or above it add nothing.

    Raises:
        ValueError: a number is not finite, or FLOPs are not above 0.
    """
    scores, flops = _columns(points)
    if (flops <= 0).any() or most_flops <= 0:
        raise ValueError("a hypervolume over log FLOPs needs FLOPs above 0")
    inside = (scores > least_score) & (flops < most_flops)
    corners = staircase(np.column_stack((scores[inside], flops[inside])))
    x = np.log10(np.append(corners[:, 1], most_flops))
    return float(np.sum(np.diff(x) * (corners[:, 0] - least_score)))


def nondominated_rank(points: ArrayLike) -> np.ndarray:
    """Layer of each point: 0 on the front, 1 on the front of what is left without it, and so on.

    Goes from the cheapest point to the most expensive and keeps the best score of each layer: a point belongs
    to the first layer whose best score it exceeds. O(n log n).

    Returns:
        (points,) int64; equal points share a layer.

    Raises:
        ValueError: a number is not finite.
    """
    scores, flops = _columns(points)
    distinct, which = _cheapest_first(scores, flops)
    best: list[float] = []  # negated best score of each layer, rising
    layers = np.empty(len(distinct), dtype=np.int64)
    for i, negated in enumerate(distinct[:, 1]):
        layer = bisect_right(best, negated)
        layers[i] = layer
        best[layer : layer + 1] = [negated]
    return layers[which]


def _cheapest_first(scores: np.ndarray, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (FLOPs, negated score) in rising order, and which of them each point is."""
    distinct, which = np.unique(np.column_stack((flops, -scores)), axis=0, return_inverse=True)
    return distinct, which.reshape(-1)


def _columns(points: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    array = np.asarray(points, dtype=float).reshape(-1, 2)
    if not np.isfinite(array).all():
        raise ValueError("points have finite scores and FLOPs")
    return array[:, 0], array[:, 1]
