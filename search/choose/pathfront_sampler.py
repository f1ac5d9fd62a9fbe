"""Pathfront's sampler for a plain Optuna study, of any space and any number of objectives.

    study = optuna.create_study(directions=["maximize", "minimize"], sampler=PathfrontSampler(cost=flops))

1. The first trials are drawn at random, with `cost` the cheap ones more often.
2. Then a Gaussian process predicts each objective that is not known before training.
3. Many points are compared: random ones, mutants and crossings of the best trials, and mutants of the best
   of these, in ever smaller steps.
4. The next trial has the largest expected gain in hypervolume, which is expected improvement for a single
   objective, times the probability that it satisfies the constraints.

With `cost` the gain is that of `search.choose.pathfront`: exact, over the logarithm of the known cost, and
divided by a power of it. Without, several objectives are first transformed to be about normal, so that a
front over orders of magnitude is sought at all of them (`search.surrogate.warp`). The gain is exact for up to
three of them (`search.surrogate.boxes`); that of more takes too long, and they are scalarised with random
weights, anew for each trial, as in ParEGO (Knowles 2006, https://doi.org/10.1109/TEVC.2005.851274).

The space is that of all complete trials; other parameters, as of a conditional space, are drawn at random.
Random numbers depend only on the seed and the number of a trial, so a study that is resumed goes on as if it
had never stopped.
"""

import json
import math
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial
from scipy.special import ndtr

from search.choose.known_cost import KnownCost
from search.choose.plain_trials import PLACES, PLACES_LENGTH, History, fixed_params
from search.choose.ranking import best_first
from search.choose.unit_space import UnitSpace
from search.surrogate.boxes import LEAST_STD, expected_volume
from search.surrogate.ehvi import expected_gain
from search.surrogate.gp import GaussianProcess, tuned
from search.surrogate.warp import fenced, standardised, warped

STARTS, LEAST_COMPLETE = 10, 3  # trials, and complete ones, before the models are asked
COST_POWER, START_POWER = 0.5, 2.0  # of the cost; of that power at the start
MOST_TRIALS, FRONT = 800, 200  # that the models are fitted to, that new points have to improve on
COST_BINS, COST_SAMPLE = 8, 400  # of the logarithm of the cost; points whose costs give their ends
MARGIN = 0.1  # of the range of an objective beyond its worst value, where the volume ends
EXACT_OBJECTIVES = 3  # whose hypervolume is computed
RHO = 0.05  # weight of the sum in the scalarisation
RANDOM, MUTANTS, CROSSED, PARENTS = 200, 200, 100, 20  # points of the pool; trials that they come from
BEST, CHILDREN, SIZES = 24, 120, (0.4, 0.2, 0.1, 0.05)  # refinement: parents, mutants, size of each round


class PathfrontSampler(BaseSampler):
    """Pathfront's sampler for `optuna.create_study`.

    Failed and pruned trials are not learnt from, and not repeated; waiting and running ones count as if they
    had given what is expected of them. Constraints are those of `Trial.set_constraint`. If every complete
    trial names its rung, as `search.choose.promotion.Promoter` wants, the rung is an input of the models, and
    what they predict for the highest rung is compared.

    Args:
        cost: parameters -> the second of two objectives, which is minimised, above 0 and known exactly before
            training, such as FLOPs. It gets the parameters that all complete trials share, and is called
            about a thousand times for each trial. None if no objective is known.
        seed: of the random numbers; random if None.
        n_startup_trials: trials that are drawn at random before the models are asked.
        cost_power: how much cheap trials are preferred: the expected gain is divided by the cost to this
            power. 0 searches for the best front of a number of trials, 0.5 for that of an amount of compute.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        cost: Callable[[Mapping[str, Any]], float] | None = None,
        *,
        seed: int | None = None,
        n_startup_trials: int = STARTS,
        cost_power: float = COST_POWER,
    ) -> None:
        if n_startup_trials < 1 or not 0 <= cost_power < math.inf or (seed or 0) < 0:
            raise ValueError(
                "n_startup_trials is at least 1, cost_power and seed are at least 0,"
                f" got n_startup_trials={n_startup_trials}, cost_power={cost_power}, seed={seed}"
            )
        if cost is not None and not callable(cost):
            raise ValueError(f"cost is a function of the parameters, got {cost!r}")
        self._cost = None if cost is None else KnownCost(cost)
        self._seed = _fresh_seed() if seed is None else seed
        self._starts = n_startup_trials
        self._cost_power = cost_power
        self._intersection = IntersectionSearchSpace()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, which cannot be pickled or copied."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def reseed_rng(self) -> None:
        """Draw a new seed."""
        self._seed = _fresh_seed()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuse objectives that `cost` does not fit before anything is trained.

        Raises:
            ValueError: the study has others than two, of which the second is minimised.
        """
        if self._cost:
            self._cost.check(study, ())

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters that all complete trials share, those with a single value included: `cost` gets them."""
        with self._lock:
            return self._intersection.calculate(study)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter at random."""
        space = UnitSpace({param_name: param_distribution})
        return space.params(space.random(self._rng(trial, param_name), 1)[0])[param_name]

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Suggest parameters, and store them with the trial, where other workers see them.

        Raises:
            ValueError: `cost` does not fit the study's objectives or its trials.
        """
        if not search_space:
            return {}
        space = UnitSpace(search_space)
        with self._lock:
            point = self._suggest(study, trial, space, search_space)
            places = json.dumps(dict(zip(search_space, point.tolist(), strict=True)))
            for part, first in enumerate(range(0, len(places), PLACES_LENGTH)):
                # Optuna has no public method for this; its own samplers do the same.
                study._storage.set_trial_system_attr(
                    trial._trial_id, f"{PLACES}:{part}", places[first : first + PLACES_LENGTH]
                )
        return space.params(point)

    def _rng(self, trial: FrozenTrial, name: str = "") -> np.random.Generator:
        return np.random.default_rng([self._seed, trial.number, crc32(name.encode())])

    def _suggest(
        self, study: Study, trial: FrozenTrial, space: UnitSpace, search_space: Mapping[str, BaseDistribution]
    ) -> np.ndarray:
        """The next point, (parameters,)."""
        rng = self._rng(trial)
        history = History.read(study, trial, search_space)
        if self._cost:
            self._cost.check(study, history.complete)
        given = fixed_params(trial)
        fixed = {n: space.place(name, given[name]) for n, name in enumerate(space.names) if name in given}
        complete, waiting = len(history.points), len(history.pending)
        few = complete + waiting < self._starts or complete < min(LEAST_COMPLETE, self._starts)
        if few or not len(space.groups):  # without groups no parameter has two values
            return held(self._start(space, rng), fixed)[0]
        return _Choice(space, history, fixed, rng, self._cost, self._cost_power).best()

    def _start(self, space: UnitSpace, rng: np.random.Generator) -> np.ndarray:
        """A random point, (1, parameters); with a known cost the cheap ones more often."""
        if self._cost is None:
            return space.random(rng, 1)
        points = space.random(rng, COST_SAMPLE)
        log_cost = self._cost.log(space, points)
        edges = np.linspace(log_cost.min(), log_cost.max(), COST_BINS + 1)
        bins = np.searchsorted(edges[1:-1], log_cost, side="right")
        full = np.unique(bins)
        weights = np.exp(-START_POWER * self._cost_power * (edges[full] - edges[0]))
        return points[bins == rng.choice(full, p=weights / weights.sum())][:1]


class _Prediction:
    """Gaussian processes of several outputs over the same points.

    Args:
        x: (trials, inputs).
        outputs: each (trials,), nan where a trial has none.
        groups: (inputs,) group of each input.
        pending: (pending, inputs) points that count as if they had their predicted value.
    """

    def __init__(
        self, x: np.ndarray, outputs: Sequence[np.ndarray], groups: np.ndarray, pending: np.ndarray
    ) -> None:
        self._models = []
        for output in outputs:
            kept = np.isfinite(output)
            rows, y = x[kept], output[kept]
            centre, scale = y.mean(), y.std() or 1.0
            y = (y - centre) / scale
            kernel = tuned(rows, y, np.zeros(len(y)), groups)
            model = GaussianProcess(rows, y, np.zeros(len(y)), kernel)
            if len(pending):
                y = np.append(y, model.predict(pending)[0])
                rows = np.concatenate((rows, pending))
                model = GaussianProcess(rows, y, np.zeros(len(y)), kernel)
            self._models.append((model, centre, scale))

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at points (points, inputs): both (points, outputs)."""
        means, stds = [], []
        for model, centre, scale in self._models:
            mean, variance = model.predict(x)
            means.append(centre + scale * mean)
            stds.append(scale * np.sqrt(variance))
        return np.stack(means, axis=1), np.stack(stds, axis=1)


class _Choice:
    """One choice of the next point.

    Args:
        space: the search space.
        history: the study's trials.
        fixed: numbers of parameters -> place, where the trial was enqueued with a value.
        rng: random numbers.
        cost: the known objective.
        cost_power: the expected gain is divided by the cost to this power.
    """

    def __init__(
        self,
        space: UnitSpace,
        history: History,
        fixed: Mapping[int, float],
        rng: np.random.Generator,
        cost: KnownCost | None,
        cost_power: float,
    ) -> None:
        self._space, self._fixed, self._rng = space, fixed, rng
        self._cost, self._cost_power = cost, cost_power
        rows = _kept(history)
        points, values, rungs = history.points[rows], history.values[rows], history.rungs[rows]
        self._tried, feasible = history.tried, history.feasible[rows]
        unknown = values.shape[1] - (cost is not None)
        columns = values.T[:unknown]
        scaled = [warped(each) for each in columns] if unknown > 1 else [standardised(fenced(columns[0]))]
        modelled = np.stack(scaled, axis=1)
        if unknown > EXACT_OBJECTIVES:
            modelled = _scalarised(modelled, rng)
        self._objectives = modelled.shape[1]
        self._reference = modelled.min(axis=0) - MARGIN * np.ptp(modelled, axis=0)
        self._rung_scale = float(rungs.std())
        self._top = rungs.max()
        groups = space.groups
        groups = np.append(groups, groups.max() + 1) if self._rung_scale else groups
        outputs = [*modelled.T, *(column[rows] for column in history.constraints.values())]
        inputs = self._inputs(points, rungs), self._inputs(history.pending)
        self._predict = _Prediction(inputs[0], outputs, groups, inputs[1])
        self._any_feasible = bool(feasible.any())
        self._parents = points
        if self._any_feasible:
            able = np.flatnonzero(feasible)
            order = best_first(values[able], [True] * values.shape[1])
            self._set_front(np.unique(np.concatenate((points[able[order[:FRONT]]], history.pending)), axis=0))

    def best(self) -> np.ndarray:
        """The point with the largest expected gain, (parameters,)."""
        space, rng = self._space, self._rng
        parents = self._parents
        parts = [
            space.random(rng, RANDOM),
            space.mutants(rng, parents, MUTANTS),
            space.crossed(rng, parents, CROSSED),
        ]
        pool = self._held(np.concatenate(parts))
        gain = self._gain(pool)
        for size in SIZES:
            best = pool[np.argsort(-gain, kind="stable")[:BEST]]
            children = self._held(space.mutants(rng, best, CHILDREN, size))
            pool, gain = np.concatenate((pool, children)), np.append(gain, self._gain(children))
        new = np.array([point.tobytes() not in self._tried for point in pool])
        return pool[np.argmax(np.where(new, gain, -1.0) if new.any() else gain)]

    def _set_front(self, known: np.ndarray) -> None:
        """What new points have to improve on: predictions at known points (known, parameters)."""
        self._front = values = self._predict(self._inputs(known))[0][:, : self._objectives]
        if self._cost:
            self._front_cost = self._cost.log(self._space, known)
            values = np.column_stack((values, -self._front_cost))
            ends = self._cost.log(self._space, self._space.random(np.random.default_rng(0), COST_SAMPLE))
            log_costs = np.append(ends, self._front_cost)
            self._least, most = log_costs.min(), log_costs.max()
            self._most = most + max(MARGIN * (most - self._least), 0.05)
        self._parents = known[best_first(values, [True] * values.shape[1])[:PARENTS]]

    def _gain(self, points: np.ndarray) -> np.ndarray:
        """Expected gain of points, (points,)."""
        mean, std = self._predict(self._inputs(points))
        count = self._objectives
        likely = ndtr(-mean[:, count:] / np.maximum(std[:, count:], LEAST_STD)).prod(axis=1)
        if not self._any_feasible:
            return likely
        if self._cost is None:
            return likely * expected_volume(mean[:, :count], std[:, :count], self._front, self._reference)
        log_cost = self._cost.log(self._space, points)
        front = self._front[:, 0], self._front_cost
        gain = expected_gain(mean[:, 0], std[:, 0], log_cost, front, self._reference[0], self._most)
        return likely * gain / (np.exp(log_cost - self._least) + 1) ** self._cost_power

    def _inputs(self, points: np.ndarray, rungs: np.ndarray | None = None) -> np.ndarray:
        """Inputs of the models at rungs (points,), or all at the highest one: (points, inputs)."""
        x = self._space.inputs(points)
        if not self._rung_scale:
            return x
        rungs = np.full(len(points), self._top) if rungs is None else rungs
        return np.column_stack((x, rungs / self._rung_scale))

    def _held(self, points: np.ndarray) -> np.ndarray:
        return held(points, self._fixed)


def held(points: np.ndarray, fixed: Mapping[int, float]) -> np.ndarray:
    """Points (points, parameters) with the parameters that are fixed."""
    points = points.copy()
    for number, place in fixed.items():
        points[:, number] = place
    return points


def _kept(history: History) -> np.ndarray:
    """Numbers of the trials that the models are fitted to: the best ones, and the latest of the others."""
    count = len(history.points)
    if count <= MOST_TRIALS:
        return np.arange(count)
    values = history.values
    best = best_first(
        np.where(history.feasible[:, None], values, values.min(axis=0)), [True] * values.shape[1]
    )
    chosen = np.zeros(count, dtype=bool)
    chosen[best[: MOST_TRIALS // 2]] = True
    chosen[np.flatnonzero(~chosen)[chosen.sum() - MOST_TRIALS :]] = True
    return np.flatnonzero(chosen)


def _scalarised(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values (trials, objectives) as one, (trials, 1): augmented Chebyshev with random weights."""
    losses = (values.max(axis=0) - values) / np.maximum(np.ptp(values, axis=0), 1e-12)
    weighted = rng.dirichlet(np.ones(values.shape[1])) * losses
    return -(weighted.max(axis=1) + RHO * weighted.sum(axis=1))[:, None]


def _fresh_seed() -> int:
    return secrets.randbits(32)
