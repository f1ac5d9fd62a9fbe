"""Sparse and dense candidates: a study keeps trying both kinds.

What experts are worth can show late: a study that follows its first scores might never train the kind that
is behind at the lower rungs to the top.
"""

import numpy as np

LEAST_SHARE = 0.2  # of either kind, among candidates and among the promoted


def rare_kind_first(order: np.ndarray, sparse: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Move points to the front of an order whose kind is rare among known ones; else return it as it is.

    Args:
        order: (points,) indices, best first.
        sparse: (points,) whether a point is sparse.
        known: (known,) whether a known point is sparse.
    """
    share = float(known.mean()) if len(known) else 0.5
    if LEAST_SHARE <= share <= 1 - LEAST_SHARE:
        return order
    rare = sparse[order] == (share < LEAST_SHARE)
    return np.concatenate((order[rare], order[~rare]))
