"""Pathfront's sampler in a plain Optuna study: accuracy on digits against multiplications per image.

A model is a ridge regression on random Fourier features (Rahimi 2007).
"""

import numpy as np
import optuna
from sklearn.datasets import load_digits

from search.choose.pathfront_sampler import PathfrontSampler

X, Y = load_digits(return_X_y=True)


def multiplications(params):
    """Return the cost of a model, which is known before it is trained."""
    return (64 + 10) * params["features"]


def objective(trial):
    """Train a model; return its accuracy on the last images, and its cost."""
    count = trial.suggest_int("features", 4, 256, log=True)
    width, ridge = (
        trial.suggest_float("width", 0.1, 100, log=True),
        trial.suggest_float("ridge", 1e-6, 1e3, log=True),
    )
    rng = np.random.default_rng(0)
    z = np.cos(X / 16 / width @ rng.normal(size=(64, count)) + rng.uniform(0, 2 * np.pi, count))
    train, test = z[:1000], z[1000:]
    weights = np.linalg.solve(train.T @ train + ridge * np.eye(count), train.T @ np.eye(10)[Y[:1000]])
    return np.mean(np.argmax(test @ weights, axis=1) == Y[1000:]), multiplications(trial.params)


def search(trials=40):
    """Run a study."""
    sampler = PathfrontSampler(cost=multiplications, seed=0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study
