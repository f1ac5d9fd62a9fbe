"""Promotion: which candidates train on to the next rung.

By rank, one in `eta` of the candidates that ended at a rung is promoted.

Candidates are ordered by non-dominated rank in (score, FLOPs per token); within a rank by crowding distance
(Deb 2002, https://doi.org/10.1109/4235.996017), then by score, then at random. Candidates within one standard
error of the floor are never promoted, since the cheapest candidate of all is always non-dominated.
"""

import hashlib
import math
from typing import NamedTuple

import numpy as np

from search.choose.snapshot import Snapshot, SnapshotTrial
from search.pareto import nondominated_rank
from space.study import Rungs, Search

PEERS = 4  # times eta: with fewer ended trials at a rung, new candidates come first


class Promotion(NamedTuple):
    """A known candidate and the rung that it is to be trained to next."""

    candidate: str
    rung: int


def promote(view: Snapshot, rungs: Rungs, search: Search, enough_peers: bool) -> Promotion | None:
    """Choose the next promotion by the study's rule.

    Args:
        view: the study's candidates and trials.
        rungs: its rungs.
        search: its rule of promotion, and the seed that breaks ties.
        enough_peers: promote only from rungs with `PEERS` times eta ended trials, the highest rung first.
            Otherwise promote from any rung, the lowest first, so that each rung fills before the next one;
            for when nothing else is left to do.

    Returns:
        The promotion; None if there is none.
    """
    if search.promotion == "all":
        return _promote_all(view, rungs)
    lower = range(len(rungs.tokens) - 1)
    for rung in reversed(lower) if enough_peers else lower:
        ended = [trial for trial in view.rungs.get(rung, ()) if trial.ended]
        if enough_peers and len(ended) < PEERS * rungs.eta:
            continue
        places = quota(len(ended), rungs.eta)
        promoted = {trial.candidate for trial in view.rungs.get(rung + 1, ())}
        if len(promoted) >= places:
            continue
        for trial in ranked(ended, search.seed)[:places]:
            if trial.candidate not in promoted:
                return Promotion(trial.candidate, rung + 1)
    return None


def _promote_all(view: Snapshot, rungs: Rungs) -> Promotion | None:
    """Promote the first candidate with a score from the highest rung that has one left."""
    for rung in reversed(range(len(rungs.tokens) - 1)):
        promoted = {trial.candidate for trial in view.rungs.get(rung + 1, ())}
        for trial in view.rungs.get(rung, ()):
            if trial.state == "done" and trial.candidate not in promoted:
                return Promotion(trial.candidate, rung + 1)
    return None


def repeat(view: Snapshot, repeated: Snapshot, share: float) -> Promotion | None:
    """Choose the next trial to train again with another seed.

    A share of the candidates is repeated, spread evenly over the order of their proposals, at each rung at
    which they have a score.

    Args:
        view: the study's trials with its own seed.
        repeated: its trials with the other seed.
        share: of the candidates, from 0 to 1.

    Returns:
        The candidate and the rung; None if nothing is left to repeat.
    """
    chosen = {c.id for c in view.candidates if int((c.ordinal + 1) * share) > int(c.ordinal * share)}
    begun = {(trial.candidate, trial.rung): trial for trial in repeated.trials}
    for rung in sorted(view.rungs, reverse=True):
        for trial in view.rungs[rung]:
            below = begun.get((trial.candidate, rung - 1))
            ready = rung == 0 or (below is not None and below.state == "done")
            wanted = trial.candidate in chosen and trial.state == "done"
            if wanted and ready and (trial.candidate, rung) not in begun:
                return Promotion(trial.candidate, rung)
    return None


def quota(ended: int, eta: float) -> int:
    """How many of the trials that ended at a rung may be promoted."""
    return math.floor(ended / eta + 1e-9)


def ranked(ended: list[SnapshotTrial], seed: int) -> list[SnapshotTrial]:
    """The trials that may be promoted, best first; without failed ones and ones at their floor."""
    able = sorted((trial for trial in ended if not trial.at_floor), key=lambda trial: _tie(trial, seed))
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


def _tie(trial: SnapshotTrial, seed: int) -> bytes:
    """A random key that depends only on the seed and the trial."""
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
