"""Several objectives at once: the front, its staircase, its knee, its volume and the layers behind it.

Points are rows of an array: the score, which is maximised, then one or two costs, which are minimised. One
point dominates another if it is at least as good in all of them and better in one, so equal points never
dominate each other and ties stay on the front, as in Optuna's `study.best_trials`. Nothing here knows what a
trial is.
"""

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import ArrayLike


def pareto(points: ArrayLike) -> np.ndarray:
    """Indices of the non-dominated points, best score first.

    Args:
        points: (points, 2 or 3) score and costs.

    Returns:
        (front,) int64; the set does not depend on the order of the points, and equal points keep theirs.

    Raises:
        ValueError: a number is not finite.
    """
    array = _finite(points)
    distinct, which = _cheapest_first(array)
    if distinct.shape[1] == 3:
        front = np.flatnonzero((_reached(distinct) < -distinct[:, 2])[which])
    else:
        rising = distinct[:, 1]  # negated scores, the best of equally cheap ones first
        cheaper = np.minimum.accumulate(np.append(np.inf, rising))[:-1]
        front = np.flatnonzero((rising < cheaper)[which])
    return front[np.lexsort((front, -array[front, 0]))]


def staircase(points: ArrayLike) -> np.ndarray:
    """The front's corners as a curve: the best score that a cost buys.

    Args:
        points: (points, 2) score and cost.

    Returns:
        (corners, 2) score and cost, cheapest first, each corner once.

    Raises:
        ValueError: a number is not finite.
    """
    scores, costs = _columns(points)
    front = pareto(points)
    return np.unique(np.column_stack((costs[front], scores[front])), axis=0)[:, ::-1]


def knee(points: ArrayLike) -> int:
    """Index of the front's knee: the corner that lies farthest above the chord of the staircase.

    Distances are taken in (log cost, score), where the answer does not depend on either unit. Where no corner
    lies above the chord, as with two corners, the knee is the best score. With two costs it is the front's
    point that is closest to the best of each objective; see `nearest_to_ideal`.

    Args:
        points: (points, 2 or 3) score and costs.

    Raises:
        ValueError: there are no points, or a number is not finite or no positive cost.
    """
    array = _finite(points)
    front = pareto(points)
    if not len(front) or (array[:, 1:] <= 0).any():
        raise ValueError("a knee needs at least one point with costs above 0")
    if array.shape[1] == 3:
        return int(front[nearest_to_ideal(array[front])])
    corners = staircase(points)
    x, y = np.log(corners[:, 1]), corners[:, 0]
    above = (x[-1] - x[0]) * (y - y[0]) - (y[-1] - y[0]) * (x - x[0])
    tolerance = 1e-12 * max(1.0, abs(x[-1] - x[0]) * abs(y[-1] - y[0]))
    corner = corners[int(np.argmax(above)) if above.max() > tolerance else -1]
    return int(next(i for i in front if array[i, 0] == corner[0] and array[i, 1] == corner[1]))


def nearest_to_ideal(front: np.ndarray) -> int:
    """Index of the point that is closest to the best value of each objective.

    Distances are Euclidean, each objective scaled to [0, 1] over the points, costs by their logarithm. An
    objective in which all points are equal does not count. Of equally close points it is the first.

    Args:
        front: (points, objectives) score and costs above 0, at least one point.
    """
    losses = np.column_stack((-front[:, 0], np.log(front[:, 1:])))
    spans = np.ptp(losses, axis=0)
    scaled = (losses - losses.min(axis=0)) / np.where(spans > 0, spans, 1.0)
    distances = np.linalg.norm(scaled, axis=1)
    return int(np.argmax(distances <= distances.min() + 1e-12))


def hypervolume(points: ArrayLike, least_score: float, most: ArrayLike) -> float:
    """Volume that the front dominates in (score, log10 of each cost), up to a reference corner.

    Args:
        points: (points, 2 or 3) score and costs.
        least_score: points at or below it add nothing.
        most: of each cost; points at or above one of them add nothing.

    Raises:
        ValueError: a number is not finite, or a cost is not above 0.
    """
    array, ends = _finite(points), np.atleast_1d(np.asarray(most, dtype=float))
    if (array[:, 1:] <= 0).any() or (ends <= 0).any():
        raise ValueError("a hypervolume over log costs needs costs above 0")
    if array.shape[1] == 2:
        inside = (array[:, 0] > least_score) & (array[:, 1] < ends[0])
        corners = staircase(array[inside])
        x = np.log10(np.append(corners[:, 1], ends[0]))
        return float(np.sum(np.diff(x) * (corners[:, 0] - least_score)))
    kept = array[(array[:, 0] > least_score) & (array[:, 1:] < ends).all(axis=1)]
    edges = np.unique(kept[:, 2])
    widths = np.diff(np.log10(np.append(edges, ends[1])))
    slabs = (hypervolume(kept[kept[:, 2] <= edge, :2], least_score, ends[0]) for edge in edges)
    return float(sum(width * slab for width, slab in zip(widths, slabs, strict=True)))


def nondominated_rank(points: ArrayLike) -> np.ndarray:
    """Layer of each point: 0 on the front, 1 on the front of what is left without it, and so on.

    Goes from the cheapest point to the most expensive: a point belongs to the first layer in which no point
    dominates it. With one cost, a layer's best score decides that, in O(n log n); with two, the best score
    that each second cost buys.

    Args:
        points: (points, 2 or 3) score and costs.

    Returns:
        (points,) int64; equal points share a layer.

    Raises:
        ValueError: a number is not finite.
    """
    distinct, which = _cheapest_first(_finite(points))
    if distinct.shape[1] == 3:
        return _layers_of_three(distinct)[which]
    best: list[float] = []  # negated best score of each layer, rising
    layers = np.empty(len(distinct), dtype=np.int64)
    for i, negated in enumerate(distinct[:, 1]):
        layer = bisect_right(best, negated)
        layers[i] = layer
        best[layer : layer + 1] = [negated]
    return layers[which]


def reached(points: ArrayLike) -> np.ndarray:
    """Best score of the points that cost no more in both costs, the point itself included, (points,).

    Args:
        points: (points, 3) score and costs.

    Raises:
        ValueError: a number is not finite.
    """
    array = np.asarray(points, dtype=float).reshape(-1, 3)
    distinct, which = _cheapest_first(_finite(array))
    return np.maximum(_reached(distinct), -distinct[:, -1])[which]


class _Bought:
    """The best score that a cost buys, of the points that were added."""

    def __init__(self) -> None:
        self._costs: list[float] = []  # both rise
        self._scores: list[float] = []

    def at(self, cost: float) -> float:
        """The best score at no more than a cost; -inf if there is none."""
        place = bisect_right(self._costs, cost)
        return self._scores[place - 1] if place else -np.inf

    def add(self, cost: float, score: float) -> None:
        """Add a point; it may be dominated."""
        if self.at(cost) >= score:
            return
        first = bisect_left(self._costs, cost)
        last = bisect_right(self._scores, score, lo=first)
        self._costs[first:last], self._scores[first:last] = [cost], [score]


def _reached(distinct: np.ndarray) -> np.ndarray:
    """Best score of the points before each one that are no dearer, (points,); -inf if there is none.

    Args:
        distinct: (points, 3) costs and negated score, as `_cheapest_first` sorts them.
    """
    bought = _Bought()
    found = np.empty(len(distinct))
    for i, (_, cost, negated) in enumerate(distinct.tolist()):
        found[i] = bought.at(cost)
        bought.add(cost, -negated)
    return found


def _layers_of_three(distinct: np.ndarray) -> np.ndarray:
    """Layers of distinct points (points, 3), as `_cheapest_first` sorts them."""
    bought: list[_Bought] = []  # of each layer
    layers = np.empty(len(distinct), dtype=np.int64)
    for i, (_, cost, negated) in enumerate(distinct.tolist()):
        # what a layer dominates, all layers before it do: the first that does not is found by halving
        layer = bisect_left(bought, True, key=lambda each, c=cost, s=-negated: each.at(c) < s)
        layers[i] = layer
        if layer == len(bought):
            bought.append(_Bought())
        bought[layer].add(cost, -negated)
    return layers


def _cheapest_first(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (costs, negated score) in rising order, and which of them each point is."""
    turned = np.column_stack((array[:, 1:], -array[:, 0]))
    distinct, which = np.unique(turned, axis=0, return_inverse=True)
    return distinct, which.reshape(-1)


def _columns(points: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    array = _finite(points)
    return array[:, 0], array[:, 1]


def _finite(points: ArrayLike) -> np.ndarray:
    """Points as (points, objectives)."""
    array = np.asarray(points, dtype=float)
    array = array.reshape(-1, 2) if not array.size else np.atleast_2d(array)
    if not np.isfinite(array).all():
        raise ValueError("points have finite scores and costs")
    return array
