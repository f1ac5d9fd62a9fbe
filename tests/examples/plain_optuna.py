"""Promotion from checkpoints in a plain Optuna study of three objectives, with any of Optuna's samplers.

A candidate fits a number of weights by gradient descent, for 10 steps at first and 90 at the last rung.
"""

import numpy as np
import optuna

from search.choose.promotion import Promoter

STEPS = (10, 20, 60)  # from each rung's checkpoint to the next


def search(sampler, count=60):
    """Run trials: a small loss is wanted of many weights at a small learning rate."""
    study = optuna.create_study(directions=["minimize", "maximize", "minimize"], sampler=sampler)
    promoter, params, weights = Promoter(rungs=3, eta=2), {}, {}
    for _ in range(count):
        promotion = promoter.next(study)
        if promotion is not None:
            study.enqueue_trial(params[promotion.candidate], user_attrs=promotion._asdict())
        trial = study.ask()
        name, rung = promotion or (f"candidate {trial.number}", 0)
        if promotion is None:
            trial.set_user_attr("candidate", name)
            trial.set_user_attr("rung", rung)
        size, rate = trial.suggest_int("size", 2, 32, step=2), trial.suggest_float("rate", 0.01, 1, log=True)
        params[name], w = trial.params, weights.get(name, np.zeros(size))
        for _ in range(STEPS[rung]):
            w = w + rate * (1 - w) / np.arange(1, size + 1)
        weights[name] = w
        study.tell(trial, [float(np.mean((w - 1) ** 2)), size, rate])
    return study
