"""Surfaces of a table: what a simulated trial of a candidate scores.

`RowsSurface` knows the trained candidates and what they scored. `EnsembleSurface` knows every candidate of
the space, by regressions that `search.table.ensemble` fits.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from search.choose.snapshot import TaskFraction
from search.planning.clock import Result
from search.table.features import Features
from search.table.noise import Episodes, root
from search.table.records import Table, TrainedRung
from search.table.regression import Regression, Scale
from space.candidate import CandidateConfig
from space.cost import Cost
from space.errors import StudyFileError
from space.records import SuiteRecord

WAVES = 64  # of a random field
LENGTH = 0.5  # scale of a random field, in median distances between candidates
DEGREES = 5  # of freedom of the waves' frequencies: a Matern-5/2 field


class RowsSurface:
    """The candidates of a table, with the scores that they had.

    Args:
        table: the table.
    """

    def __init__(self, table: Table) -> None:
        self._suite = table.header.suite
        self._top = table.num_rungs - 1
        self._rows = {row.candidate: row for row in table.rows}

    def trial(self, candidate: CandidateConfig, cost: Cost, rung: int, seed: int) -> Result:
        """What a candidate of the table scored at a rung with the table's first seed.

        Raises:
            StudyFileError: the candidate is not in the table.
        """
        row = self._rows.get(candidate.id)
        if row is None:
            raise StudyFileError(f"a table's rows are its candidates, and '{candidate.id}' is not among them")
        return _result(self._suite, row.at(rung))

    def truth(self, candidate: CandidateConfig, cost: Cost, rung: int = -1) -> float | None:
        """The mean score over its seeds at a rung, by default the top one; None if training diverges."""
        rung = range(self._top + 1)[rung]
        row = self._rows[candidate.id]
        scores = [t.score for t in (*row.rungs, *row.repeats) if t.rung == rung and t.score is not None]
        own = row.at(rung)
        return None if own is None or own.diverged else float(np.mean(scores))


def _result(suite: SuiteRecord, trial: TrainedRung | None) -> Result:
    if trial is None or trial.diverged:
        return Result()
    return Result.of(suite, {n: TaskFraction(s.fraction, s.fraction_stderr) for n, s in trial.tasks.items()})


class Divergence:
    """The probability that training diverges: a logistic regression; 0 where no candidate did.

    Args:
        features: of the table's candidates, shape (candidates, columns).
        diverged: which of them diverged, shape (candidates,).
    """

    def __init__(self, features: np.ndarray, diverged: np.ndarray) -> None:
        self._mean, self._spread = features.mean(axis=0), features.std(axis=0) + 1e-9
        self._model: LogisticRegression | None = None
        self._always = bool(diverged.all())
        if diverged.any() and not self._always:
            self._model = LogisticRegression(max_iter=1000)
            self._model.fit((features - self._mean) / self._spread, diverged)

    def probability(self, features: np.ndarray) -> float:
        """Of one candidate with features of shape (columns,)."""
        if self._model is None:
            return float(self._always)
        standard = (features - self._mean) / self._spread
        return float(self._model.predict_proba(standard[None])[0, 1])


class RandomField:
    """A smooth random function of the features for each task and rung, by random waves.

    Rahimi 2007, https://papers.nips.cc/paper/3182-random-features-for-large-scale-kernel-machines.

    Args:
        features: of the table's candidates, shape (candidates, columns).
        covariances: of the rungs, shape (tasks, rungs, rungs).
        rng: generator of random numbers.
    """

    def __init__(self, features: np.ndarray, covariances: np.ndarray, rng: np.random.Generator) -> None:
        self._mean, self._spread = features.mean(axis=0), features.std(axis=0) + 1e-9
        standard = (features - self._mean) / self._spread
        distances = np.linalg.norm(standard[:, None] - standard[None], axis=-1)
        length = LENGTH * float(np.median(distances[np.triu_indices(len(standard), 1)])) + 1e-9
        shape = (WAVES, features.shape[1])
        stretch = np.sqrt(DEGREES / rng.chisquare(DEGREES, size=(WAVES, 1)))
        self._frequencies = rng.standard_normal(shape) * stretch / length
        self._phases = rng.uniform(0, 2 * np.pi, WAVES)
        tasks, rungs = covariances.shape[:2]
        amplitudes = rng.standard_normal((tasks, rungs, WAVES)) * np.sqrt(2 / WAVES)
        roots = np.array([root(covariance) for covariance in covariances])
        self._amplitudes = roots @ amplitudes

    def at(self, features: np.ndarray) -> np.ndarray:
        """Values at one candidate with features of shape (columns,); shape (tasks, rungs)."""
        standard = (features - self._mean) / self._spread
        return self._amplitudes @ np.cos(self._frequencies @ standard + self._phases)


class EnsembleSurface:
    """One member of an ensemble, with noise; every candidate of the space has a score.

    Args:
        name: that the noise depends on, such as "report/3".
        suite: the tasks.
        features: of candidates.
        regressions: of each task.
        scales: of each task.
        episodes: noise of scoring, of each task.
        noise: roots of the covariances between seeds, shape (tasks, rungs, rungs).
        field: what the regressions leave.
        divergence: of training.
        refuse: whether to refuse candidates whose costs the table does not cover; otherwise they score as the
            nearest cost that it covers, and are noted in `features.clamped`.
    """

    def __init__(
        self,
        name: str,
        suite: SuiteRecord,
        features: Features,
        regressions: Sequence[Regression],
        scales: Sequence[Scale],
        episodes: Sequence[Episodes],
        noise: np.ndarray,
        field: RandomField,
        divergence: Divergence,
        refuse: bool = False,
    ) -> None:
        self.name, self.suite, self.features = name, suite, features
        self._regressions, self._scales, self._episodes = regressions, scales, episodes
        self._noise, self._field, self._divergence, self._refuse = noise, field, divergence, refuse
        self._known: dict[str, np.ndarray | None] = {}

    def trial(self, candidate: CandidateConfig, cost: Cost, rung: int, seed: int) -> Result:
        """What a trial of the candidate scores; it depends on the arguments and the surface's name alone.

        Raises:
            StudyFileError: the candidate's costs are refused.
        """
        logits = self.logits(candidate, cost)
        if logits is None:
            return Result()
        of_seed = self._rng(candidate.id, seed)
        moved = logits + np.einsum("trs,ts->tr", self._noise, of_seed.standard_normal(logits.shape))
        of_episodes = self._rng(candidate.id, seed, rung)
        tasks = {}
        for number, task in enumerate(self.suite.tasks):
            fraction = float(self._scales[number].fraction(moved[number, rung]))
            tasks[task] = TaskFraction(*self._episodes[number].measured(fraction, of_episodes))
        return Result.of(self.suite, tasks)

    def truth(self, candidate: CandidateConfig, cost: Cost, rung: int = -1) -> float | None:
        """The score at a rung, by default the top one, without noise; None if training diverges."""
        logits = self.logits(candidate, cost)
        if logits is None:
            return None
        tasks = {
            task: TaskFraction(float(scale.fraction(of[rung])), 0.0)
            for task, scale, of in zip(self.suite.tasks, self._scales, logits, strict=True)
        }
        return Result.of(self.suite, tasks).score

    def logits(self, candidate: CandidateConfig, cost: Cost) -> np.ndarray | None:
        """Without noise, shape (tasks, rungs), never falling from rung to rung; None if training diverges.

        Raises:
            StudyFileError: the candidate's costs are refused.
        """
        if candidate.id not in self._known:
            self.prepare([(candidate, cost)])
        return self._known[candidate.id]

    def prepare(self, candidates: Sequence[tuple[CandidateConfig, Cost]]) -> None:
        """Predict many candidates at once, which takes a tenth of the time that they take one by one.

        Raises:
            StudyFileError: a candidate's costs are refused.
        """
        new = {candidate.id: (candidate, cost) for candidate, cost in candidates}
        new = {name: of for name, of in new.items() if name not in self._known}
        if not new:
            return
        if self._refuse:
            for candidate, cost in new.values():
                self.features.require_inside(candidate, cost)
        features = np.array([self.features.of(candidate, cost) for candidate, cost in new.values()])
        means = [
            regression.predict(self.features.at_rungs(features, task)).reshape(len(new), -1)
            for task, regression in enumerate(self._regressions)
        ]
        for name, own, mean in zip(new, features, np.stack(means, axis=1), strict=True):
            diverges = self._rng(name).random() < self._divergence.probability(own)
            whole = mean + self._field.at(own)
            self._known[name] = None if diverges else np.maximum.accumulate(whole, axis=1)

    def _rng(self, *parts: object) -> np.random.Generator:
        text = "/".join(map(str, (self.name, *parts)))
        return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))
