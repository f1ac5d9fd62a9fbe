"""An objective that is known exactly before training, such as FLOPs: its function, checked against trials."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.choose.unit_space import UnitSpace

TOLERANCE = 1e-6  # of the logarithm
REMEMBERED = 50_000  # points whose costs are kept


class KnownCost:
    """The second of two objectives as a function of the parameters.

    Args:
        function: parameters -> cost, above 0.
    """

    def __init__(self, function: Callable[[Mapping[str, Any]], float]) -> None:
        self._function = function
        self._known: dict[tuple[tuple[str, ...], bytes], float] = {}
        self._checked: set[int] = set()  # numbers of trials

    def check(self, study: Study, trials: Iterable[FrozenTrial]) -> None:
        """Compare the function with the objective of complete trials.

        Raises:
            ValueError: the study has other objectives, or a trial has another value than the function gives.
        """
        if [*study.directions[1:]] != [StudyDirection.MINIMIZE]:
            raise ValueError(
                "with `cost` a study has two objectives, of which the second is minimised, got the directions"
                f" {[direction.name.lower() for direction in study.directions]}; leave out `cost`"
            )
        for trial in trials:
            if trial.number in self._checked:
                continue
            value, log_cost = trial.values[1], self._log(trial.params)
            if not value > 0 or abs(log_cost - math.log(value)) > TOLERANCE:
                raise ValueError(
                    f"`cost` gives the second objective exactly, got {math.exp(log_cost):.9g} where trial"
                    f" {trial.number} has {value:.9g}; leave out `cost` if it is measured"
                )
            self._checked.add(trial.number)

    def log(self, space: UnitSpace, points: np.ndarray) -> np.ndarray:
        """Logarithms of the costs of points (points, parameters): (points,).

        Raises:
            ValueError: the function gives no number above 0, or asks for a parameter outside the space.
        """
        if len(self._known) > REMEMBERED:
            self._known.clear()
        return np.array([self._log_at(space, point) for point in points])

    def _log_at(self, space: UnitSpace, point: np.ndarray) -> float:
        key = space.names, point.tobytes()
        if key not in self._known:
            self._known[key] = self._log(space.params(point))
        return self._known[key]

    def _log(self, params: Mapping[str, Any]) -> float:
        try:
            cost = float(self._function(params))
        except KeyError as error:
            raise ValueError(
                f"`cost` gets the parameters that all complete trials share, {', '.join(sorted(params))},"
                f" and asks for {error}; give it a default, or leave out `cost`"
            ) from error
        if not 0 < cost < math.inf:
            raise ValueError(f"`cost` gives numbers above 0, got {cost} for {dict(params)}")
        return math.log(cost)
