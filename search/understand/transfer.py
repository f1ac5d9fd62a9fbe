"""Which task's share of the data helps or hurts which task, and the best mixture: `pathfront transfer`.

Both are read off the scaling laws of the tasks, fitted to the trials at all rungs. Intervals come from refits
to bootstrap samples of the candidates, each drawn with all of its rungs (Efron 1979,
https://doi.org/10.1214/aos/1176344552). The regret of a task depends on its own share and, linearly, on the
shares of the others, as in mixing laws (Ye 2024, https://arxiv.org/abs/2403.16952).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from search.choose.pool import Pool
from search.choose.studied import Studied
from search.surrogate.columns import Encoder, Points
from search.surrogate.law import Fit, Law, Prior, Rows
from search.surrogate.surrogate import Observations, Surrogate
from search.understand.mixtures import MixtureSearch
from space.errors import NotFoundError

BOOTSTRAP = 200
REFIT_STEPS = 3  # Gauss-Newton steps from the fit to all candidates
TAIL = 0.05  # on either side of an interval
FEWEST_GROUPS = 3  # with two, the share of one decides that of the other
SPREAD = 0.4  # prior standard deviation of the effect of another task's share, as if uniform


@dataclass(frozen=True, slots=True)
class Influence:
    """What the share of one task, or domain, does to another task.

    Attributes:
        source: the task whose share is doubled, from the uniform one; a domain where the study searches
            mixtures by domain.
        target: the task whose fraction of expert performance changes, at its own share as before.
        gain: its change at the top rung for the study's best architecture, compared with the same share for
            a typical other source: since shares sum to 1, only comparisons can be known.
        interval: its 90% interval.
        supported: whether 0 lies outside intervals that hold for all pairs together with 90%.
    """

    source: str
    target: str
    gain: float
    interval: tuple[float, float]
    supported: bool

    @property
    def word(self) -> str:
        """Helps or hurts."""
        return "helps" if self.gain > 0 else "hurts"


@dataclass(frozen=True, slots=True)
class BestShare:
    """A task's share in the predicted best mixture, with its 90% interval."""

    task: str
    share: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What `transfer` prints.

    Attributes:
        candidates: with scores, among them those at all rungs.
        trials: with scores, at all rungs.
        best: candidate with the study's best score, whose architecture and learning rate are meant.
        influences: of each pair of tasks; the supported ones first, the largest first.
        mixture: the mixture with the highest predicted score, the largest share first.
        gain: predicted score of that mixture less that of the uniform one, corrected for having been chosen.
        gain_interval: its 90% interval.
    """

    study: str
    candidates: int
    trials: int
    best: str
    influences: tuple[Influence, ...]
    mixture: tuple[BestShare, ...]
    gain: float
    gain_interval: tuple[float, float]

    @property
    def gains(self) -> bool:
        """Whether the scores support that the mixture is better than the uniform one."""
        return self.gain_interval[0] > 0


def transfer(studied: Studied) -> Transfer:
    """Estimate transfer between tasks and the best mixture of a study; the same for the same study.

    Raises:
        NotFoundError: fewer than three shares vary, the mixture is fixed, or there are no scores of tasks or
            too few scores.
    """
    suite, groups = studied.problem.suite, studied.problem.shares.groups.names
    if len(groups) < FEWEST_GROUPS:
        raise NotFoundError(
            f"transfer needs {FEWEST_GROUPS} tasks or domains whose shares vary, and study '{studied.name}'"
            f" has {', '.join(groups)}: there is no share to move between others"
        )
    if studied.problem.space.mixture.fixed:
        raise NotFoundError(
            f"transfer needs mixtures that vary, and study '{studied.name}' has space.mixture.fixed: true"
        )
    models = studied.models("transfer")
    surrogate = models.surrogate(studied.view)
    if not surrogate.encoder.per_task:
        raise NotFoundError(
            f"transfer needs scores of tasks, and no trial of study '{studied.name}' has them"
        )
    laws = _Laws.of(surrogate)
    best = _best(studied, surrogate.seen)
    start, _ = models.space.encode([{**studied.view.candidates[best].params, **_uniform(studied)}])
    search = MixtureSearch(surrogate.encoder, models.space, start)
    mixture, gain, gain_interval = _best_mixture(search, models.space.points, laws, suite.tasks)
    return Transfer(
        study=studied.name,
        candidates=len(np.unique(surrogate.seen.candidate)),
        trials=len(surrogate.seen),
        best=studied.view.candidates[best].id,
        influences=_influences(
            search, start.logits, surrogate.encoder.share_columns(), laws, suite.tasks, groups
        ),
        mixture=mixture,
        gain=gain,
        gain_interval=gain_interval,
    )


@dataclass(frozen=True)
class _Laws:
    """The laws fitted to all candidates, first, and then those of each bootstrap sample.

    Attributes:
        beta: (1 + samples, tasks, columns).
        floor: (1 + samples, tasks).
    """

    beta: np.ndarray
    floor: np.ndarray

    @staticmethod
    def of(surrogate: Surrogate) -> "_Laws":
        encoder, seen = surrogate.encoder, surrogate.seen
        rows = Rows(encoder.law(seen.points, seen.rung), seen.fractions, seen.fraction_stderr)
        prior = _prior(encoder)
        fitted = Fit(rows, prior).run(2 * REFIT_STEPS).law(np.empty(0))
        names = np.unique(seen.candidate)
        of_each = [np.flatnonzero(seen.candidate == name) for name in names]
        rng = np.random.default_rng(0)
        found: list[Law] = [fitted]
        for _ in range(BOOTSTRAP):
            drawn = np.concatenate([of_each[i] for i in rng.integers(len(names), size=len(names))])
            found.append(Fit(rows.take(drawn), prior, fitted).run(REFIT_STEPS).law(np.empty(0)))
        return _Laws(np.array([law.beta for law in found]), np.array([law.floor for law in found]))


def _prior(encoder: Encoder) -> Prior:
    """The sampler's prior, with a wider one of transfer, which is not shrunk to what most pairs show."""
    columns = np.unique(encoder.share_columns()[encoder.share_columns() >= 0])
    spread, pooled = encoder.prior.spread.copy(), encoder.prior.pooled.copy()
    spread[columns], pooled[columns] = SPREAD, -1
    return replace(encoder.prior, spread=spread, pooled=pooled)


def _influences(
    search: MixtureSearch,
    uniform: np.ndarray,
    columns: np.ndarray,
    laws: _Laws,
    tasks: tuple[str, ...],
    groups: tuple[str, ...],
) -> tuple[Influence, ...]:
    """Each pair of a task and a source: the change of the task's fraction if the source's share is doubled.

    Args:
        search: scores of mixtures.
        uniform: (1, groups) log-ratios.
        columns: of the laws, (tasks, groups); see `Encoder.share_columns`.
        laws: the fits.
        tasks: names of the targets.
        groups: names of the sources.
    """
    gains = np.zeros((len(laws.beta), *columns.shape))
    logits = np.repeat(uniform, len(laws.beta), axis=0)
    before = search.fractions(logits, laws.beta, laws.floor)
    pairs = columns >= 0
    for target in range(len(tasks)):
        others = np.flatnonzero(pairs[target])
        slopes = laws.beta[:, target, columns[target, others]]  # of the linear predictor
        for place, source in enumerate(others):
            typical = np.median(np.delete(slopes, place, axis=1), axis=1)
            shift = np.zeros((len(laws.beta), len(tasks)))
            shift[:, target] = slopes[:, place] - typical
            after = search.fractions(logits, laws.beta, laws.floor, shift)
            gains[:, target, source] = (after - before)[:, target]
    whole, drawn = gains[0], gains[1:]
    error = np.maximum(drawn.std(axis=0), 1e-12)
    farthest = (np.abs(drawn - drawn.mean(axis=0)) / error)[:, pairs].max(axis=1)
    limit = np.quantile(farthest, 1 - 2 * TAIL)
    low, high = np.quantile(drawn, (TAIL, 1 - TAIL), axis=0)
    found = [
        Influence(
            source=groups[source],
            target=tasks[target],
            gain=float(whole[target, source]),
            interval=(float(low[target, source]), float(high[target, source])),
            supported=bool(abs(whole[target, source]) > limit * error[target, source]),
        )
        for target, source in zip(*np.nonzero(pairs), strict=True)
    ]
    return tuple(sorted(found, key=lambda row: (not row.supported, -abs(row.gain))))


def _best_mixture(
    search: MixtureSearch, points: Callable[[Pool], Points], laws: _Laws, tasks: tuple[str, ...]
) -> tuple[tuple[BestShare, ...], float, tuple[float, float]]:
    """The best mixture by all candidates, and its gain over the uniform one."""
    logits = search.best(laws.beta, laws.floor)
    uniform = np.repeat(search.start.logits, len(logits), axis=0)
    gains = search.scores(logits, laws.beta, laws.floor) - search.scores(uniform, laws.beta, laws.floor)
    same = np.repeat(laws.beta[:1], len(logits), axis=0), np.repeat(laws.floor[:1], len(logits), axis=0)
    by_all = search.scores(logits, *same) - search.scores(uniform, *same)
    optimism = (gains - by_all)[1:]  # what a gain loses that was chosen by the scores that it is judged by
    low, high = np.quantile(optimism, (TAIL, 1 - TAIL))
    shares = points(search.at(logits)).shares
    ends = np.quantile(shares[1:], (TAIL, 1 - TAIL), axis=0)
    mixture = [
        BestShare(task, float(shares[0, number]), (float(ends[0, number]), float(ends[1, number])))
        for number, task in enumerate(tasks)
    ]
    ordered = tuple(sorted(mixture, key=lambda row: -row.share))
    return ordered, float(gains[0] - optimism.mean()), (float(gains[0] - high), float(gains[0] - low))


def _best(studied: Studied, seen: Observations) -> int:
    """Ordinal of the candidate with the best score, each at its highest rung."""
    last = {int(candidate): row for row, candidate in enumerate(seen.candidate)}  # by rising rung
    return max(last, key=lambda candidate: seen.score[last[candidate]])


def _uniform(studied: Studied) -> dict[str, float]:
    """Mixture parameters of the uniform mixture, or of the one nearest to it in the space."""
    controls = studied.problem.space.controls(studied.problem.suite)
    return controls[0] if controls else {}
