"""Predicts the scores of a study's candidates at its top rung.

Two models are fitted. One is a scaling law for each task (`search.surrogate.law`) and a Gaussian process on
what it leaves of the score; the other is a Gaussian process on the score, for studies that follow no such
law. Cross-validation over candidates weighs the two and calibrates their standard deviations.

In a study that begins with an earlier one both expect, beside this, what that one expects (`Points.earlier`)
times a slope that is learnt from this study's scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from search.pareto import reached
from search.surrogate.columns import Encoder, Points
from search.surrogate.ehvi import LEAST_STD, steps
from search.surrogate.fitted import Fitted, Slope
from search.surrogate.fronts import DrawnScores, Front
from search.surrogate.gp import GaussianProcess, Kernel, tuned
from search.surrogate.law import Law, Rows, fit
from search.surrogate.paths import Paths

MOST_ROWS = 250  # of a Gaussian process, the highest rungs first
FOLDS = 4
HELD_OUT = 100  # candidates that are held out: with more than this, the remaining folds are left out
LEAST_CANDIDATES = 8  # for cross-validation
LAW_WEIGHT = 0.75  # without cross-validation
WEIGHTS = np.linspace(0.02, 0.98, 25)
PRIOR_LAW, PRIOR_PLAIN = 3.0, 1.5  # of a beta distribution of the weight
INFLATION = 1.2  # of standard deviations, without cross-validation
CALIBRATED, PSEUDO = 40, 8.0  # latest candidates whose errors calibrate, and what the prior counts for
SCALES = (0.7, 3.0)  # range of the calibration
MOST_KNOWN = 64  # points of a front, those nearest to it
SLOPE, SLOPE_STD = 0.5, 0.5  # prior of how much scores rise with those that an earlier study expects
LEAST_LEFT = 0.01  # standard deviation of a score around its expectation, at least, for that slope


@dataclass(frozen=True)
class Observations:
    """Scores of trials, by rising rung, the latest last.

    Attributes:
        points: (trials,) of their candidates.
        candidate: (trials,) number of the candidate.
        rung: (trials,).
        fractions: (laws, trials) of each task, NaN where unknown; the score itself where it has one law.
        fraction_stderr: the same shape.
        score: (trials,).
        stderr: (trials,) of the score.
    """

    points: Points
    candidate: np.ndarray
    rung: np.ndarray
    fractions: np.ndarray
    fraction_stderr: np.ndarray
    score: np.ndarray
    stderr: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    def take(self, kept: np.ndarray) -> "Observations":
        """Some of the trials."""
        return Observations(
            self.points.take(kept),
            self.candidate[kept],
            self.rung[kept],
            self.fractions[:, kept],
            self.fraction_stderr[:, kept],
            self.score[kept],
            self.stderr[kept],
        )


@dataclass(frozen=True)
class Prediction:
    """Normal distributions of the score at points, one for each model: all (models, points).

    Attributes:
        weights: (models,) of the mixture of both.
        mean: (models, points).
        std: (models, points) of the expected score, without the noise of one training and its episodes.
        noise: (models,) standard deviation of that noise, without the episodes'.
    """

    weights: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    noise: np.ndarray

    @property
    def mixed_mean(self) -> np.ndarray:
        """Mean of the mixture, (points,)."""
        return self.weights @ self.mean

    @property
    def mixed_std(self) -> np.ndarray:
        """Standard deviation of the mixture, (points,)."""
        square = self.weights @ (self.std**2 + self.mean**2)
        return np.sqrt(np.maximum(square - self.mixed_mean**2, 0.0))

    def below(self, scores: np.ndarray, stderr: np.ndarray) -> np.ndarray:
        """Probability of a lower score than one that was measured.

        Args:
            scores: (points,) measured scores.
            stderr: (points,) their standard errors over episodes.

        Returns:
            (points,); uniformly distributed between 0 and 1 if the predictions are calibrated.
        """
        std = np.sqrt(self.std**2 + self.noise[:, None] ** 2 + stderr**2)
        return self.weights @ ndtr((scores - self.mean) / std)


@dataclass(frozen=True)
class Use:
    """Which parts of the surrogate are used; benchmarks leave parts out."""

    law: bool = True
    residual: bool = True
    plain: bool = True


ALL = Use()


class Surrogate:
    """Both models, fitted to a study's scores.

    Args:
        encoder: the columns of the study.
        seen: its scores.
        use: which parts to use.
    """

    def __init__(self, encoder: Encoder, seen: Observations, use: Use = ALL) -> None:
        self.encoder = encoder
        self.seen = seen
        self.use = use
        self._x = encoder.law(seen.points, seen.rung)
        self._inputs = encoder.inputs(seen.points, seen.rung)
        self._trend = _Trend(encoder, seen)
        everything = np.arange(len(seen))
        self.models: list[_Model] = []
        if use.law:
            law = fit(self._rows(everything), encoder.prior)
            self.models.append(_Model(law, self._tuned(law) if use.residual else None))
        if use.plain or not use.law:
            self.models.append(_Model(None, self._tuned(None)))
        self._fitted = [self._fit(model, everything, model.law) for model in self.models]
        self.weights, self.scales = self._cross_validate()

    @property
    def law_weight(self) -> float:
        """Weight of the scaling law; 0 where it is not used."""
        return float(self.weights[0]) if self.use.law else 0.0

    @property
    def law(self) -> Law | None:
        """The scaling law, where it is used."""
        return self.models[0].law

    def predict(self, points: Points, rung: int | None = None) -> Prediction:
        """Predict the scores of points.

        Args:
            points: the points.
            rung: index of the rung; by default the top one.
        """
        at = np.full(len(points), self.encoder.rungs - 1 if rung is None else rung)
        found = [fitted.predict(points, at) for fitted in self._fitted]
        return Prediction(
            self.weights,
            np.stack([mean for mean, _ in found]),
            np.stack([np.sqrt(variance) for _, variance in found]) * self.scales[:, None],
            np.array([model.noise for model in self.models]) * self.scales,
        )

    def front(self, known: Points, predicted: Prediction | None = None, least_score: float = 0.0) -> Front:
        """The front of known points at the top rung, whether they are scored there or not.

        Args:
            known: the points.
            predicted: what `predict` returns for them, if that is known.
            least_score: scores at or below it are not on the front.
        """
        predicted = predicted or self.predict(known)
        step = _bought(predicted.mixed_mean, known.costs, least_score)
        below = (step - predicted.mixed_mean) / np.maximum(predicted.mixed_std, LEAST_STD)
        near = known.take(np.sort(np.argsort(below, kind="stable")[:MOST_KNOWN]))
        top = self.encoder.rungs - 1
        models = zip(self._fitted, self.scales.tolist(), strict=True)
        drawn = [DrawnScores(model, near, top, scale) for model, scale in models]
        return Front(self.weights, drawn, near, least_score)

    def paths(self, count: int, seed: int = 0) -> Paths:
        """Functions from points to scores at the top rung, drawn from the posterior.

        Args:
            count: of functions.
            seed: of the draws.
        """
        return Paths(self._fitted, self.weights, self.scales, self.encoder.rungs - 1, count, seed)

    def _rows(self, kept: np.ndarray) -> Rows:
        seen = self.seen
        return Rows(self._x[:, kept], seen.fractions[:, kept], seen.fraction_stderr[:, kept])

    def _tuned(self, law: Law | None) -> Kernel:
        """The kernel of what a law, or the trend, leaves of the scores."""
        rows = np.arange(len(self.seen))[-MOST_ROWS:]
        _, left = self._left(law, rows)
        return tuned(self._inputs[rows], left, self.seen.stderr[rows] ** 2, self.encoder.groups)

    def _fit(self, model: "_Model", kept: np.ndarray, law: Law | None) -> Fitted:
        """Condition a model on some of the scores."""
        rows = kept[-MOST_ROWS:]
        slope, left = self._left(law, rows)
        process = None
        if model.kernel is not None:
            noise = self.seen.stderr[rows] ** 2
            process = GaussianProcess(self._inputs[rows], left, noise, model.kernel)
        return Fitted(self.encoder, law, self._trend, process, slope)

    def _left(self, law: Law | None, rows: np.ndarray) -> tuple[Slope | None, np.ndarray]:
        """What a law, or the trend, and the earlier study leave of some scores; see `_leaning`."""
        fitted = Fitted(self.encoder, law, self._trend)
        expected = fitted.expected(self.seen.points.take(rows), self.seen.rung[rows]).mean(axis=0)
        return self._leaning(self.seen.score[rows] - expected, rows)

    def _leaning(self, left: np.ndarray, rows: np.ndarray) -> tuple[Slope | None, np.ndarray]:
        """How much scores rise with what the earlier study expects, and what that leaves of them, (rows,).

        Args:
            left: (rows,) what a model leaves of the scores.
            rows: (rows,) which scores.
        """
        earlier = self.seen.points.earlier
        if earlier is None:
            return None, left
        last = _last_of_each(self.seen.candidate[rows])  # scores of one candidate are not independent
        x, y = earlier[rows][last], left[last]
        noise = LEAST_LEFT**2 + float(np.var(y))
        precision = SLOPE_STD**-2 + float(x @ x) / noise
        slope = Slope((SLOPE * SLOPE_STD**-2 + float(x @ y) / noise) / precision, precision**-0.5)
        return slope, left - slope.mean * earlier[rows]

    def _cross_validate(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (models,) and scales of the standard deviations (models,)."""
        count = len(self.models)
        names = np.unique(self.seen.candidate)
        if len(names) < LEAST_CANDIDATES:
            weights = np.array([LAW_WEIGHT, 1 - LAW_WEIGHT]) if count == 2 else np.ones(1)
            return weights, np.full(count, INFLATION)
        folds = min(FOLDS, math.ceil(HELD_OUT * FOLDS / len(names)))
        fold_of = np.searchsorted(names, self.seen.candidate) % FOLDS
        last = _last_of_each(self.seen.candidate)
        last = last[fold_of[last] < folds]
        errors, deviations = np.empty((count, len(last))), np.empty((count, len(last)))
        for fold in range(folds):
            kept = np.flatnonzero(fold_of != fold)
            held = np.flatnonzero(fold_of[last] == fold)
            rows = last[held]
            points, rung = self.seen.points.take(rows), self.seen.rung[rows]
            for m, model in enumerate(self.models):
                law = None if model.law is None else fit(self._rows(kept), self.encoder.prior, model.law)
                mean, variance = self._fit(model, kept, law).predict(points, rung)
                noise = model.noise**2 + self.seen.stderr[rows] ** 2
                errors[m, held] = self.seen.score[rows] - mean
                deviations[m, held] = np.sqrt(variance + noise)
        z = (errors / deviations)[:, -CALIBRATED:]
        scales = np.clip(np.sqrt((PSEUDO + (z**2).sum(axis=1)) / (PSEUDO + z.shape[1])), *SCALES)
        return _stacked(errors, deviations * scales[:, None]), scales


@dataclass(frozen=True)
class _Model:
    """A law with the kernel of its residuals, or no law and the kernel of the score itself."""

    law: Law | None
    kernel: Kernel | None

    @property
    def noise(self) -> float:
        return 0.02 if self.kernel is None else self.kernel.noise


class _Trend:
    """The mean of the plain Gaussian process: linear in the logarithms of FLOPs and tokens."""

    def __init__(self, encoder: Encoder, seen: Observations) -> None:
        self._encoder = encoder
        self._level = float(np.mean(seen.score))
        self._at = float(np.mean(seen.points.log_flops))
        x = self._columns(seen.points, seen.rung)
        ridge = x.T @ x + np.diag([0.0, 2.0, 2.0]) + 1e-9 * np.eye(3)
        self._slopes = np.linalg.solve(ridge, x.T @ (seen.score - self._level))

    def __call__(self, points: Points, rungs: np.ndarray) -> np.ndarray:
        return self._level + self._columns(points, rungs) @ self._slopes

    def _columns(self, points: Points, rungs: np.ndarray) -> np.ndarray:
        tokens = self._encoder.log_tokens[rungs]
        return np.column_stack((np.ones(len(points)), points.log_flops - self._at, tokens))


def _bought(scores: np.ndarray, log_costs: np.ndarray, least_score: float) -> np.ndarray:
    """Best score of the points that are no dearer in any cost, (points,); at least the least score."""
    if log_costs.shape[1] > 1:
        return np.maximum(reached(np.column_stack((scores, log_costs))), least_score)
    edges, heights = steps((scores, log_costs[:, 0]), least_score)
    return heights[np.searchsorted(edges, log_costs[:, 0], side="right") - 1]


def _stacked(errors: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Weights of the models by which held-out scores are most probable (Yao 2018), with a beta prior."""
    if len(errors) == 1:
        return np.ones(1)
    densities = np.exp(-0.5 * np.minimum((errors / deviations) ** 2, 200.0)) / deviations
    mixed = WEIGHTS[:, None] * densities[0] + (1 - WEIGHTS)[:, None] * densities[1]
    belief = np.log(mixed).sum(axis=1)
    belief += (PRIOR_LAW - 1) * np.log(WEIGHTS) + (PRIOR_PLAIN - 1) * np.log1p(-WEIGHTS)
    share = np.exp(belief - belief.max())
    weight = float((share * WEIGHTS).sum() / share.sum())
    return np.array([weight, 1 - weight])


def _last_of_each(candidates: Sequence[int] | np.ndarray) -> np.ndarray:
    """Index of the last row of each candidate, in the order of the rows."""
    found = {int(candidate): row for row, candidate in enumerate(candidates)}
    return np.array(sorted(found.values()))
