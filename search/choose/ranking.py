"""The order in which results of several objectives are preferred, for any number and direction of them.

Results are ordered by non-dominated layer; within a layer by crowding distance, so that results alone in
their part of the front come first (Deb 2002, https://doi.org/10.1109/4235.996017); then by the first
objective. Nothing here knows what a trial is.
"""

from collections.abc import Sequence

import numpy as np

from search.pareto import nondominated_rank


def best_first(values: np.ndarray, maximise: Sequence[bool]) -> list[int]:
    """Indices of results, the most preferred first; results that tie in everything keep their order.

    Args:
        values: (results, objectives).
        maximise: for each objective, whether more is better.

    Raises:
        ValueError: a value is not finite.
    """
    if not len(values):
        return []
    layers = nondominated_layers(values, maximise)
    crowding = np.zeros(len(values))
    for layer in np.unique(layers):
        members = np.flatnonzero(layers == layer)
        crowding[members] = crowding_distance(values[members])
    first = -values[:, 0] if maximise[0] else values[:, 0]
    return sorted(range(len(values)), key=lambda i: (layers[i], -crowding[i], first[i]))


def nondominated_layers(values: np.ndarray, maximise: Sequence[bool]) -> np.ndarray:
    """Layer of each result: 0 on the front, 1 on the front of what is left without it, and so on.

    O(n log n) for up to three objectives; O(n^2) for more.

    Args:
        values: (results, objectives).
        maximise: for each objective, whether more is better.

    Returns:
        (results,) int64; equal results share a layer.

    Raises:
        ValueError: a value is not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("objectives have finite values")
    losses = np.where(np.asarray(maximise), -values, values)
    if losses.shape[1] in (2, 3):
        return nondominated_rank(np.column_stack((-losses[:, 0], losses[:, 1:])))
    distinct, which = np.unique(losses, axis=0, return_inverse=True)
    layers = np.arange(len(distinct)) if losses.shape[1] == 1 else _peeled(distinct)
    return layers[which.reshape(-1)].astype(np.int64)


def _peeled(losses: np.ndarray) -> np.ndarray:
    """Layers of distinct results, (results, objectives), all minimised, one front after the other."""
    dominates = np.ones((len(losses), len(losses)), dtype=bool)
    for column in losses.T:
        dominates &= column[:, None] <= column[None, :]
    np.fill_diagonal(dominates, val=False)
    above = dominates.sum(axis=0)  # results that dominate each one
    layers, layer = np.full(len(losses), -1), 0
    while (layers < 0).any():
        front = (layers < 0) & (above == 0)
        layers[front] = layer
        above = above - dominates[front].sum(axis=0)
        layer += 1
    return layers


def crowding_distance(values: np.ndarray) -> np.ndarray:
    """Crowding distance of each result of one layer; infinite at both ends of each objective.

    Args:
        values: (results, objectives).

    Returns:
        (results,)
    """
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        width = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if width > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / width
    return distance
