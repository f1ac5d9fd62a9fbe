"""An ensemble that is fitted on a table: surfaces on which every candidate of the space has a score.

Each task has one regression over all rungs, of the family that predicts held-out candidates best. A surface
is a refit on a bootstrap sample of the candidates, plus a smooth random field as large as what the regression
leaves unexplained. A trial on it adds noise between seeds, which is correlated between the rungs of a
candidate, and the noise of the episodes.

Surfaces are numbered in two series, so that what is tuned on `development` is reported on `report`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from search.table.facts import rank_correlation
from search.table.features import Features
from search.table.noise import Episodes, SeedNoise, episode_variance, positive, root, seed_noise
from search.table.records import Table
from search.table.regression import (
    BLENDS,
    Fit,
    Regression,
    Scale,
    blended,
    families,
    folds_of,
    held_out,
)
from search.table.surfaces import Divergence, EnsembleSurface, RandomField
from space.errors import StudyFileError
from space.scores import score_weights

FEWEST = 10  # candidates, to fit anything
Series = Literal["development", "report"]


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """How well one task is predicted on held-out candidates, by the family that was chosen for it.

    Attributes:
        errors: family -> root mean square error of the fraction over all rungs.
        rmse: of the chosen family at each rung.
        spread: standard deviation of the fraction over the candidates, at each rung.
        rank_correlation: Spearman's, of predicted and measured fractions at each rung; None where equal.
        seed_sd: noise between seeds at each rung, on the logit scale.
        misfit_sd: of the random field at each rung, on the logit scale.
        binomial: whether the task's noise of scoring is that of a share of successes.
    """

    task: str
    family: str
    errors: dict[str, float]
    rmse: tuple[float, ...]
    spread: tuple[float, ...]
    rank_correlation: tuple[float | None, ...]
    seed_sd: tuple[float, ...]
    misfit_sd: tuple[float, ...]
    binomial: bool


@dataclass(frozen=True, slots=True)
class EnsembleFacts:
    """How well an ensemble predicts held-out candidates.

    Attributes:
        candidates: that it was fitted on.
        folds: parts of the candidates that were held out in turn.
        rmse: of the score at each rung.
        spread: standard deviation of the score over the candidates, at each rung.
        rank_correlation: Spearman's, of predicted and measured scores at each rung.
        seed_noise: what the noise between seeds was measured on: "repeats" or "residuals".
        repeats: candidates that it was measured on.
        falls: share of the steps from rung to rung at which a task's fraction fell by more than two standard
            errors; surfaces have none.
    """

    candidates: int
    folds: int
    rmse: tuple[float, ...]
    spread: tuple[float, ...]
    rank_correlation: tuple[float | None, ...]
    seed_noise: str
    repeats: int
    falls: float
    tasks: tuple[TaskFacts, ...]


@dataclass(frozen=True)
class _TaskFit:
    """The chosen regression of a task, and what it predicts for held-out candidates."""

    scale: Scale
    family: str
    fit: Fit
    errors: dict[str, float]
    predicted: np.ndarray  # fractions, shape (candidates, rungs)


class Ensemble:
    """Regressions that are fitted on a table, and their noise.

    Args:
        table: at least ten candidates with scores at every rung.
        seed: of the folds, the samples and the noise.

    Raises:
        StudyFileError: the table has too few candidates.
    """

    def __init__(self, table: Table, seed: int = 0) -> None:
        whole = [n for n, row in enumerate(table.rows) if not row.rungs[-1].diverged]
        if len(whole) < FEWEST:
            raise StudyFileError(f"an ensemble is fitted on at least {FEWEST} candidates, got {len(whole)}")
        self.table, self.seed = table, seed
        self.features = Features(table)
        self._all = self.features.of_rows(table, range(len(table.rows)))
        self._x = self._all[whole]
        by_rung = [table.fractions(rung)[whole] for rung in range(table.num_rungs)]
        self._fractions = np.stack(by_rung, axis=1)  # (candidates, rungs, tasks)
        self._folds = folds_of(len(whole), seed)
        self._fits = [self._choose(task) for task in range(len(table.tasks))]
        self._scales = [fit.scale for fit in self._fits]
        scored = [row for n, row in enumerate(table.rows) if n in set(whole)]
        trials = [trial for row in scored for trial in row.rungs]
        suite = table.header.suite
        self._episodes = [Episodes(task, suite.records[task], trials) for task in table.tasks]
        residuals = self._residuals()
        of_episodes = [
            np.diag(episode_variance(scale, [[t.tasks[task] for t in row.rungs] for row in scored]))
            for task, scale in zip(table.tasks, self._scales, strict=True)
        ]
        beyond = np.array([positive(r - e) for r, e in zip(residuals, of_episodes, strict=True)])
        self.noise: SeedNoise = seed_noise(table, self._scales, beyond)
        rest = zip(beyond, self.noise.covariances, strict=True)
        self._misfit = np.array([positive(left - of_seeds) for left, of_seeds in rest])
        self._divergence = Divergence(self._all, np.array([row.rungs[-1].diverged for row in table.rows]))

    def surface(self, series: Series, number: int, refuse: bool = False) -> EnsembleSurface:
        """A surface: a refit on a bootstrap sample of the candidates, a random field, and noise.

        Args:
            series: development for tuning, report for results.
            number: of the surface in its series.
            refuse: whether to refuse candidates whose costs the table does not cover, instead of clamping.
        """
        rng = np.random.default_rng([self.seed, ("development", "report").index(series), number])
        sample = rng.integers(len(self._x), size=len(self._x))
        regressions = [
            self._fitted(task, sample, int(rng.integers(2**31))) for task in range(len(self._fits))
        ]
        return EnsembleSurface(
            name=f"{self.seed}/{series}/{number}",
            suite=self.table.header.suite,
            features=self.features,
            regressions=regressions,
            scales=self._scales,
            episodes=self._episodes,
            noise=np.array([root(of) for of in self.noise.covariances]),
            field=RandomField(self._x, self._misfit, rng),
            divergence=self._divergence,
            refuse=refuse,
        )

    def facts(self) -> EnsembleFacts:
        """How well held-out candidates are predicted, for each task and for the score."""
        predicted = np.stack([fit.predicted for fit in self._fits], axis=2)
        scores, measured = self._scores(predicted), self._scores(self._fractions)
        return EnsembleFacts(
            candidates=len(self._x),
            folds=len(self._folds),
            rmse=_by_rung(np.sqrt(np.mean((scores - measured) ** 2, axis=0))),
            spread=_by_rung(measured.std(axis=0)),
            rank_correlation=_ranks(scores, measured),
            seed_noise=self.noise.source,
            repeats=self.noise.repeats,
            falls=self._falls(),
            tasks=tuple(self._task_facts(task) for task in range(len(self._fits))),
        )

    def _choose(self, task: int) -> _TaskFit:
        """The family that predicts held-out candidates best."""
        fractions = self._fractions[:, :, task]
        scale = Scale.of(fractions)
        x, y = self.features.at_rungs(self._x, task), scale.logit(fractions).reshape(-1)
        groups = np.repeat(np.arange(len(self._x)), fractions.shape[1])
        known = families(x, y, self.seed)
        logits = {name: held_out(fit, x, y, groups, self._folds, self.seed) for name, fit in known.items()}
        for name, parts in BLENDS.items():
            logits[name] = np.mean([logits[part] for part in parts], axis=0)
            known[name] = blended([known[part] for part in parts])
        found = {name: scale.fraction(of).reshape(fractions.shape) for name, of in logits.items()}
        errors = {name: float(np.sqrt(np.mean((p - fractions) ** 2))) for name, p in found.items()}
        best = min(errors, key=errors.__getitem__)
        return _TaskFit(scale, best, known[best], errors, found[best])

    def _fitted(self, task: int, sample: np.ndarray, seed: int) -> Regression:
        fit = self._fits[task]
        y = fit.scale.logit(self._fractions[sample][:, :, task]).reshape(-1)
        return fit.fit(self.features.at_rungs(self._x[sample], task), y, seed)

    def _residuals(self) -> np.ndarray:
        """Covariances of the held-out errors on the logit scale, shape (tasks, rungs, rungs)."""
        found = []
        for task, fit in enumerate(self._fits):
            errors = fit.scale.logit(fit.predicted) - fit.scale.logit(self._fractions[:, :, task])
            found.append(errors.T @ errors / len(errors))
        return np.array(found)

    def _scores(self, fractions: np.ndarray) -> np.ndarray:
        """Scores, shape (candidates, rungs), of fractions of shape (candidates, rungs, tasks)."""
        suite = self.table.header.suite
        weights = score_weights(suite)
        return np.clip(fractions, -1, 1) @ np.array([weights[name] for name in suite.tasks])

    def _falls(self) -> float:
        stderrs = [
            [[trial.tasks[task].fraction_stderr for task in self.table.tasks] for trial in row.rungs]
            for row in self.table.rows
            if not row.rungs[-1].diverged
        ]
        noise = np.array(stderrs)
        if noise.shape[1] < 2:
            return 0.0
        allowed = 2 * np.sqrt(noise[:, 1:] ** 2 + noise[:, :-1] ** 2)
        return float(np.mean(np.diff(self._fractions, axis=1) < -allowed))

    def _task_facts(self, task: int) -> TaskFacts:
        fit, measured = self._fits[task], self._fractions[:, :, task]
        return TaskFacts(
            task=self.table.tasks[task],
            family=fit.family,
            errors=fit.errors,
            rmse=_by_rung(np.sqrt(np.mean((fit.predicted - measured) ** 2, axis=0))),
            spread=_by_rung(measured.std(axis=0)),
            rank_correlation=_ranks(fit.predicted, measured),
            seed_sd=_by_rung(np.sqrt(np.diag(self.noise.covariances[task]))),
            misfit_sd=_by_rung(np.sqrt(np.diag(self._misfit[task]))),
            binomial=self._episodes[task].binomial,
        )


def _by_rung(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


def _ranks(predicted: np.ndarray, measured: np.ndarray) -> tuple[float | None, ...]:
    """Spearman's correlation at each rung; None where one side is constant."""
    return tuple(rank_correlation(p, m) for p, m in zip(predicted.T, measured.T, strict=True))
