"""What a larger model would score, read off a study's own curves, with an interval.

The law is a saturating power of size and data (Kaplan 2020, https://arxiv.org/abs/2001.08361):

    1 - score = floor + exp(level + own - a log FLOPs_per_token - (b + own_b) log tokens),  a, b, floor >= 0

where each candidate has a level and a power of data of its own: its mixture, its learning rate, the rest of
its shape. They are random, so a candidate that stands above the law is believed to stand there in part by
luck; so much of it as is believed is carried to the larger model. Whoever was promoted is on more rungs
because of scores that the fit itself sees, so the promotions do not bias it.

The interval holds what is not known: the floor and the three spreads (drawn by their restricted likelihood on
a grid, since a few rungs hardly tell them), the level and the exponents (drawn from their distribution given
those), the candidate's own, one training run's luck, and the finite number of episodes. A bootstrap over
candidates was tried for the level and the exponents: with sixteen of them its intervals were too narrow.

Curves of small models bend: once a task is understood, the regret falls faster than the power that the rungs
below have shown. So beyond the highest rung the power may be higher by a half-normal amount, and nothing is
predicted further ahead of that rung than the rungs span. Three studies of six rungs a factor of two apart,
24k to 1.5M tokens, were predicted at each rung from all ladders below it: within that reach 118 of 144 trials
fell in their 90% interval, with a mean error of 0.01 (without the higher power 71, the others nearly all
above it); further ahead 47 of 75 did, predicted 0.13 too low (`tests/benchmarks/ladders.py`).

Studies drawn from the law are covered at least as they should be, and so were five real ones, predicted at a
rung above those that were fitted: see `tests/benchmarks/scale.py`. Without powers of the candidates' own
those were covered too seldom. How far ahead in size a law holds was never measured.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from search.read.rows import TrialRow
from space.recipe import Predicted

LEAST_CANDIDATES = 6  # with fewer, the spread between candidates is a guess
DRAWS = 1000
SIDES = (0.05, 0.95)  # of the 90% interval
FLOORS = np.linspace(0.0, 0.8, 9)  # as shares of the lowest regret seen; half of the belief is in the first
LEVELS = np.geomspace(0.03, 0.8, 8)  # spread between candidates, on the log of the regret
POWERS = np.geomspace(0.03, 0.3, 4)  # spread between the powers of data of candidates
RUNS = np.geomspace(0.01, 0.3, 6)  # spread between runs of one candidate beyond that of its episodes
SMOOTHING = (0.0, 0.2, 0.1, 0.05)  # floor and spreads under which noise is taken off the regret
STEEPER = 1.0  # spread of how much higher the power of data may be beyond the highest rung
LEAST_REGRET = 1e-3  # a perfect score has no logarithm


@dataclass(frozen=True, slots=True)
class Observation:
    """One done trial: a candidate's score once it had seen so many tokens, those of the decay included."""

    candidate: str
    flops_per_token: float
    tokens: int
    score: float
    stderr: float


class Interval(NamedTuple):
    """A predicted score: its median, and the sides of its 90% interval."""

    low: float
    score: float
    high: float


def observations(rows: Iterable[TrialRow], decay: float) -> list[Observation]:
    """What a study's done trials tell.

    Args:
        rows: its trials.
        decay: tokens of a decay branch as a share of its rung.
    """
    return [
        Observation(
            row.candidate, row.flops_per_token, round(row.tokens * (1 + decay)), row.score, row.stderr or 0.0
        )
        for row in rows
        if row.state == "done" and row.score is not None
    ]


def too_small(seen: Sequence[Observation]) -> str | None:
    """Why a study tells nothing about larger models, or None where it does."""
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
    """Tokens up to which a study's rungs tell what comes: as far ahead of the highest as they span."""
    tokens = [trial.tokens for trial in seen]
    return round(max(tokens) ** 2 / min(tokens))


def predicted_scores(
    seen: Sequence[Observation],
    candidate: str,
    flops_per_token: float,
    tokens: Sequence[int],
    planned_flops_per_token: float,
) -> tuple[tuple[Predicted, ...], str | None]:
    """What a larger model of a candidate's shape would score, at several numbers of tokens.

    Args:
        seen: done trials of the study.
        candidate: whose shape it is.
        flops_per_token: size of the larger model.
        tokens: input tokens in all, the decaying ones included.
        planned_flops_per_token: training FLOPs for each of them.

    Returns:
        The predictions within reach by rising tokens and None; or none of them and why.
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
    """The law of one study: a thousand of them, each of which could be it.

    Args:
        seen: its done trials; `too_small` has nothing to say about them.
        seed: of the draws.
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
        self._luck = rng.standard_normal((DRAWS, 4))  # the same for every question, so answers compare
        self._steeper = STEEPER * np.abs(rng.standard_normal(DRAWS))
        self._longest = max(trial.tokens for trial in seen)

    @property
    def exponents(self) -> tuple[float, float]:
        """Medians of the powers of size and of data."""
        return float(np.median(self._law[:, 1])), float(np.median(self._law[:, 2]))

    def predict(self, candidate: str | None, flops_per_token: float, tokens: int) -> Interval:
        """Predict the score of one training run.

        Args:
            candidate: whose own level and power are carried along; None for one that the study has not seen.
            flops_per_token: size of the model.
            tokens: input tokens in all, the decaying ones included.
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
        scores = np.clip(scores + self._stderr * episodes, -1.0, 1.0)  # as scores are
        return Interval(*np.quantile(scores, (SIDES[0], 0.5, SIDES[1])).tolist())


@dataclass(frozen=True)
class _Trials:
    """A study as arrays.

    Attributes:
        x: (trials, 3): 1, minus log size and minus log tokens, both centred.
        regret: (trials,): 1 - score.
        smooth: (trials,): the regret without most of its noise; noise is linearised around it.
        stderr: (trials,): of the scores.
        member: (trials, candidates): 1 where the trial is the candidate's.
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
        """What a candidate's own level and power of data are multiplied by, (trials, 2)."""
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
        """Where a model stands, (3,)."""
        return np.concatenate(([1.0], self.centre - np.log([flops_per_token, tokens])))


def _grid(trials: _Trials) -> np.ndarray:
    """Points (floor, spread of levels, spread of powers, spread of runs) to weigh against each other."""
    floors = FLOORS * trials.smooth.min()
    return np.array(list(itertools.product(floors, LEVELS, POWERS, RUNS)))


class _Fit:
    """Generalised least squares at each of many points (floor, spreads of levels, of powers and of runs).

    With the floor given, log(regret - floor) is linear in the coefficients and in what is a candidate's own,
    which adds a matrix of rank two to the covariance of its trials: the inverse is known in closed form.
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
        slope = np.log(above).sum(axis=1)  # of the logarithm: the scores were observed, not their logarithms
        self._log = -0.5 * (residual + log_det + np.linalg.slogdet(self._xx)[1]) - slope

    def likelihood(self) -> np.ndarray:
        """How likely each point is, the coefficients integrated out (restricted likelihood), (points,)."""
        share = np.exp(self._log - self._log.max()) * np.where(
            self.points[:, 0] > 0, 1 / (len(FLOORS) - 1), 1
        )
        return share / share.sum()

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One law that could be for each point: level and exponents, which are at least 0, (points, 3)."""
        roots = np.linalg.cholesky(np.linalg.inv(self._xx))
        law = self._theta + np.einsum("pkl,pl->pk", roots, rng.standard_normal(self._theta.shape))
        return np.column_stack((law[:, :1], np.maximum(law[:, 1:], 0.0)))

    def own(self, candidate: int | None, law: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is a candidate's own at each point, given the law there; of none that was seen if None.

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
        """The regret that the first point gives each trial, its candidate's own included, (trials,)."""
        law, trials = self._theta[:1], self.trials
        own = np.array([self.own(candidate, law)[0][0] for candidate in range(trials.member.shape[1])])
        log_above = trials.x @ law[0] + (trials.own * (trials.member @ own)).sum(axis=1)
        return self.points[0, 0] + np.exp(log_above)
