"""Which candidates of a front are recommended: the best score, and the knee.

With one cost the knee is the corner farthest above the front's chord, with two the point that is closest to
the best of each objective; see `search.pareto.knee`.
"""

from collections.abc import Sequence

from search.pareto import knee
from search.read.rows import FrontRow
from search.store.finalists import pickable

PICKS = ("best", "knee")


def picked(front: Sequence[FrontRow], pick: str) -> FrontRow:
    """The best score of a front or its knee, among its confirmed candidates once there are any.

    Args:
        front: best score first, with at least one candidate.
        pick: one of `PICKS`.
    """
    rows = pickable(front)
    if pick == "best":
        return rows[0]
    return rows[knee([(row.score, *row.costs.values()) for row in rows])]
