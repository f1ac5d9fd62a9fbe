"""The order of promotion by expected gain: whose promotion improves the front most for its cost."""

from collections.abc import Sequence

import numpy as np

from search.choose.kinds import rare_kind_first
from search.choose.models import models_of
from search.choose.promote import ranked
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot, SnapshotTrial

LEAST_SCORED = 6  # candidates with scores, for the models; with fewer, candidates are ordered by rank
COST_POWER = 0.5  # of FLOPs


def by_gain(trials: Sequence[SnapshotTrial], view: Snapshot, problem: Problem) -> Sequence[SnapshotTrial]:
    """Order the trials that may be promoted by the expected gain of the front at the top rung.

    The front is that of the candidates that were promoted from this rung before. If fewer than a fifth of
    them are sparse, sparse ones come first; likewise dense ones.

    Args:
        trials: the trials of one rung that may be promoted.
        view: the study's candidates and trials.
        problem: its space, tasks, limits, rungs and seed.
    """
    by_rank = ranked(trials, problem.seed, problem.objectives)
    models = models_of(problem)
    scored = {trial.candidate for trial in models.scored(view)}
    if len(scored) < LEAST_SCORED or len(trials) < 2:
        return by_rank
    known = {candidate.id: candidate.params for candidate in view.candidates}
    names = [trial.candidate for trial in by_rank]
    pool, kept = models.space.encode([known[name] for name in names])
    points = models.space.points(pool)
    rung = by_rank[0].rung
    above = [trial for trial in view.trials if trial.rung > rung]
    alive = {trial.candidate for trial in above if trial.state != "failed"}
    promoted = np.array([names[i] in alive for i in kept], dtype=bool)
    begun = {trial.candidate for trial in above}  # a kind that fails above is not tried again and again
    tried = np.array([names[i] in begun for i in kept], dtype=bool)
    above_rung = points.take(np.flatnonzero(promoted))
    try:
        front = models.surrogate(view).front(above_rung, least_score=problem.threshold)
    except np.linalg.LinAlgError:
        return by_rank  # the origin of the next candidate says that the models cannot be fitted
    gain = front.gain(points, models.space.most_log_costs)
    value = gain / np.exp(COST_POWER * points.log_flops)
    order = rare_kind_first(np.argsort(-value, kind="stable"), points.sparse, points.sparse[tried])
    order = np.concatenate((order[promoted[order]], order[~promoted[order]]))  # the promoted hold places
    ordered = [by_rank[kept[i]] for i in order]
    rest = [trial for i, trial in enumerate(by_rank) if i not in set(kept.tolist())]
    return [*ordered, *rest]
