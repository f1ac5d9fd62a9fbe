"""Predict the score of a larger model from a study's own training curves, with an interval.

The law is the sampler's (`search.surrogate.law`): a power law of size and data that saturates for large
regrets. Here its groups are the candidates, and its columns are a level, log FLOPs per token and log tokens:

    eta = level - size * log FLOPs_per_token - data * log tokens,  size, data >= 0

The level and the power of data vary between candidates: with their mixtures, their learning rates and the
rest of their shapes. They are shrunk towards those of all candidates: part of a candidate's deviation counts
as luck, and only the rest is carried over to the larger model. Promotions do not bias the fit, because they
depend only on scores that the fit includes.

The interval covers the uncertainty of: the spreads between candidates, the misfit and the floor (drawn by
`search.surrogate.draws`, because a few rungs determine them poorly); the level and the powers; the variation
between training runs; and the finite number of episodes. A bootstrap over candidates was tried for the level
and the powers: with sixteen candidates its intervals were too narrow.

Curves of small models bend: once a model has learned a task, the regret falls faster than the power law of
the lower rungs. The saturation of the law follows a part of that bend; for the rest, the power may be higher
beyond the highest rung by a half-normal amount, and predictions reach at most as many times beyond the
highest rung as the rungs span. The scale of the amount was 1.0 with a pure power law, on three studies with
six rungs a factor of two apart (`tests/benchmarks/ladders.py`); the saturating law needs less, and 0.7 was
measured only one rung ahead.

On a study of `quick`, and on random subsets of its candidates as small as 8, 0.94 to 0.97 of the scores one
rung above the fitted ones and 0.91 to 0.95 of those of the dearest candidates lay in their interval
(`tests/benchmarks/scale.py`). Coverage is at least nominal on studies drawn from a pure power law too. How
far the law extrapolates in size was not measured.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from search.read.rows import TrialRow
from search.surrogate.draws import draw
from search.surrogate.law import Prior, Rows, fraction
from space.recipe import Predicted
from space.study import Rungs

LEAST_CANDIDATES = 6  # with fewer, the spread between candidates cannot be estimated
DRAWS = 1000
SIDES = (0.05, 0.95)  # of the 90% interval
STEEPER = 0.7  # scale of the half-normal addition to the power of data beyond the highest rung
PRIOR = Prior(  # of the level, the power of size and the power of data; that of size is the same for all
    mean=np.array([-0.2, 0.16, 0.5]),
    std=np.array([1.0, 0.3, 0.5]),
    spread=np.array([0.2, 1e-3, 0.1]),
    pooled=np.array([0, -1, 1]),
    misfit=0.02,
)


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
    """The scores of a study's done trials on the select episodes.

    Args:
        rows: the study's trials.
        rungs: its rungs.
    """
    return [
        Observation(
            row.candidate, row.flops_per_token, rungs.with_decay(row.tokens), row.score, row.stderr or 0.0
        )
        for row in rows
        if row.state == "done" and row.score is not None and row.split == "select"
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
    """A study's scaling law with its candidates as groups, as draws from its distribution.

    Args:
        seen: the study's done trials; enough of them, by `too_small`.
        seed: seed of the draws.
    """

    def __init__(self, seen: Sequence[Observation], seed: int = 0) -> None:
        assert too_small(seen) is None
        rng = np.random.default_rng(seed)
        self._names = sorted({trial.candidate for trial in seen})
        self._stderr = float(np.median([trial.stderr for trial in seen]))
        logs = np.log([(trial.flops_per_token, trial.tokens) for trial in seen])
        self._centre = logs.mean(axis=0)
        self._law = draw(self._rows(seen), PRIOR, DRAWS, rng)
        # the same for all predictions, so that they are comparable
        self._luck = rng.standard_normal((DRAWS, len(PRIOR.mean) + 2))
        self._steeper = STEEPER * np.abs(rng.standard_normal(DRAWS))
        self._longest = max(trial.tokens for trial in seen)

    @property
    def exponents(self) -> tuple[float, float]:
        """Medians of the exponents of size and of data, of the regret above its floor at the mean trial."""
        rate = np.exp(self._law.common[:, 0])
        local = self._law.common[:, 1:3] * (rate / np.expm1(rate))[:, None]
        size, data = np.median(np.maximum(local, 0.0), axis=0)
        return float(size), float(data)

    def predict(self, candidate: str | None, flops_per_token: float, tokens: int) -> Interval:
        """Predict the score of one training run.

        Args:
            candidate: the candidate whose own effects apply; None for a new candidate.
            flops_per_token: size of the model.
            tokens: total input tokens, including the decay.
        """
        law, columns = self._law, len(PRIOR.mean)
        if candidate is None:
            beta = law.common + law.spread * self._luck[:, :columns]
        else:
            beta = law.each[:, self._names.index(candidate)]
        level, size, data = beta.T
        _, smaller, fewer = self._place(flops_per_token, tokens)
        eta = level + np.maximum(size, 0.0) * smaller + np.maximum(data, 0.0) * fewer
        eta = eta - self._steeper * max(0.0, np.log(tokens / self._longest))
        run, episodes = self._luck[:, columns:].T
        scores = fraction(eta, law.floor) + law.misfit * run + self._stderr * episodes
        scores = np.clip(scores, -1.0, 1.0)  # the range of scores
        return Interval(*np.quantile(scores, (SIDES[0], 0.5, SIDES[1])).tolist())

    def _place(self, flops_per_token: float, tokens: int) -> np.ndarray:
        """The columns of a model, (3,): 1, minus log size and minus log tokens, both centred."""
        return np.concatenate(([1.0], self._centre - np.log([flops_per_token, tokens])))

    def _rows(self, seen: Sequence[Observation]) -> Rows:
        """The trials of each candidate; candidates with fewer than others have NaN for the rest."""
        trials = [[trial for trial in seen if trial.candidate == name] for name in self._names]
        shape = (len(trials), max(map(len, trials)))
        rows = Rows(np.zeros((*shape, len(PRIOR.mean))), np.full(shape, np.nan), np.zeros(shape))
        for group, own in enumerate(trials):
            for row, trial in enumerate(own):
                rows.x[group, row] = self._place(trial.flops_per_token, trial.tokens)
                rows.y[group, row], rows.stderr[group, row] = trial.score, trial.stderr
        return rows
