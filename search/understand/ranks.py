"""Do the rungs of a study agree? Rank correlations of the scores at each pair of rungs."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from search.choose.snapshot import Snapshot

FEWEST = 5  # candidates with scores at both rungs
BOOTSTRAP = 1000
TAIL = 0.05


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a rung predicts the order at a higher one.

    Attributes:
        candidates: with scores at both; a study promotes the best, and among those ranks agree less.
        correlation: Spearman's.
        interval: its 90% interval, by bootstrap over the candidates.
    """

    lower: int
    upper: int
    candidates: int
    correlation: float
    interval: tuple[float, float]


def agreements(view: Snapshot, rungs: int) -> tuple[Agreement, ...]:
    """Rank correlations of each pair of rungs; pairs with fewer than five candidates are left out."""
    scores: dict[int, dict[str, float]] = {rung: {} for rung in range(rungs)}
    for trial in view.trials:
        if trial.state == "done" and trial.score is not None and trial.rung < rungs:
            scores[trial.rung][trial.candidate] = trial.score
    found = []
    for lower, upper in combinations(range(rungs), 2):
        both = sorted(scores[lower].keys() & scores[upper].keys())
        pairs = np.array([(scores[lower][name], scores[upper][name]) for name in both]).reshape(-1, 2)
        if len(pairs) < FEWEST or (np.ptp(pairs, axis=0) == 0).any():
            continue
        rng = np.random.default_rng(0)
        drawn = [_spearman(pairs[rng.integers(len(pairs), size=len(pairs))]) for _ in range(BOOTSTRAP)]
        low, high = np.nanquantile(drawn, (TAIL, 1 - TAIL))
        found.append(Agreement(lower, upper, len(pairs), _spearman(pairs), (float(low), float(high))))
    return tuple(found)


def _spearman(pairs: np.ndarray) -> float:
    """Spearman's correlation of pairs (candidates, 2); NaN where one side is constant."""
    ranks = rankdata(pairs, axis=0)
    centred = ranks - ranks.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=0).prod())
    return float(centred.prod(axis=1).sum() / size) if size > 0 else float("nan")
