"""Who climbs: of those that ended at a rung, one in `eta`, by non-dominated rank in (score, FLOPs per token).

Within a layer the best score comes first, then whoever stands most alone (the crowding distance of Deb 2002,
https://doi.org/10.1109/4235.996017), then chance. Whoever cannot be told from the floor never climbs,
since the cheapest candidate of all is always non-dominated.
"""

import hashlib
import math

import numpy as np

from search.choose.snapshot import Snapshot, Standing
from search.pareto import nondominated_rank
from space.study import Rungs

PEERS = 4  # times eta: with fewer at a rung, new candidates come first


def promote(view: Snapshot, rungs: Rungs, seed: int, patient: bool) -> tuple[str, int] | None:
    """Choose the next promotion.

    Args:
        view: the study as it stands.
        rungs: its ladder.
        seed: decides ties.
        patient: only from rungs with enough peers to compare, from high to low. Otherwise from any rung, from
            low to high, so that each fills before it is judged; for when nothing else is left to do.

    Returns:
        Candidate and the rung that it climbs to, or None.
    """
    lower = range(len(rungs.tokens) - 1)
    for rung in reversed(lower) if patient else lower:
        ended = [trial for trial in view.rungs.get(rung, ()) if trial.ended]
        if patient and len(ended) < PEERS * rungs.eta:
            continue
        places = quota(len(ended), rungs.eta)
        climbed = {trial.candidate for trial in view.rungs.get(rung + 1, ())}
        if len(climbed) >= places:
            continue
        for trial in ranked(ended, seed)[:places]:
            if trial.candidate not in climbed:
                return trial.candidate, rung + 1
    return None


def quota(ended: int, eta: float) -> int:
    """How many of those that ended at a rung may climb."""
    return math.floor(ended / eta + 1e-9)


def ranked(ended: list[Standing], seed: int) -> list[Standing]:
    """Those that may climb, the most deserving first; failed ones and those at their floor may not."""
    able = sorted((trial for trial in ended if not trial.at_floor), key=lambda trial: _chance(trial, seed))
    if not able:
        return []
    scores = np.array([trial.score for trial in able])
    flops = np.log([trial.flops_per_token for trial in able])
    layers = nondominated_rank(np.column_stack((scores, flops)))
    crowding = np.zeros(len(able))
    for layer in np.unique(layers):
        members = np.flatnonzero(layers == layer)
        crowding[members] = _crowding(scores[members], flops[members])
    order = sorted(range(len(able)), key=lambda i: (layers[i], -crowding[i], -scores[i]))
    return [able[i] for i in order]


def _chance(trial: Standing, seed: int) -> bytes:
    """A draw that depends on nothing but the seed and the trial."""
    return hashlib.sha256(f"{seed}/{trial.rung}/{trial.candidate}".encode()).digest()


def _crowding(scores: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """Crowding distance of each point of one layer; infinite at both ends. Shapes (points,)."""
    distance = np.zeros(len(scores))
    for values in (scores, flops):
        order = np.argsort(values, kind="stable")
        width = values[order[-1]] - values[order[0]]
        distance[order[[0, -1]]] = np.inf
        if width > 0:
            distance[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / width
    return distance
