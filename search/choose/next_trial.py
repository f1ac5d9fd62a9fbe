"""The decision of a worker that is free: a promotion, a new candidate, or nothing.

Workers, the simulated clock and the forecast of a launch all decide here.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from search.choose.promote import Order, Promotion, promote
from search.choose.snapshot import Snapshot
from space.study import Stop, StudyConfig

Proposed = TypeVar("Proposed")


class Promote(Protocol):
    """A rule of promotion: chooses a known candidate and its next rung, or nothing."""

    def __call__(self, view: Snapshot, *, enough_peers: bool) -> Promotion | None:
        """Choose the next promotion; with `enough_peers` only from rungs where enough trials have ended."""
        ...


def promotion_of(config: StudyConfig, order: Order | None = None) -> Promote:
    """The rule of promotion that a study names.

    Args:
        config: the study.
        order: the order that it names, made by `search.choose.orders`; by default that of the shipped rules.
    """

    def chosen(view: Snapshot, *, enough_peers: bool) -> Promotion | None:
        return promote(view, config.rungs, config.search, enough_peers, order, config.objectives)

    return chosen


def next_trial(
    view: Snapshot, stop: Stop, propose: Callable[[Snapshot], Proposed | None], promotion: Promote
) -> Promotion | Proposed | None:
    """Choose a promotion from a rung with enough peers, else a new candidate, else any promotion.

    Before all of these come the candidates that wait for their first trial: a person has enqueued them.

    Args:
        view: the study's candidates and trials.
        stop: when the study ends.
        propose: makes a new candidate; None where there is none left.
        promotion: the rule of promotion.

    Returns:
        The promotion or what `propose` returned; None if nothing can be started.
    """
    if not view.may_start(stop):
        return None
    if view.waiting:
        return Promotion(view.waiting[0], 0)  # claimed as a promotion is: the candidate is known
    promoted = promotion(view, enough_peers=True)
    if promoted is not None:
        return promoted
    proposed = propose(view) if view.may_propose(stop) else None
    return promotion(view, enough_peers=False) if proposed is None else proposed
