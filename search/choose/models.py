"""The models of one study, shared by its sampler and its order of promotion."""

from collections.abc import Sequence
from functools import cached_property
from itertools import chain

import numpy as np

from search.choose.outlook import Outlook
from search.choose.pool import PoolSpace
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot, SnapshotTrial
from search.surrogate.columns import Encoder
from search.surrogate.surrogate import ALL, Observations, Surrogate, Use

SAMPLE = 400  # points by which columns are centred and scaled
DIGITS = 9  # of scores, after the point: the last bits of arithmetic decide no proposal


def models_of(problem: Problem, use: Use = ALL, per_task: bool = True) -> "Models":
    """The models of a study; the same for each caller in this process.

    Args:
        problem: the study's space, tasks, limits, seed and rungs.
        use: which parts of the surrogate are used.
        per_task: whether each task has a law of its own, instead of one law of the score.
    """
    key = use, per_task
    if key not in problem.memory:
        problem.memory[key] = Models(problem, use, per_task)
    return problem.memory[key]


class Models:
    """The space of a study in numbers, and the surrogate that is fitted to its scores.

    Args:
        problem: the study's space, tasks, limits, seed and rungs.
        use: which parts of the surrogate are used.
        per_task: whether each task has a law of its own.
    """

    def __init__(self, problem: Problem, use: Use, per_task: bool) -> None:
        self._problem, self._use, self._per_task = problem, use, per_task
        self._encoders: dict[bool, Encoder] = {}
        self._fitted: tuple[frozenset[object], Surrogate] | None = None
        self._looked: tuple[Snapshot, Outlook] | None = None

    @cached_property
    def space(self) -> PoolSpace:
        """The space in numbers."""
        earlier = None if self._problem.belief is None else self._problem.belief.earlier
        return PoolSpace(self._problem, None if earlier is None else earlier.above)

    def _encoder(self, per_task: bool) -> Encoder:
        """The columns of the models, with a law for each task or one for the score."""
        if per_task not in self._encoders:
            problem = self._problem
            sample = self.space.points(self.space.random(np.random.default_rng(0), SAMPLE, 0.0))
            made = Encoder(problem.space, problem.suite, problem.rungs, sample, per_task)
            self._encoders[per_task] = made
        return self._encoders[per_task]

    def scored(self, view: Snapshot) -> list[SnapshotTrial]:
        """Trials with a score, at a rung of the study, of candidates that the space still holds."""
        held = {c.id for c in view.candidates if self.space.number_of(c.params) is not None}
        rungs = len(self._problem.rungs.tokens)
        done = [t for t in view.trials if t.state == "done" and t.score is not None]
        return [t for t in done if t.rung < rungs and t.candidate in held]

    def surrogate(self, view: Snapshot) -> Surrogate:
        """The surrogate, fitted again only if there are new scores.

        If no trial has scores of tasks, as with a trainer of the user's, the score has one law.

        Raises:
            numpy.linalg.LinAlgError: it cannot be fitted.
        """
        scored = self.scored(view)
        key = frozenset((t.candidate, t.rung, t.score, t.stderr) for t in scored)
        if self._fitted is None or self._fitted[0] != key:
            self.space = self.space.fresh()
            per_task = self._per_task and any(trial.tasks for trial in scored)
            seen = self._observations(view, scored, per_task)
            self._fitted = key, Surrogate(self._encoder(per_task), seen, self._use)
        return self._fitted[1]

    def outlook(self, view: Snapshot) -> Outlook:
        """What is expected of candidates now; made again only for another snapshot.

        Raises:
            numpy.linalg.LinAlgError: the surrogate cannot be fitted.
        """
        if self._looked is None or self._looked[0] is not view:
            surrogate = self.surrogate(view)
            self._looked = view, Outlook(self.space, surrogate, view, self._problem.threshold)
        return self._looked[1]

    def _observations(self, view: Snapshot, scored: Sequence[SnapshotTrial], per_task: bool) -> Observations:
        """The scores of done trials as numbers, rounded, by rising rung."""
        params = {candidate.id: candidate.params for candidate in view.candidates}
        ordinal = {candidate.id: candidate.ordinal for candidate in view.candidates}
        trials = sorted(scored, key=lambda trial: (trial.rung, ordinal[trial.candidate]))
        pool, _ = self.space.encode([params[trial.candidate] for trial in trials])
        score = np.array([trial.score for trial in trials], dtype=float)
        stderr = np.array([trial.stderr or 0.0 for trial in trials])
        values, errors = score[None], stderr[None]
        if per_task:
            unknown = (np.nan, 0.0)
            tasks = self._problem.suite.tasks
            pairs = (trial.tasks.get(task, unknown) for trial in trials for task in tasks)
            flat = np.fromiter(chain.from_iterable(pairs), dtype=float)  # far faster than np.array of tuples
            values, errors = flat.reshape(len(trials), len(tasks), 2).T
        return Observations(
            points=self.space.points(pool),
            candidate=np.array([ordinal[trial.candidate] for trial in trials]),
            rung=np.array([trial.rung for trial in trials]),
            fractions=values.round(DIGITS),
            fraction_stderr=errors.round(DIGITS),
            score=score.round(DIGITS),
            stderr=stderr.round(DIGITS),
        )
