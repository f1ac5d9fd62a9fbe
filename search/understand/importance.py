"""What matters for the score at the top rung at fixed cost: `pathfront importance`.

The functions whose effects are measured are draws from the surrogate's posterior, so each share of the
variance has an interval: what the scores so far leave open. The models see costs, tokens and all knobs
together, hence all rungs help.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from search.choose.studied import Studied
from search.understand.effects import Effect, effects
from search.understand.ranks import Agreement, agreements
from search.understand.resample import Design

POINTS = 400  # of the design
DRAWS = 96  # functions
TAIL = 0.05  # on either side of an interval
SURE = 0.95  # share of the draws that agree on a direction

Direction = Literal["more", "less", "optimum", "value", "unclear", "unsupported"]


@dataclass(frozen=True, slots=True)
class Importance:
    """How important a knob, the mixture, or a task's share is.

    Attributes:
        name: of the knob or task; "mixture".
        share: of the variance of the score at fixed cost that is left if everything else is known, of what
            the draws agree on.
        interval: its 90% interval, over both kinds of shares of `effects`; from 0 unless it is supported.
        supported: whether the scores so far distinguish the effect from none.
        direction: more or less is better, there is an optimum, one value is best, or the draws disagree;
            "unsupported" without a supported effect, or "unclear".
        best: value with the best score; None unless the direction is "optimum" or "value".
        best_interval: its 90% interval, of an optimum: that of the parabola which fits the effect best.
    """

    name: str
    share: float
    interval: tuple[float, float]
    supported: bool
    direction: Direction
    best: Any = None
    best_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Understanding:
    """What `importance` prints.

    Attributes:
        candidates: with scores.
        spread: standard deviation of the score at fixed cost over the space, as predicted.
        spread_interval: its 90% interval.
        law_weight: of the scaling law in the predictions.
        knobs: the knobs and the mixture, the most important first.
        tasks: each task's share of the mixture, the most important first.
        rungs: rank correlations of the scores of each pair of rungs.
    """

    study: str
    candidates: int
    spread: float
    spread_interval: tuple[float, float]
    law_weight: float
    knobs: tuple[Importance, ...]
    tasks: tuple[Importance, ...]
    rungs: tuple[Agreement, ...]


def importance(studied: Studied) -> Understanding:
    """Measure what matters in a study; the same for the same study.

    Raises:
        NotFoundError: too few candidates have a score.
    """
    models = studied.models("importance")
    surrogate = models.surrogate(studied.view)
    design = Design(studied.problem, models.space, POINTS)
    paths = surrogate.paths(DRAWS)
    variance, found = effects(design, lambda pool: paths(models.space.points(pool)))
    named = [(effect.of, importance_of(effect)) for effect in found]
    spread = np.sqrt(variance)
    return Understanding(
        study=studied.name,
        candidates=studied.scored,
        spread=float(np.median(spread)),
        spread_interval=_interval(spread),
        law_weight=surrogate.law_weight,
        knobs=_ordered([row for of, row in named if of != "task"]),
        tasks=_ordered([row for of, row in named if of == "task"]),
        rungs=agreements(studied.view, len(studied.problem.rungs.tokens)),
    )


def importance_of(effect: Effect) -> Importance:
    """Summarise an effect over the functions."""
    ends_of = np.quantile(np.stack((effect.shares, effect.agreed)), (TAIL, 1 - TAIL), axis=1)
    low, high = float(ends_of[0].min()), float(ends_of[1].max())
    share, interval = float(np.median(effect.agreed)), (low if effect.supported else 0.0, high)
    direction, best, ends = _direction(effect) if effect.supported else ("unsupported", None, None)
    return Importance(effect.name, share, interval, effect.supported, direction, best, ends)


def _direction(effect: Effect) -> tuple[Direction, Any, tuple[float, float] | None]:
    if effect.values is None or effect.gains is None:
        return "unclear", None, None
    places = effect.gains.argmax(axis=1)
    counts = np.bincount(places, minlength=len(effect.values))
    if effect.values.dtype == object:  # words or flags
        top = int(counts.argmax())
        sure = counts[top] >= SURE * len(places)
        return ("value", effect.values[top], None) if sure else ("unclear", None, None)
    inside = (places > 0) & (places < len(effect.values) - 1)
    rises = float(np.mean(effect.gains[:, -1] > effect.gains[:, 0]))
    if np.mean(inside) >= SURE:
        low, high = _interval(effect.values[places])
        return "optimum", float(np.median(effect.values[places])), (low, high)
    if rises >= SURE:
        return "more", None, None
    return ("less", None, None) if rises <= 1 - SURE else ("unclear", None, None)


def _ordered(rows: list[Importance]) -> tuple[Importance, ...]:
    return tuple(sorted(rows, key=lambda row: (not row.supported, -row.share)))


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (TAIL, 1 - TAIL))
    return float(low), float(high)
