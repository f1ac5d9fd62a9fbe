"""A rule of promotion that knows every score, and shows what the best possible promotion reaches."""

from search.choose.promote import Promotion
from search.choose.snapshot import Snapshot
from search.pareto import pareto
from search.planning.reach import Judge


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
