"""How noisy the scores of a table are: between seeds, over episodes, and beside a fitted regression.

All covariances are between the rungs of one candidate, on a task's logit scale. Noise between seeds comes
from the candidates that were trained twice; the noise of scoring is that of the episodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from search.table.records import Table, TrainedRung
from search.table.regression import Scale
from space.records import TaskRecord
from space.scores import TaskScore

SHRINK = 4.0  # repeats that the mean covariance over the tasks counts as
NEIGHBOURS = 5  # scores whose standard errors are averaged
TOLERANCE = 0.02  # relative, for the standard error of a share of successes


@dataclass(frozen=True)
class SeedNoise:
    """Noise between seeds.

    Attributes:
        covariances: of each task, shape (tasks, rungs, rungs).
        repeats: candidates that it was measured on.
        source: "repeats", or "residuals" where a table has none: half of what a regression leaves.
    """

    covariances: np.ndarray
    repeats: int
    source: Literal["repeats", "residuals"]


def seed_noise(table: Table, scales: Sequence[Scale], residuals: np.ndarray) -> SeedNoise:
    """Measure the noise between seeds, without that of the episodes.

    A task's covariance is shrunk towards the mean over the tasks, because few candidates are repeated.

    Args:
        table: the table.
        scales: of each task.
        residuals: covariances of what a regression leaves, shape (tasks, rungs, rungs), for tables without
            repeats.
    """
    pairs = [(row.rungs, row.repeats) for row in table.rows if len(row.repeats) == table.num_rungs]
    pairs = [(own, other) for own, other in pairs if not (own[-1].diverged or other[-1].diverged)]
    if not pairs:
        return SeedNoise(0.5 * residuals, 0, "residuals")
    found = []
    for task, scale in zip(table.tasks, scales, strict=True):
        logits = [
            [scale.logit(np.array([trial.tasks[task].fraction for trial in of])) for of in pair]
            for pair in pairs
        ]
        differences = np.array([own - other for own, other in logits])
        trials = [[trial.tasks[task] for trial in of] for pair in pairs for of in pair]
        found.append(
            differences.T @ differences / (2 * len(pairs)) - np.diag(episode_variance(scale, trials))
        )
    raw = np.array(found)
    weight = len(pairs) / (len(pairs) + SHRINK)
    covariances = [positive(weight * of + (1 - weight) * raw.mean(axis=0)) for of in raw]
    return SeedNoise(np.array(covariances), len(pairs), "repeats")


def episode_variance(scale: Scale, scores: Sequence[Sequence[TaskScore]]) -> np.ndarray:
    """Mean variance of a task's logit over the episodes, shape (rungs,).

    Args:
        scale: of the task.
        scores: of each candidate, one for each rung.
    """
    fractions = np.array([[score.fraction for score in of] for of in scores])
    stderrs = np.array([[score.fraction_stderr for score in of] for of in scores])
    return np.mean((stderrs / scale.slope(fractions)) ** 2, axis=0)


def positive(matrix: np.ndarray) -> np.ndarray:
    """The nearest covariance: negative eigenvalues become 0."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


def root(covariance: np.ndarray) -> np.ndarray:
    """A matrix whose product with standard normal numbers has a covariance; it may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))


class Episodes:
    """The noise of scoring one task: of a share of successes binomial, otherwise normal.

    Args:
        task: its name.
        record: its floor and expert.
        trials: of the table.
    """

    def __init__(self, task: str, record: TaskRecord, trials: Sequence[TrainedRung]) -> None:
        scores = [trial.tasks[task] for trial in trials if trial.tasks]
        self._floor, expert = record.checked("select")
        self._gain = expert.mean - self._floor.mean
        self.n = scores[0].n
        self.binomial = all(map(_is_share, scores))
        self._fractions = np.array([score.fraction for score in scores])
        self._stderrs = np.array([score.fraction_stderr for score in scores])

    def measured(self, fraction: float, rng: np.random.Generator) -> tuple[float, float]:
        """A fraction as the episodes would measure it, and its standard error."""
        if self.binomial:
            successes = np.clip(self._floor.mean + fraction * self._gain, 0.0, 1.0)
            share = rng.binomial(self.n, successes) / self.n
            stderr = (share * (1 - share) / max(self.n - 1, 1)) ** 0.5 / abs(self._gain)
            return float((share - self._floor.mean) / self._gain), float(stderr)
        nearest = np.argsort(np.abs(self._fractions - fraction))[:NEIGHBOURS]
        stderr = float(self._stderrs[nearest].mean())
        return float(fraction + stderr * rng.standard_normal()), stderr


def _is_share(score: TaskScore) -> bool:
    """Whether a score looks like a share of successes: its standard error is the binomial one."""
    if not 0 <= score.value <= 1 or score.n < 2:
        return False
    expected = (score.value * (1 - score.value) / (score.n - 1)) ** 0.5
    return abs(score.stderr - expected) <= TOLERANCE * expected + 1e-6
