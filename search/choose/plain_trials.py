"""The trials of a plain Optuna study, as a sampler's models need them: points, values, constraints, rungs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.choose.promotion import RUNG
from search.choose.unit_space import UnitSpace

PLACES = "pathfront:places"  # system attribute: the point that was suggested for a trial, in parts
PLACES_LENGTH = 2_000  # of a part; SQL storages hold 2,048 characters


@dataclass(frozen=True)
class History:
    """What is known before a trial.

    Attributes:
        complete: the complete trials of the space.
        points: (trials, parameters) of complete trials.
        values: (trials, objectives) of complete trials, all maximised, finite, without the mean difference
            between rungs.
        feasible: (trials,) whether a complete trial satisfies the constraints that it has.
        constraints: name -> (trials,) value, nan where a trial does not have it; satisfied up to 0.
        rungs: (trials,) of complete trials; all 0 unless each of them names its rung.
        pending: (pending, parameters) of waiting and running trials.
        tried: all of these points and those of failed and pruned trials, as bytes.
    """

    complete: tuple[FrozenTrial, ...]
    points: np.ndarray
    values: np.ndarray
    feasible: np.ndarray
    constraints: Mapping[str, np.ndarray]
    rungs: np.ndarray
    pending: np.ndarray
    tried: frozenset[bytes]

    @staticmethod
    def read(study: Study, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> "History":
        """The trials of a study but one, those that have the parameters of a space."""
        space = UnitSpace(distributions)
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        params = [_params(other, space, distributions) for other in others]
        kept = [n for n, each in enumerate(params) if each is not None]
        encoded = space.points([params[n] or {} for n in kept])
        of_state: dict[TrialState, list[tuple[FrozenTrial, np.ndarray]]] = {state: [] for state in TrialState}
        for n, point in zip(kept, encoded, strict=True):
            of_state[others[n].state].append((others[n], point))
        complete = tuple(other for other, _ in of_state[TrialState.COMPLETE])
        sign = [1.0 if each == StudyDirection.MAXIMIZE else -1.0 for each in study.directions]
        values = np.array([each.values for each in complete], dtype=float).reshape(-1, len(sign)) * sign
        names = sorted({name for each in complete for name in each.constraints})
        constraints = {n: _finite(np.array([t.constraints.get(n, np.nan) for t in complete])) for n in names}
        rungs = [each.user_attrs.get(RUNG) for each in complete]
        named = all(isinstance(rung, int) for rung in rungs)
        number = np.array(rungs if named else [0] * len(rungs), dtype=float)
        points = {state: [point for _, point in of_state[state]] for state in TrialState}
        found = np.array(points[TrialState.COMPLETE]).reshape(-1, len(distributions))
        pending = points[TrialState.RUNNING] + points[TrialState.WAITING]
        return History(
            complete=complete,
            points=found,
            values=np.stack([_finite(column) for column in _levelled(values, found, number).T], axis=1),
            feasible=np.array(
                [all(v <= 0 for v in each.constraints.values()) for each in complete], dtype=bool
            ),
            constraints=constraints,
            rungs=number,
            pending=np.array(pending).reshape(-1, len(distributions)),
            tried=frozenset(point.tobytes() for each in points.values() for point in each),
        )


def places_of(trial: FrozenTrial) -> dict[str, float]:
    """The point that was suggested for a trial: parameter -> place; empty if none was."""
    parts: list[str] = []
    while (part := trial.system_attrs.get(f"{PLACES}:{len(parts)}")) is not None:
        parts.append(part)
    try:
        return json.loads("".join(parts)) if parts else {}
    except json.JSONDecodeError:  # another worker is storing the further parts just now
        return {}


def fixed_params(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters with which a trial was enqueued."""
    return trial.system_attrs.get("fixed_params", {})


def _params(
    trial: FrozenTrial, space: UnitSpace, distributions: Mapping[str, BaseDistribution]
) -> dict[str, Any] | None:
    """The parameters of a trial; None if it lacks one of the space, or has it over another range."""
    for name, each in distributions.items():
        if trial.distributions.get(name, each) != each:
            return None
    params = trial.params
    if not trial.state.is_finished() and not distributions.keys() <= params.keys():
        suggested = {n: place for n, place in places_of(trial).items() if n in distributions}
        params = space.params_at(suggested) | fixed_params(trial) | params
    return params if distributions.keys() <= params.keys() else None


def _levelled(values: np.ndarray, points: np.ndarray, rungs: np.ndarray) -> np.ndarray:
    """Values (trials, objectives) on the level of the lowest rung.

    A rung's level over the one before is the mean difference of the points that were tried at both, because
    the points of a higher rung are the better ones.
    """
    values, level = values.copy(), np.zeros(values.shape[1])
    of_rung: dict[bytes, np.ndarray] = {}
    for rung in np.unique(rungs):
        members = np.flatnonzero(rungs == rung)
        new = {points[i].tobytes(): values[i].copy() for i in members}
        pairs = [(new[key], of_rung[key]) for key in new.keys() & of_rung.keys()]
        rises = np.array([high - low for high, low in pairs if np.isfinite((high, low)).all()])
        level = level + (rises.mean(axis=0) if len(rises) else 0.0)
        values[members] -= level
        of_rung = new
    return values


def _finite(values: np.ndarray) -> np.ndarray:
    """Values (trials,) with infinite ones replaced by the largest and the least of the others; nan stays."""
    known = values[np.isfinite(values)]
    high, low = (known.max(), known.min()) if len(known) else (1.0, -1.0)
    return np.nan_to_num(values, nan=np.nan, posinf=high, neginf=low)
