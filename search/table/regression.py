"""Regressions of one task's score on features: the families, and which one predicts held-out candidates best.

Scores are fitted on a logit scale between the least and the largest fraction that is possible, so that
predictions stay in that range and noise is small near both ends.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Kernel, Matern, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold

FOLDS = 5
TREES, LEAF, COLUMNS = 80, 2, 0.5
BLENDS = {"process and trees": ("gaussian process", "extra trees")}  # family -> families that it averages
ALPHAS = np.logspace(-1, 3, 9)
TUNING_ROWS = 150  # that the parameters of a kernel are found on
BELOW, ABOVE = 0.10, 0.03  # room beyond the observed fractions


class Regression(Protocol):
    """A fitted regression."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predictions, shape (rows,)."""
        ...


Fit = Callable[[np.ndarray, np.ndarray, int], Regression]  # features, targets, seed


@dataclass(frozen=True, slots=True)
class Scale:
    """The range of a task's fraction, and the logit between its ends."""

    low: float
    high: float

    @classmethod
    def of(cls, fractions: np.ndarray) -> "Scale":
        """The range of observed fractions with some room; NaN is left out."""
        return cls(float(np.nanmin(fractions)) - BELOW, max(1.0, float(np.nanmax(fractions))) + ABOVE)

    def logit(self, fractions: np.ndarray) -> np.ndarray:
        """Fractions on the logit scale, the same shape."""
        share = np.clip((fractions - self.low) / (self.high - self.low), 1e-6, 1 - 1e-6)
        return np.log(share / (1 - share))

    def fraction(self, logits: np.ndarray) -> np.ndarray:
        """Fractions from the logit scale, the same shape."""
        return self.low + (self.high - self.low) / (1 + np.exp(-logits))

    def slope(self, fractions: np.ndarray) -> np.ndarray:
        """Derivative of the fraction by the logit, the same shape."""
        share = np.clip((fractions - self.low) / (self.high - self.low), 1e-6, 1 - 1e-6)
        return (self.high - self.low) * share * (1 - share)


class _Standardised:
    """Standardises features and targets around a regression of scikit-learn."""

    def __init__(self, model: RidgeCV | GaussianProcessRegressor, x: np.ndarray, y: np.ndarray) -> None:
        self._mean, self._spread = x.mean(axis=0), x.std(axis=0) + 1e-9
        self._offset, self._unit = float(y.mean()), float(y.std()) + 1e-9
        self._model = model.fit((x - self._mean) / self._spread, (y - self._offset) / self._unit)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predictions, shape (rows,)."""
        found = self._model.predict((features - self._mean) / self._spread)
        return self._offset + self._unit * np.asarray(found)


class _Trees:
    """Extremely randomised trees (Geurts 2006, https://doi.org/10.1007/s10994-006-6226-1)."""

    def __init__(self, x: np.ndarray, y: np.ndarray, seed: int) -> None:
        model = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=COLUMNS, random_state=seed)
        self._trees = [tree.tree_ for tree in model.fit(x, y).estimators_]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predictions, shape (rows,); without scikit-learn's checks, which take longer than the trees."""
        rows = np.ascontiguousarray(features, dtype=np.float32)
        return np.mean([tree.predict(rows).reshape(-1) for tree in self._trees], axis=0)


class _Mean:
    """The mean of several regressions."""

    def __init__(self, parts: Sequence[Regression]) -> None:
        self._parts = parts

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predictions, shape (rows,)."""
        return np.mean([part.predict(features) for part in self._parts], axis=0)


def _ridge(x: np.ndarray, y: np.ndarray, seed: int) -> Regression:
    return _Standardised(RidgeCV(ALPHAS), x, y)


def _trees(x: np.ndarray, y: np.ndarray, seed: int) -> Regression:
    return _Trees(x, y, seed)


def tuned_kernel(x: np.ndarray, y: np.ndarray, seed: int) -> Kernel:
    """A linear kernel plus Matern-5/2 plus noise, with the parameters that fit some of the rows best."""
    start = (
        ConstantKernel(0.1) * DotProduct(1.0)
        + ConstantKernel(1.0) * Matern(5.0, (0.5, 50.0), nu=2.5)
        + WhiteKernel(0.3)
    )
    chosen = np.random.default_rng(seed).permutation(len(x))[:TUNING_ROWS]
    model = GaussianProcessRegressor(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at the end of its range
        _Standardised(model, x[chosen], y[chosen])
    kernel: Any = model.kernel_
    return kernel


def families(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Fit]:
    """The families of regressions: name -> function that fits one.

    Args:
        x: all rows of a task, shape (rows, columns), on which the kernel's parameters are found once.
        y: their targets, shape (rows,).
        seed: of the choice of rows.
    """
    kernel = tuned_kernel(x, y, seed)

    def gaussian_process(x: np.ndarray, y: np.ndarray, seed: int) -> Regression:
        fixed: Any = None  # no search for better parameters
        return _Standardised(GaussianProcessRegressor(kernel, optimizer=fixed), x, y)

    return {"ridge": _ridge, "gaussian process": gaussian_process, "extra trees": _trees}


def blended(fits: Sequence[Fit]) -> Fit:
    """A family that fits several regressions and predicts their mean."""

    def fit_all(x: np.ndarray, y: np.ndarray, seed: int) -> Regression:
        return _Mean([fit(x, y, seed) for fit in fits])

    return fit_all


def held_out(
    fit: Fit, x: np.ndarray, y: np.ndarray, groups: np.ndarray, folds: Sequence[np.ndarray], seed: int
) -> np.ndarray:
    """Predict each row by a regression that was fitted without its candidate, shape (rows,).

    Args:
        fit: of one family.
        x: features, shape (rows, columns).
        y: targets, shape (rows,).
        groups: index of each row's candidate, shape (rows,).
        folds: the candidates that are held out together.
        seed: of the regression.
    """
    predicted = np.empty(len(y))
    for fold in folds:
        out = np.isin(groups, fold)
        predicted[out] = fit(x[~out], y[~out], seed).predict(x[out])
    return predicted


def folds_of(candidates: int, seed: int) -> list[np.ndarray]:
    """Candidates that are held out together, in `FOLDS` random parts."""
    parts = KFold(min(FOLDS, candidates), shuffle=True, random_state=seed)
    return [held for _, held in parts.split(np.arange(candidates))]
