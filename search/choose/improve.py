"""The best points of a pool, and better ones near them."""

from collections.abc import Callable

import numpy as np

from search.choose.pool import Pool

BEST, ROUNDS = 24, 2  # points of the pool near which more are tried, and how often


def improved(
    pool: Pool, value: Callable[[Pool], np.ndarray], children: Callable[[Pool], Pool]
) -> tuple[Pool, np.ndarray]:
    """Add points near the best ones of a pool, and near the best of those.

    Args:
        pool: the points.
        value: of the points of a pool, (points,).
        children: points near given ones.

    Returns:
        All points, and their values (points,).
    """
    values = value(pool)
    for _ in range(ROUNDS):
        best = pool.take(np.argsort(-values, kind="stable")[:BEST])
        added = children(best)
        pool = Pool.joined((pool, added))
        values = np.append(values, value(added))
    return pool, values
