"""Syne Tune's MO-ASHA, as released and with its priority mended.

It stops and does not promote: when a trial reaches a rung, its priority among the trials that were there
before decides at once whether it goes on (among the first one in `eta`) or ends. Priorities come from
non-dominated sorting, within a layer by an epsilon net. As released, the sorting returns an ordering (place
-> trial) where the rule expects ranks (trial -> place), so that a trial goes on almost at random. The rule is
written here in our own words.

Schmucker 2021 (https://arxiv.org/abs/2106.12639); Syne Tune's `schedulers/multiobjective/moasha.py`.
"""

import numpy as np

from search.choose.promote import Promotion
from search.choose.snapshot import Snapshot, SnapshotTrial
from search.pareto import nondominated_rank


class MOASHA:
    """A rule of promotion for one run; it remembers which trials were stopped.

    Args:
        rungs: number of rungs.
        eta: one in so many goes on.
        mended: whether the ordering is turned into ranks.
    """

    def __init__(self, rungs: int, eta: float, mended: bool) -> None:
        self._rungs, self._eta, self._mended = rungs, eta, mended
        self._recorded: dict[int, dict[str, SnapshotTrial]] = {rung: {} for rung in range(rungs)}

    def __call__(self, view: Snapshot, *, enough_peers: bool) -> Promotion | None:
        """The next rung of a trial that has just reached its rung and goes on; None if it was stopped."""
        for trial in view.trials:
            if trial.state != "done" or trial.rung == self._rungs - 1:
                continue
            recorded = self._recorded[trial.rung]
            if trial.candidate in recorded:
                continue
            recorded[trial.candidate] = trial
            if self._goes_on(list(recorded.values())):
                return Promotion(trial.candidate, trial.rung + 1)
        return None

    def _goes_on(self, recorded: list[SnapshotTrial]) -> bool:
        """Whether the last trial goes on."""
        if len(recorded) == 1:
            return True
        order = ordering(np.array([(t.score, np.log(t.flops_per_token)) for t in recorded]))
        priorities = np.argsort(order) if self._mended else order
        return float(np.mean(priorities < priorities[-1])) <= 1 / self._eta


def ordering(points: np.ndarray) -> np.ndarray:
    """Indices by layer, within a layer each time the point farthest from those before; the best score first.

    Args:
        points: (points, 2) score and log FLOPs.
    """
    layers = nondominated_rank(np.column_stack((points[:, 0], np.exp(points[:, 1]))))
    scaled = (points - points.mean(0)) / np.maximum(points.std(0), 1e-9)
    order: list[int] = []
    for layer in np.unique(layers):
        left = np.flatnonzero(layers == layer).tolist()
        chosen = [max(left, key=lambda i: points[i, 0])]
        left.remove(chosen[0])
        while left:
            nearest = [min(float(np.sum((scaled[i] - scaled[j]) ** 2)) for j in chosen) for i in left]
            chosen.append(left.pop(int(np.argmax(nearest))))
        order += chosen
    return np.array(order)
