"""Predict the score of a larger model from a study's own training curves, with an interval.

The law is a saturating power law of size and data (Kaplan 2020, https://arxiv.org/abs/2001.08361):

    1 - score = floor + exp(level + own - a log FLOPs_per_token - (b + own_b) log tokens),  a, b, floor >= 0

where `own` and `own_b` are random effects of each candidate: of its mixture, its learning rate and the rest
of its shape. As random effects they are shrunk towards 0: part of a candidate's deviation from the law counts
as luck, and only the rest is carried over to the larger model. Promotions do not bias the fit, because they
depend only on scores that the fit includes.

The interval covers the uncertainty of: the floor and the three spreads (drawn from their restricted
likelihood on a grid, because a few rungs determine them poorly); the level and the exponents (drawn from
their distribution given those); the candidate's own effects; the variation between training runs; and the
finite number of episodes. A bootstrap over candidates was tried for the level and the exponents: with sixteen
candidates its intervals were too narrow.

Curves of small models bend: once a model has learned a task, the regret falls faster than the power law of
the lower rungs. So beyond the highest rung the power may be higher by a half-normal amount, and predictions
reach at most as many times beyond the highest rung as the rungs span. Three studies with six rungs a factor
of two apart, 24k to 1.5M tokens, were predicted at each rung from the lower rungs: within that reach, 118 of
144 trials were in their 90% interval, with a mean error of 0.01 (71 without the higher power, nearly all
others above it); further ahead 47 of 75, predicted 0.13 too low (`tests/benchmarks/ladders.py`).

Coverage is at least nominal on studies drawn from the law, and was on five real studies predicted at one rung
above the fitted ones (`tests/benchmarks/scale.py`); without the candidates' own powers it was too low on the
latter. How far the law extrapolates in size was not measured.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from search.read.rows import TrialRow
from space.recipe import Predicted
from space.study import Rungs

LEAST_CANDIDATES = 6  # with fewer, the spread between candidates cannot be estimated
DRAWS = 1000
SIDES = (0.05, 0.95)  # of the 90% interval
FLOORS = np.linspace(0.0, 0.8, 9)  # shares of the lowest regret; the first has half of the prior weight
LEVELS = np.geomspace(0.03, 0.8, 8)  # standard deviations between candidates, of the log regret
POWERS = np.geomspace(0.03, 0.3, 4)  # standard deviations between candidates, of the power of data
RUNS = np.geomspace(0.01, 0.3, 6)  # standard deviations between runs of a candidate, without episode noise
SMOOTHING = (0.0, 0.2, 0.1, 0.05)  # floor and spreads with which the regret is smoothed first
STEEPER = 1.0  # scale of the half-normal addition to the power of data beyond the highest rung
LEAST_REGRET = 1e-3  # a perfect score has no logarithm


@dataclass(frozen=True, slots=True)
class Observation:
    """The score of a done trial; `tokens` includes the decay branch."""

    candidate: str
    flops_per_token: float
    tokens: int
    score: float
    stderr: float


class Interval(NamedTuple):
    """A predicted score: the median, and the ends of the 90% interval."""

    low: float
    score: float
    high: float


def observations(rows: Iterable[TrialRow], rungs: Rungs) -> list[Observation]:
    """The scores of a study's done trials.

    Args:
        rows: the study's trials.
        rungs: its rungs.
    """
    return [
        Observation(
            row.candidate, row.flops_per_token, rungs.with_decay(row.tokens), row.score, row.stderr or 0.0
        )
        for row in rows
        if row.state == "done" and row.score is not None
    ]


def too_small(seen: Sequence[Observation]) -> str | None:
    """Why a study is too small for predictions; None if it is not."""
    candidates = len({trial.candidate for trial in seen})
    if candidates < LEAST_CANDIDATES:
        return (
            f"a prediction needs at least {LEAST_CANDIDATES} candidates with scores,"
            f" the study has {candidates}"
        )
    for name, values in (
        ("rungs with scores", {trial.tokens for trial in seen}),
        ("sizes of candidates", {trial.flops_per_token for trial in seen}),
    ):
        if len(values) < 2:
            return f"a prediction needs at least two {name}, the study has {len(values)}"
    return None


def reach(seen: Sequence[Observation]) -> int:
    """Most tokens at which scores can be predicted: the highest rung times the ratio that the rungs span."""
    tokens = [trial.tokens for trial in seen]
    return round(max(tokens) ** 2 / min(tokens))


def predicted_scores(
    seen: Sequence[Observation],
    candidate: str,
    flops_per_token: float,
    tokens: Sequence[int],
    planned_flops_per_token: float,
) -> tuple[tuple[Predicted, ...], str | None]:
    """Predict the score of a larger model of a candidate's shape, at several numbers of tokens.

    Args:
        seen: done trials of the study.
        candidate: id of the candidate.
        flops_per_token: size of the larger model.
        tokens: total input tokens, including the decay.
        planned_flops_per_token: training FLOPs per input token.

    Returns:
        The predictions within `reach` by increasing tokens, and None; or no predictions, and why.
    """
    unknown = too_small(seen)
    if unknown is not None:
        return (), unknown
    furthest = reach(seen)
    near = [count for count in tokens if count <= furthest]
    if not near:
        low, high = min(trial.tokens for trial in seen), max(trial.tokens for trial in seen)
        return (), (
            f"a prediction reaches as many times beyond the highest rung as the rungs span, here"
            f" {high / low:.3g} times from {low:,} to {high:,} tokens and so up to {furthest:,}, got"
            f" {min(tokens):,}; a study with more rungs reaches further"
        )
    curves = Curves(seen)
    return tuple(
        Predicted(
            tokens=count,
            training_flops=planned_flops_per_token * count,
            **curves.predict(candidate, flops_per_token, count)._asdict(),
        )
        for count in sorted(near)
    ), None


class Curves:
    """A study's scaling law, as a thousand draws from its distribution.

    Args:
        seen: the study's done trials; enough of them, by `too_small`.
        seed: seed of the draws.
    """

    def __init__(self, seen: Sequence[Observation], seed: int = 0) -> None:
        assert too_small(seen) is None
        rng = np.random.default_rng(seed)
        self._names = sorted({trial.candidate for trial in seen})
        self._stderr = float(np.median([trial.stderr for trial in seen]))
        trials = _Trials.of(seen, self._names)
        grid = _Fit(trials, _grid(trials))
        kept = rng.choice(len(grid.points), size=DRAWS, p=grid.likelihood())
        self._fit = _Fit(trials, grid.points[kept])
        self._law = self._fit.draw(rng)
        self._luck = rng.standard_normal(
            (DRAWS, 4)
        )  # the same for all predictions, so that they are comparable
        self._steeper = STEEPER * np.abs(rng.standard_normal(DRAWS))
        self._longest = max(trial.tokens for trial in seen)

    @property
    def exponents(self) -> tuple[float, float]:
        """Medians of the exponents of size and of data."""
        return float(np.median(self._law[:, 1])), float(np.median(self._law[:, 2]))

    def predict(self, candidate: str | None, flops_per_token: float, tokens: int) -> Interval:
        """Predict the score of one training run.

        Args:
            candidate: the candidate whose own effects apply; None for a new candidate.
            flops_per_token: size of the model.
            tokens: total input tokens, including the decay.
        """
        fit, place = self._fit, self._fit.trials.place(flops_per_token, tokens)
        index = None if candidate is None else self._names.index(candidate)
        mean, covariance = fit.own(index, self._law)
        own = mean + np.einsum("dij,dj->di", np.linalg.cholesky(covariance), self._luck[:, :2])
        data = np.maximum(self._law[:, 2] + own[:, 1], 0.0)
        log_regret = self._law[:, :2] @ place[:2] + own[:, 0] + data * place[2]
        log_regret = log_regret - self._steeper * max(0.0, np.log(tokens / self._longest))
        run, episodes = self._luck[:, 2:].T
        scores = 1 - fit.points[:, 0] - np.exp(log_regret + fit.points[:, 3] * run)
        scores = np.clip(scores + self._stderr * episodes, -1.0, 1.0)  # the range of scores
        return Interval(*np.quantile(scores, (SIDES[0], 0.5, SIDES[1])).tolist())


@dataclass(frozen=True)
class _Trials:
    """The trials of a study as arrays.

    Attributes:
        x: (trials, 3): 1, minus log size and minus log tokens, both centred.
        regret: (trials,): 1 - score.
        smooth: (trials,): the smoothed regret, around which the noise is linearised.
        stderr: (trials,): standard errors of the scores.
        member: (trials, candidates): 1 if the trial is the candidate's.
        centre: (2,): mean log size and log tokens.
    """

    x: np.ndarray
    regret: np.ndarray
    smooth: np.ndarray
    stderr: np.ndarray
    member: np.ndarray
    centre: np.ndarray

    @property
    def own(self) -> np.ndarray:
        """The design matrix of a candidate's own level and power of data, (trials, 2)."""
        return self.x[:, [0, 2]]

    @classmethod
    def of(cls, seen: Sequence[Observation], names: list[str]) -> "_Trials":
        logs = np.log([(trial.flops_per_token, trial.tokens) for trial in seen])
        regret = np.maximum(1 - np.array([trial.score for trial in seen]), LEAST_REGRET)
        rough = cls(
            x=np.column_stack((np.ones(len(seen)), logs.mean(axis=0) - logs)),
            regret=regret,
            smooth=regret,
            stderr=np.array([trial.stderr for trial in seen]),
            member=np.array([[trial.candidate == name for name in names] for trial in seen], dtype=float),
            centre=logs.mean(axis=0),
        )
        return replace(rough, smooth=_Fit(rough, np.array([SMOOTHING])).fitted())

    def place(self, flops_per_token: float, tokens: int) -> np.ndarray:
        """The row of `x` for a model, (3,)."""
        return np.concatenate(([1.0], self.centre - np.log([flops_per_token, tokens])))


def _grid(trials: _Trials) -> np.ndarray:
    """Grid points (floor, spread of levels, spread of powers, spread of runs)."""
    floors = FLOORS * trials.smooth.min()
    return np.array(list(itertools.product(floors, LEVELS, POWERS, RUNS)))


class _Fit:
    """Generalised least squares at each of many points (floor, spreads of levels, of powers and of runs).

    Given the floor, log(regret - floor) is linear in the coefficients and in each candidate's own effects.
    The effects add a matrix of rank two to the covariance of the candidate's trials, so that its inverse has
    a closed form.
    """

    def __init__(self, trials: _Trials, points: np.ndarray) -> None:
        self.trials, self.points = trials, points
        floor, level, power, run = points.T[:, :, None]
        above = trials.smooth - floor  # (points, trials)
        z = np.log(above) + (trials.regret - trials.smooth) / above
        weight = 1 / (run**2 + (trials.stderr / above) ** 2)
        x, own, member = trials.x, trials.own, trials.member
        prior = np.concatenate((level, power), axis=1) ** -2  # (points, 2)
        inverse = np.einsum("pt,ti,tj,tc->pcij", weight, own, own, member, optimize=True)
        inverse = inverse + np.einsum("pi,ij->pij", prior, np.eye(2))[:, None]
        self._covariance = np.linalg.inv(inverse)  # (points, candidates, 2, 2)
        self._x = np.einsum("pt,tk,ti,tc->pcki", weight, x, own, member, optimize=True)
        self._z = np.einsum("pt,ti,tc->pci", weight * z, own, member, optimize=True)
        explained = self._x @ self._covariance  # (points, candidates, 3, 2)
        self._xx = np.einsum("pt,tk,tl->pkl", weight, x, x, optimize=True)
        self._xx = self._xx - np.einsum("pcki,pcli->pkl", explained, self._x)
        self._xz = (weight * z) @ x - np.einsum("pcki,pci->pk", explained, self._z)
        zz = (weight * z**2).sum(axis=1)
        zz = zz - np.einsum("pci,pcij,pcj->p", self._z, self._covariance, self._z, optimize=True)
        self._theta = np.linalg.solve(self._xx, self._xz[..., None])[..., 0]  # (points, 3)
        log_det = np.linalg.slogdet(inverse)[1].sum(axis=1) - np.log(weight).sum(axis=1)
        log_det = log_det - member.shape[1] * np.log(prior).sum(axis=1)
        residual = zz - (self._theta * self._xz).sum(axis=1)
        slope = np.log(above).sum(axis=1)  # Jacobian: the scores are observed, not their logarithms
        self._log = -0.5 * (residual + log_det + np.linalg.slogdet(self._xx)[1]) - slope

    def likelihood(self) -> np.ndarray:
        """Posterior weight of each point, by restricted likelihood, (points,)."""
        share = np.exp(self._log - self._log.max()) * np.where(
            self.points[:, 0] > 0, 1 / (len(FLOORS) - 1), 1
        )
        return share / share.sum()

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a law at each point: level, and exponents of at least 0, (points, 3)."""
        roots = np.linalg.cholesky(np.linalg.inv(self._xx))
        law = self._theta + np.einsum("pkl,pl->pk", roots, rng.standard_normal(self._theta.shape))
        return np.column_stack((law[:, :1], np.maximum(law[:, 1:], 0.0)))

    def own(self, candidate: int | None, law: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A candidate's own effects at each point, given the law there.

        Args:
            candidate: index of the candidate; None for a new one.
            law: (points, 3).

        Returns:
            Mean (points, 2) and covariance (points, 2, 2) of its level and of its power of data.
        """
        if candidate is None:
            spreads = self.points[:, 1:3]
            return np.zeros_like(spreads), np.einsum("pi,ij->pij", spreads**2, np.eye(2))
        covariance = self._covariance[:, candidate]
        seen = self._z[:, candidate] - np.einsum("pki,pk->pi", self._x[:, candidate], law)
        return np.einsum("pij,pj->pi", covariance, seen), covariance

    def fitted(self) -> np.ndarray:
        """The fitted regret of each trial at the first point, with its candidate's own effects, (trials,)."""
        law, trials = self._theta[:1], self.trials
        own = np.array([self.own(candidate, law)[0][0] for candidate in range(trials.member.shape[1])])
        log_above = trials.x @ law[0] + (trials.own * (trials.member @ own)).sum(axis=1)
        return self.points[0, 0] + np.exp(log_above)
