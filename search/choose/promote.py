"""Promotion: which candidates train on to the next rung.

One in `eta` of the candidates that ended at a rung is promoted, in an order that `search.promotion` names: by
gain, by rank, or by a function of the user's. Candidates within one standard error of the floor are never
promoted, since the cheapest candidate of all is always non-dominated. The rule "all" promotes every candidate
that has a score. Others may be promoted ahead of these quotas by gain (`search.choose.ahead`).

The first candidates of a study with a belief (`search.choose.believed`) do not compete: they train on at once
unless they are at the floor, and neither take nor make places for the others.

`search.choose.promotion` is the same rule for any Optuna study.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from search.choose.ranking import best_first
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot, SnapshotTrial
from space.objectives import DEFAULT, Objectives
from space.study import Rungs, Search, StudyConfig

MOST_BELIEVED = 4  # candidates that a belief chooses
BELIEVED_OF = 3  # one in so many candidates of a small study, and one at least
PEERS = 1  # times eta: with fewer ended trials at a rung, new candidates come first
EVERY = "all"  # the rule that promotes every candidate with a score
GAIN = "gain"  # the rule that goes by what models expect

Order = Callable[[Sequence[SnapshotTrial], Snapshot], Sequence[SnapshotTrial]]


class Promotion(NamedTuple):
    """A known candidate and the rung that it is to be trained to next."""

    candidate: str
    rung: int


class PromotionAhead(Promotion):
    """A promotion ahead of the quotas; see `search.choose.ahead`."""


class Ended(Protocol):
    """A trial that ended at a rung."""

    @property
    def candidate(self) -> str:
        """Its candidate."""
        ...


Trial = TypeVar("Trial", bound=Ended)


def promote(
    view: Snapshot,
    rungs: Rungs,
    search: Search,
    enough_peers: bool,
    order: Order | None = None,
    objectives: Objectives = DEFAULT,
) -> Promotion | None:
    """Choose the next promotion by the study's rule.

    Args:
        view: the study's candidates and trials.
        rungs: its rungs.
        search: its rule of promotion, and the seed that breaks ties.
        enough_peers: see `next_promotion`.
        order: the order that the study names, made by `search.choose.orders`; by default that of the rules
            that ship.
        objectives: the study's.

    Returns:
        The promotion; None if there is none.
    """
    every = search.promotion == EVERY
    assert order is not None or ":" not in search.promotion, "the order of a user's own function is given"

    def ordered(ended: Sequence[SnapshotTrial]) -> Sequence[SnapshotTrial]:
        if every:
            return [trial for trial in ended if trial.state == "done"]
        able = [trial for trial in ended if not trial.at_floor]
        return ranked(able, search.seed, objectives) if order is None else order(able, view)

    believed = frozenset() if every else view.believed
    onwards = next_believed(view, len(rungs.tokens)) if believed else None
    if onwards is not None:
        return onwards
    of_rungs = [
        [trial for trial in view.rungs.get(rung, []) if trial.candidate not in believed]
        for rung in range(len(rungs.tokens))
    ]
    return next_promotion(
        [[trial for trial in trials if trial.ended] for trials in of_rungs],
        [{trial.candidate for trial in trials} for trials in of_rungs],
        ordered,
        eta=1 if every else rungs.eta,
        enough_peers=enough_peers or every,
        peers=0 if every else PEERS,
    )


def next_promotion(
    ended: Sequence[Sequence[Trial]],
    taken: Sequence[Collection[str]],
    order: Callable[[Sequence[Trial]], Sequence[Trial]],
    eta: float,
    enough_peers: bool,
    peers: float = PEERS,
) -> Promotion | None:
    """Choose the next promotion.

    Args:
        ended: for each rung, the trials that ended there with a result.
        taken: for each rung, the candidates that have a trial there, in whatever state.
        order: the trials that may be promoted, best first.
        eta: one in so many is promoted.
        enough_peers: promote only from rungs with `peers` times eta ended trials, the highest rung first.
            Otherwise promote from any rung, the lowest first, so that each rung fills before the next one;
            for when nothing else is left to do.
        peers: see `enough_peers`.

    Returns:
        The promotion; None if there is none.
    """
    lower = range(len(ended) - 1)
    for rung in reversed(lower) if enough_peers else lower:
        if enough_peers and len(ended[rung]) < peers * eta:
            continue
        places = quota(len(ended[rung]), eta)
        if len(taken[rung + 1]) >= places:
            continue
        for trial in order(ended[rung])[:places]:
            if trial.candidate not in taken[rung + 1]:
                return Promotion(trial.candidate, rung + 1)
    return None


def most_believed(config: StudyConfig) -> int:
    """How many candidates a study's belief chooses: none without priors and a warm start.

    In a small study they are a part of the candidates that its `start` leaves.
    """
    if not config.priors and config.warm is None:
        return 0
    if config.stop.candidates is None:
        return MOST_BELIEVED
    left = max(0, config.stop.candidates - len(config.start))
    return min(MOST_BELIEVED, left, max(1, left // BELIEVED_OF))


def goes_ahead(config: StudyConfig) -> bool:
    """Whether a study promotes candidates ahead of the quotas; see `search.choose.ahead`.

    Where `stop.candidates` says how many are tried, a promotion would save no new candidate.
    """
    return config.search.promotion == GAIN and config.stop.candidates is None


def next_believed(view: Snapshot, rungs: int) -> Promotion | None:
    """The next promotion of a candidate that the study's belief chose; None if none can train on now.

    Args:
        view: the study's candidates and trials.
        rungs: how many there are.
    """
    begun = {(trial.candidate, trial.rung) for trial in view.trials}
    for trial in view.trials:
        if trial.candidate in view.believed and trial.state == "done" and not trial.at_floor:
            onwards = Promotion(trial.candidate, trial.rung + 1)
            if onwards.rung < rungs and onwards not in begun:
                return onwards
    return None


def repeat(view: Snapshot, repeated: Snapshot, share: float) -> Promotion | None:
    """Choose the next trial to train again with another seed.

    A share of the candidates is repeated, spread evenly over the order of their proposals, at each rung at
    which they have a score.

    Args:
        view: the study's trials with its own seed.
        repeated: its trials with the other seed.
        share: of the candidates, from 0 to 1.

    Returns:
        The candidate and the rung; None if nothing is left to repeat.
    """
    chosen = {c.id for c in view.candidates if int((c.ordinal + 1) * share) > int(c.ordinal * share)}
    begun = {(trial.candidate, trial.rung): trial for trial in repeated.trials}
    for rung in sorted(view.rungs, reverse=True):
        for trial in view.rungs[rung]:
            below = begun.get((trial.candidate, rung - 1))
            ready = rung == 0 or (below is not None and below.state == "done")
            wanted = trial.candidate in chosen and trial.state == "done"
            if wanted and ready and (trial.candidate, rung) not in begun:
                return Promotion(trial.candidate, rung)
    return None


def quota(ended: int, eta: float) -> int:
    """How many of the trials that ended at a rung may be promoted."""
    return math.floor(ended / eta + 1e-9)


def by_rank(trials: Sequence[SnapshotTrial], view: Snapshot, problem: Problem) -> list[SnapshotTrial]:
    """The order "rank": by non-dominated rank in the study's objectives, ties broken by the seed."""
    return ranked(trials, problem.seed, problem.objectives)


def by_start(trials: Sequence[SnapshotTrial], view: Snapshot, problem: Problem) -> list[SnapshotTrial]:
    """The order "all": that in which the trials began."""
    return list(trials)


def ranked(
    trials: Sequence[SnapshotTrial], seed: int, objectives: Objectives = DEFAULT
) -> list[SnapshotTrial]:
    """Trials with a score, best first; see `search.choose.ranking`."""
    shuffled = sorted(trials, key=lambda trial: tie(trial.candidate, trial.rung, seed))
    scores = np.array([trial.score for trial in shuffled], dtype=float)
    costs = np.log([trial.costs for trial in shuffled]).reshape(-1, len(objectives.costs))
    return [shuffled[i] for i in best_first(np.column_stack((scores, costs)), objectives.maximise)]


def tie(candidate: str, rung: int, seed: int) -> bytes:
    """A random key that depends only on the seed, the candidate and the rung."""
    return hashlib.sha256(f"{seed}/{rung}/{candidate}".encode()).digest()
