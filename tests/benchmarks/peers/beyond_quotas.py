"""Rules of promotion that go beyond the quotas of a study.

`Beyond` promotes a candidate by what it is expected to gain; `Known` knows every score, and shows what the
best possible promotion reaches.
"""

import numpy as np

from search.choose.models import models_of
from search.choose.next_trial import promotion_of
from search.choose.orders import make_order
from search.choose.pathfront import Choice
from search.choose.promote import Promotion
from search.choose.sampler import Feasible, Problem
from search.choose.snapshot import Snapshot, SnapshotTrial
from search.pareto import pareto
from search.planning.reach import Judge
from space.study import StudyConfig

LEAST_SCORED = 6  # candidates with scores, for the models
FACTOR = 0.5  # of the gain of a promotion, where it is compared with that of a new candidate


class Beyond:
    """The quotas, and where these promote nothing, promotions that gain more than a new candidate.

    The gain is that of the front at the top rung over the compute that is left to reach it. A promotion has
    to improve on the candidates that have trained, or train, at the top rung, a new candidate on all of them.

    Args:
        config: the study.
        problem: its space, tasks, limits, rungs and seed.
        rows: the candidates that can be tried; None if all of the space can.
        factor: of a promotion's gain. With a smaller one more new candidates are tried.
    """

    def __init__(
        self, config: StudyConfig, problem: Problem, rows: list[Feasible] | None, factor: float = FACTOR
    ) -> None:
        self._problem, self._rows, self._factor = problem, rows, factor
        self._quotas = promotion_of(config, make_order(config.search, problem))
        self._models = models_of(problem)
        tokens = np.array(config.rungs.tokens, dtype=float)
        self._left = 1 - tokens / tokens[-1]  # of a full training, for each rung

    def __call__(self, view: Snapshot, *, enough_peers: bool) -> Promotion | None:
        """Choose the next promotion."""
        within = self._quotas(view, enough_peers=enough_peers)
        scored = {trial.candidate for trial in self._models.scored(view)}
        if within is not None or not enough_peers or len(scored) < LEAST_SCORED:
            return within
        last = {trial.candidate: trial for trial in sorted(view.trials, key=lambda trial: trial.rung)}
        top = len(self._left) - 1
        able = [t for t in last.values() if t.state == "done" and t.rung < top and not t.at_floor]
        return self._promoted(view, able, last) if able else None

    def _promoted(
        self, view: Snapshot, able: list[SnapshotTrial], last: dict[str, SnapshotTrial]
    ) -> Promotion | None:
        space, surrogate = self._models.space, self._models.surrogate(view)
        known = {candidate.id: candidate.params for candidate in view.candidates}
        pool, kept = space.encode([known[trial.candidate] for trial in able])
        able = [able[i] for i in kept]
        top = len(self._left) - 1
        highest = [t.candidate for t in last.values() if t.rung == top and t.state != "failed"]
        above, _ = space.encode([known[name] for name in highest])
        front = surrogate.front(space.points(above), least_score=self._problem.threshold)
        points = space.points(pool)
        compute = space.compute(points) * self._left[[trial.rung for trial in able]]
        value = front.gain(points, space.most_log_costs) / compute
        best = int(np.argmax(value))
        if self._factor * value[best] < self._of_new(view):
            return None
        return Promotion(able[best].candidate, able[best].rung + 1)

    def _of_new(self, view: Snapshot) -> float:
        """Gain over the compute of the new candidate that would be proposed."""
        space, surrogate = self._models.space, self._models.surrogate(view)
        rng = self._problem.rng(view)
        choice = Choice(space, surrogate, view, rng, least_score=self._problem.threshold)
        if self._rows is None:
            new = next(choice.suggestions()).params
            return float(choice.expected(space.encode([new])[0]).value[0])
        used = {candidate.id for candidate in view.candidates}
        left, _ = space.encode([row.params for row in self._rows if row.candidate.id not in used])
        return float(choice.expected(left).value[choice.order(left)[0]]) if len(left) else 0.0


class Known:
    """Promotes, at once, what is best at the top rung of the candidates that were tried, and nothing else.

    Args:
        judge: knows the scores.
        rungs: of the study.
    """

    def __init__(self, judge: Judge, rungs: int) -> None:
        self._judge, self._rungs = judge, rungs

    def __call__(self, view: Snapshot, *, enough_peers: bool) -> Promotion | None:
        """Choose the next promotion."""
        problem = self._judge.problem
        found = [problem.feasible(candidate.params) for candidate in view.candidates]
        usable = [one for one in found if one is not None]
        scored = [(one, score) for one in usable if (score := self._judge.truth(one)) is not None]
        points = [(score, *problem.costs(one.candidate, one.cost)) for one, score in scored]
        best = {scored[i][0].candidate.id for i in pareto(points) if points[i][0] > self._judge.least_score}
        begun = {(trial.candidate, trial.rung) for trial in view.trials}
        for trial in view.trials:
            onwards = Promotion(trial.candidate, trial.rung + 1)
            able = trial.state == "done" and trial.candidate in best
            if able and onwards.rung < self._rungs and onwards not in begun:
                return onwards
        return None
