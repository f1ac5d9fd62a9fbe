"""Is it worth going on? The best score that more training is expected to bring: `pathfront status`.

The future of a study is played on functions that are drawn from the surrogate's posterior: one of them is
what candidates really score. More compute pays for further trials at the top rung, as many for each FLOP as
the study had so far. Their candidates are the best of a pool, in part by what is expected now and in part by
the drawn function, since a study learns as it goes on; each is measured with noise, and the one that measures
best is reported. How much is learnt, and by how much draws overestimate a candidate that was chosen, was
tuned on the `development` surfaces of the table `quick` and measured on its `report` surfaces
(`tests/benchmarks/worth.py`).
"""

from dataclasses import dataclass

import numpy as np

from search.choose.models import Models
from search.choose.pool import Pool, PoolSpace
from search.choose.studied import LEAST_SCORED, Studied
from search.surrogate.columns import Points
from search.surrogate.surrogate import Surrogate

DRAWS = 128  # functions
MULTIPLES = (1, 2, 4)  # of the training FLOPs spent
TAIL = 0.05  # on either side of an interval
LEARNT = {2: 0.0, 4: 0.1}  # weight of the drawn function in the choice of candidates
OPTIMISM = 0.6  # standard deviations by which draws overestimate the candidate that measures best
WIDER = 1.25  # standard deviations of a prediction over those of the draws
RANDOM, MUTANTS, CROSSED, PARENTS = 200, 250, 100, 16  # points of the pool
ROUNDS, CHILDREN, BEST = 2, 100, 24
LEAST_GAIN = 0.01  # of the score, that is worth having


@dataclass(frozen=True, slots=True)
class Outlook:
    """The best score at a multiple of the training FLOPs spent so far.

    Attributes:
        multiple: 1 is now.
        training_flops: spent by then.
        score: predicted score at the top rung of the candidate that the study then calls its best, without
            the luck of its training and its episodes.
        interval: its 90% interval.
        gain: over the score now.
        gain_interval: its 90% interval.
        chance: probability that the gain is above `LEAST_GAIN`.
    """

    multiple: int
    training_flops: float
    score: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]
    chance: float


@dataclass(frozen=True, slots=True)
class Worth:
    """What more training is expected to bring.

    Attributes:
        least_gain: that `chance` of an outlook is about.
        best: for the best score of any cost.
    """

    least_gain: float
    best: tuple[Outlook, ...]


def worth(studied: Studied) -> Worth | None:
    """Predict what more training brings; None without enough scores, or without one at the top rung.

    Raises:
        numpy.linalg.LinAlgError: the models cannot be fitted.
    """
    future = Future.of(studied)
    return None if future is None else Worth(least_gain=LEAST_GAIN, best=future.outlooks())


class Future:
    """Drawn functions at points that a study has tried or could try.

    Args:
        studied: the study; it has a score at the top rung.
        models: of it.
    """

    def __init__(self, studied: Studied, models: Models) -> None:
        self._studied = studied
        surrogate = models.surrogate(studied.view)
        space = models.space
        paths = surrogate.paths(DRAWS)
        self._spent = studied.view.training_flops
        top = [trial for trial in models.scored(studied.view) if trial.rung == surrogate.encoder.rungs - 1]
        params = {candidate.id: candidate.params for candidate in studied.view.candidates}
        own = space.points(space.encode([params[trial.candidate] for trial in top])[0])
        self.measured = np.array([trial.score for trial in top], dtype=float)
        self._own = np.clip(paths(own), -1.0, 1.0)
        points = _pool(surrogate, space, params, np.random.default_rng(0))
        self._new = np.clip(paths(points), -1.0, 1.0)
        self._expected = surrogate.predict(points).mixed_mean
        weights, noises = surrogate.weights, [model.noise for model in surrogate.models] * surrogate.scales
        episodes = float(np.median([trial.stderr or 0.0 for trial in top]))
        self._noise = float(np.hypot(weights @ noises, episodes))
        self._normal = np.random.default_rng(1).standard_normal(self._new.shape)

    @classmethod
    def of(cls, studied: Studied) -> "Future | None":
        """The future of a study; None where too little is known."""
        rungs = len(studied.problem.rungs.tokens)
        if studied.scored < LEAST_SCORED:
            return None
        models = studied.models("a prediction")
        return cls(studied, models) if any(t.rung == rungs - 1 for t in models.scored(studied.view)) else None

    def outlooks(self) -> tuple[Outlook, ...]:
        """Predictions at each multiple of the compute."""
        now = self.scores(1)
        found = [now if multiple == 1 else self.scores(multiple) for multiple in MULTIPLES]
        return tuple(self._outlook(*pair, now) for pair in zip(MULTIPLES, found, strict=True))

    def scores(self, multiple: float, learnt: float | None = None) -> np.ndarray:
        """Score of the candidate that is reported as the best by then, on each function, (functions,).

        Args:
            multiple: of the training FLOPs spent.
            learnt: weight of the drawn function in the choice of candidates; None for `LEARNT`.
        """
        measured, true = np.tile(self.measured, (len(self._own), 1)), self._own
        count = round((multiple - 1) * len(self.measured))
        if count:
            weight = LEARNT[int(multiple)] if learnt is None else learnt
            value = self._expected + weight * (self._new - self._expected)
            chosen = np.argsort(-value, axis=1, kind="stable")[:, :count]
            drawn = np.take_along_axis(self._new, chosen, axis=1)
            noise = np.take_along_axis(self._normal, chosen, axis=1)
            true = np.concatenate((true, drawn), axis=1)
            measured = np.concatenate((measured, drawn + self._noise * noise), axis=1)
        return np.take_along_axis(true, measured.argmax(axis=1)[:, None], axis=1)[:, 0]

    def _outlook(self, multiple: int, drawn: np.ndarray, now: np.ndarray) -> Outlook:
        found = np.clip(_wider(drawn) - OPTIMISM * now.std(), -1.0, 1.0)
        gains = _wider(drawn - now)
        return Outlook(
            multiple=multiple,
            training_flops=multiple * self._spent,
            score=float(found.mean()),
            interval=_interval(found),
            gain=float(gains.mean()),
            gain_interval=_interval(gains),
            chance=float(np.mean(gains > LEAST_GAIN)),
        )


def _pool(surrogate: Surrogate, space: PoolSpace, params: dict, rng: np.random.Generator) -> Points:
    """Points that a study could try or promote: known ones, random ones, and some near the best."""
    known, _ = space.encode(list(params.values()))
    parents = known.take(_best(surrogate, space, known, PARENTS))
    parts = [known, space.random(rng, RANDOM, 0.0)]
    parts += [space.mutants(rng, parents, MUTANTS), space.crossed(rng, parents, CROSSED)]
    pool = Pool.joined(parts)
    for _ in range(ROUNDS):
        best = pool.take(_best(surrogate, space, pool, BEST))
        pool = Pool.joined((pool, space.mutants(rng, best, CHILDREN, size=0.4)))
    return space.points(pool)


def _best(surrogate: Surrogate, space: PoolSpace, pool: Pool, count: int) -> np.ndarray:
    """Points with the highest expected scores for their cost: half of any cost, half within each bin."""
    points = space.points(pool)
    score = surrogate.predict(points).mixed_mean
    order = np.argsort(-score, kind="stable")
    bins = space.bin_of(points.log_flops)[order]
    each = np.concatenate([order[bins == number][: max(1, count // 16)] for number in np.unique(bins)])
    return np.unique(np.concatenate((order[: count // 2], each)))


def _wider(values: np.ndarray) -> np.ndarray:
    return values.mean() + WIDER * (values - values.mean())


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (TAIL, 1 - TAIL))
    return float(low), float(high)
