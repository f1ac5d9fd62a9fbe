"""A Gaussian process on the mean score, with exact expected hypervolume improvement over known costs.

It knows as much as the sampler `pathfront`: exact costs, all rungs, and the candidates that still train,
which count with their expected scores. It has the same cheap start.
"""

import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from search.choose.outcomes import corrected_scores
from search.choose.sampler import Feasible, Problem
from search.choose.snapshot import Snapshot
from search.pareto import nondominated_rank, staircase
from space.ranges import MIXTURE_PREFIX

from .cheap_start import BINS, START, CheapDraws

ROWS = 250  # trials that the model learns from, those at high rungs first
REFIT = 14  # length scales are fitted again after a share of one in so many new results, but at least 3
DRAWN, BRED = 200, 200  # candidates to choose from: at random, by mutation and by crossover each
COST_POWER = 0.5  # of the FLOPs that the improvement is divided by
BY_BIN = 0.25  # probability of choosing within the bin of cost on which least was spent


class KnownCostGP:
    """A sampler of the study protocol.

    The length scales are kept between calls, so that a run must be repeated from its beginning.

    Args:
        problem: the study's space, tasks, limits and seed.
        start: candidates before the model is asked.
        cost_power: of the FLOPs that the improvement is divided by.
    """

    def __init__(self, problem: Problem, start: int = START, cost_power: float = COST_POWER) -> None:
        self._problem, self._start, self._power = problem, start, cost_power
        priced = problem.space.feasible(problem.suite, problem.limits)
        self._least, self._most = priced[0][1].flops_per_token, priced[-1][1].flops_per_token
        self._cheap = CheapDraws(problem)
        names = [name for name in problem.parameters if not name.startswith(MIXTURE_PREFIX)]
        self._knobs = [(name, problem.parameters[name]) for name in names]
        self._features: dict[str, np.ndarray] = {}
        self._theta: np.ndarray | None = None
        self._fitted_at = 0

    def suggest(self, view: Snapshot) -> Iterator[dict[str, Any]]:
        """The best candidates of a pool, best first."""
        rng = self._problem.rng(view)
        scores = corrected_scores(view)
        if len(view.candidates) < self._start or len(scores) < 4:
            yield from self._cheap.suggest(view)
            return
        pool = self._pool(rng, view, scores)
        for i in self._order(view, rng, scores, pool) if pool else ():
            yield pool[i].params

    def choose_among(self, view: Snapshot, pool: Sequence[Feasible]) -> Feasible:
        """The next candidate where only those of a pool can be tried."""
        rng = self._problem.rng(view)
        scores = corrected_scores(view)
        if len(view.candidates) < self._start or len(scores) < 4:
            return self._cheap.choose_among(view, pool)
        return pool[self._order(view, rng, scores, pool)[0]]

    def _order(
        self, view: Snapshot, rng: np.random.Generator, scores: dict[str, float], pool: Sequence[Feasible]
    ) -> list[int]:
        """Indices of a pool, the best first."""
        params = {c.id: c.params for c in view.candidates}
        running = {trial.candidate for trial in view.trials if not trial.final}
        alive = [c for c in view.candidates if c.id in scores or c.id in running]
        features = [*(self._known(f) for f in pool), *(self._of(c.id, params) for c in alive)]
        means, deviations = self._predict(view, features)
        mean, deviation = means[: len(pool)], deviations[: len(pool)]
        front = list(zip(means[len(pool) :].tolist(), (c.flops_per_token for c in alive), strict=True))
        flops = np.array([found.cost.flops_per_token for found in pool])
        gain = expected_improvement(mean, deviation, flops, front, 1.1 * self._most)
        value = gain / (flops + self._least) ** self._power
        first = self._least_spent(view, flops) if rng.random() < BY_BIN else np.ones(len(pool), dtype=bool)
        return np.lexsort((-value, ~first)).tolist()

    def _least_spent(self, view: Snapshot, flops: np.ndarray) -> np.ndarray:
        """Which candidates lie in the bin of cost on which least was spent. Shape (candidates,)."""
        cells, spent = self._cheap.cells(flops), np.zeros(BINS)
        known = self._cheap.cells(np.array([c.flops_per_token for c in view.candidates]))
        of = {c.id: cell for c, cell in zip(view.candidates, known, strict=True)}
        for trial in view.trials:
            spent[of[trial.candidate]] += trial.training_flops
        return cells == min(set(cells.tolist()), key=spent.__getitem__)

    def _pool(self, rng: np.random.Generator, view: Snapshot, scores: dict[str, float]) -> list[Feasible]:
        """Random candidates, and mutants and crossovers of the first two layers."""
        known = [c for c in view.candidates if c.id in scores]
        layers = nondominated_rank([(scores[c.id], c.flops_per_token) for c in known])
        parents = [known[i].params for i in np.flatnonzero(layers < 2)]
        space = self._problem.space

        def bred() -> Iterator[dict[str, Any]]:
            for number in range(2 * BRED):
                one, two = (parents[i] for i in rng.integers(len(parents), size=2))
                fresh = space.sample(self._problem.suite, rng)
                if number % 2:
                    other = {name: two[name] for name in one if rng.random() < 0.5}
                else:
                    some = set(rng.choice(sorted(one), size=min(len(one), int(rng.integers(1, 4)))))
                    other = {name: fresh[name] for name in some}
                yield space.snapped({**one, **other})

        drawn = self._problem.draws(rng, view)
        found = list(islice(self._problem.usable(drawn, view), DRAWN))
        ids = {of.candidate.id for of in found}
        return found + [f for f in self._problem.usable(bred(), view) if f.candidate.id not in ids]

    def _known(self, found: Feasible) -> np.ndarray:
        """Features of a candidate: logarithms of costs, knobs, square roots of shares."""
        name = found.candidate.id
        if name not in self._features:
            cost, shares = found.cost, found.candidate.mixture.weights
            logs = np.log([cost.flops_per_token, cost.active_params, cost.total_params])
            knobs = [_number(knob, found.params[name]) for name, knob in self._knobs]
            roots = np.sqrt([shares[t] * len(shares) for t in self._problem.suite.tasks])
            self._features[name] = np.concatenate((logs, knobs, 2 * roots))
        return self._features[name]

    def _predict(self, view: Snapshot, features: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the score at the highest rung. Shapes (candidates,)."""
        params = {c.id: c.params for c in view.candidates}
        tokens = np.log(self._problem.rungs.tokens)
        ended = sorted((t for t in view.trials if t.ended), key=lambda t: -t.rung)[:ROWS]
        worst = min(t.score for t in ended if t.score is not None)
        x = np.array([[*self._of(t.candidate, params), tokens[t.rung]] for t in ended])
        y = np.array([worst if t.score is None else t.score for t in ended])
        new = np.column_stack((np.array(features), np.full(len(features), tokens[-1])))
        scale = np.maximum(x.std(0), 1e-3)
        x, new = (x - x.mean(0)) / scale, (new - x.mean(0)) / scale
        level, spread = y.mean(), max(float(y.std()), 1e-3)
        kernel = self._kernel(x, (y - level) / spread, len(ended))
        factor = cho_factor(kernel(x), lower=True)
        cross = kernel.k1(new, x)
        mean = cross @ cho_solve(factor, (y - level) / spread)
        variance = kernel.k1.diag(new) - np.sum(cross * cho_solve(factor, cross.T).T, axis=1)
        return level + spread * mean, spread * np.sqrt(np.maximum(variance, 1e-9))

    def _of(self, name: str, params: dict[str, dict[str, Any]]) -> np.ndarray:
        if name not in self._features:
            found = self._problem.feasible(params[name])
            assert found is not None
            self._features[name] = self._known(found)
        return self._features[name]

    def _kernel(self, x: np.ndarray, y: np.ndarray, results: int) -> Any:
        scales = Matern(np.full(x.shape[1], 3.0), (0.2, 50), nu=2.5)
        kernel = ConstantKernel(1.0, (0.05, 20)) * scales + WhiteKernel(0.1, (1e-3, 1))
        if self._theta is not None:
            kernel = kernel.clone_with_theta(self._theta)
        if self._theta is None or results >= self._fitted_at + max(3, results // REFIT):
            with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
                # a long length scale at its bound: the score does not depend on the feature
                fitted = GaussianProcessRegressor(kernel, optimizer=_descend).fit(x, y)
            kernel = fitted.kernel_
            self._theta, self._fitted_at = kernel.theta, results
        return kernel


def expected_improvement(
    mean: np.ndarray,
    deviation: np.ndarray,
    flops: np.ndarray,
    known: Sequence[tuple[float, float]],
    most_flops: float,
) -> np.ndarray:
    """Exact expected gain of hypervolume over log FLOPs, where the FLOPs are known.

    The gain is an integral over the cost of the expected improvement over the staircase, which is constant
    between its corners.

    Args:
        mean: (candidates,) expected score.
        deviation: (candidates,) its standard deviation.
        flops: (candidates,) FLOPs per token.
        known: score and FLOPs per token of known candidates.
        most_flops: where the hypervolume ends.
    """
    corners = staircase(known)
    least = min(score for score, _ in known)
    heights = np.concatenate(([least], corners[:, 0]))
    edges = np.concatenate(([-np.inf], np.log(corners[:, 1]), [np.log(most_flops)]))
    left = np.maximum(edges[:-1], np.log(flops)[:, None])
    widths = np.maximum(edges[1:] - left, 0)
    z = (mean[:, None] - heights) / deviation[:, None]
    return np.sum(widths * deviation[:, None] * (z * norm.cdf(z) + norm.pdf(z)), axis=1)


def _number(knob: Any, value: Any) -> float:
    """A parameter's value as a number: the logarithm of a rate, the place of a choice."""
    choices = knob.values()
    if choices is not None:
        return float(list(choices).index(value))
    return float(np.log(value)) if knob.log else float(value)


def _descend(objective: Any, start: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
    """A few steps of L-BFGS-B: the next fit goes on from there."""
    from scipy.optimize import minimize

    found = minimize(objective, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 15})
    return found.x, found.fun
