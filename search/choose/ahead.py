"""Promotion ahead of the quotas: a candidate trains on where that gains more than trying a new one.

A study that promotes one in `eta` spends most of its compute at the first rung, however good some candidates
look. So, where the quotas promote nothing and a new candidate is proposed, the two are compared: the new
candidate, by what it is expected to gain for the compute of a full training, and the promotion that gains
most for the compute that is left to the top rung. The gain is that of the front at the top rung: of the front
of all candidates for a new one; for a promotion, of those that train, or have trained, at the top rung or are
on their way to it.

New candidates that are tried whatever the models expect are not compared: they go first.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from search.choose.models import models_of
from search.choose.promote import Promotion, PromotionAhead
from search.choose.provenance import TRIED_ANYWAY, provenance
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot, SnapshotTrial

LEAST_SCORED = 6  # candidates with scores, for the models
FACTOR = 0.5  # of a promotion's gain, which is that of a lower front than a new candidate's


class Proposed(Protocol):
    """A new candidate that is proposed."""

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters."""
        ...

    @property
    def origin(self) -> str:
        """The rule that proposed it; see `search.choose.provenance`."""
        ...


class Ahead:
    """Chooses promotions ahead of the quotas.

    Args:
        problem: the study's space, tasks, limits, rungs and seed.
        factor: by which a promotion's gain is multiplied; with a smaller one more new candidates are tried.
    """

    def __init__(self, problem: Problem, factor: float = FACTOR) -> None:
        self._models, self._factor = models_of(problem), factor
        tokens = np.array(problem.rungs.tokens, dtype=float)
        self._left = 1 - tokens / tokens[-1]  # of a full training, at each rung
        self._top = len(tokens) - 1

    def __call__(self, view: Snapshot, proposed: Proposed) -> Promotion | None:
        """The promotion that gains more than the new candidate that is proposed; None if there is none."""
        if provenance(proposed.origin).rule in TRIED_ANYWAY:
            return None
        if len({trial.candidate for trial in self._models.scored(view)}) < LEAST_SCORED:
            return None
        able = self._able(view)
        try:
            return self._best(view, able, proposed) if able else None
        except np.linalg.LinAlgError:
            return None  # the origin of the next candidate says that the models cannot be fitted

    def _able(self, view: Snapshot) -> list[SnapshotTrial]:
        """The last trials of the candidates that can be promoted; those of a belief train on anyway."""
        last = {trial.candidate: trial for trial in sorted(view.trials, key=lambda trial: trial.rung)}
        done = [trial for trial in last.values() if trial.state == "done" and not trial.at_floor]
        return [trial for trial in done if trial.rung < self._top and trial.candidate not in view.believed]

    def _best(self, view: Snapshot, able: Sequence[SnapshotTrial], proposed: Proposed) -> Promotion | None:
        """The best promotion, if it is better than the new candidate."""
        outlook = self._models.outlook(view)
        params = {candidate.id: candidate.params for candidate in view.candidates}
        pool, kept = outlook.space.encode([params[trial.candidate] for trial in able])
        if not len(kept):
            return None
        able = [able[i] for i in kept]
        expected = outlook.of_promotions(pool)
        value = expected.gain / (expected.cost * self._left[[trial.rung for trial in able]])
        best = int(np.argmax(value))
        new, held = outlook.space.encode([proposed.params])
        if not len(held) or self._factor * value[best] <= outlook.of(new).value[0]:
            return None
        return PromotionAhead(able[best].candidate, able[best].rung + 1)
