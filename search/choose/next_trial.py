"""The decision of a worker that is free: a promotion, a new candidate, or nothing.

Workers, the simulated clock and the forecast of a launch all decide here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from search.choose.orders import make_order
from search.choose.promote import Order, Promotion, goes_ahead, promote
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot
from space.study import Stop, StudyConfig

Proposed = TypeVar("Proposed")


class Promote(Protocol):
    """A rule of promotion: chooses a known candidate and its next rung, or nothing."""

    def __call__(self, view: Snapshot, *, enough_peers: bool) -> Promotion | None:
        """Choose the next promotion; with `enough_peers` only from rungs where enough trials have ended."""
        ...


@dataclass(frozen=True)
class Promotions:
    """How a study promotes candidates.

    Attributes:
        quotas: the rule that comes before new candidates, and again where none is left.
        ahead: chooses a promotion instead of a new candidate that is proposed, or nothing; see
            `search.choose.ahead`. None where new candidates always go first.
    """

    quotas: Promote
    ahead: Callable[[Snapshot, Any], Promotion | None] | None = None


def make_promotions(config: StudyConfig, problem: Problem) -> Promotions:
    """Make the rules of promotion that a study names.

    Args:
        config: the study.
        problem: its space, tasks, limits, rungs and seed.

    Raises:
        StudyFileError: the order of promotion that it names cannot be made.
    """
    quotas = quotas_of(config, make_order(config.search, problem))
    if not goes_ahead(config):
        return Promotions(quotas)
    from search.choose.ahead import Ahead  # with scipy, which other studies may do without

    return Promotions(quotas, Ahead(problem))


def quotas_of(config: StudyConfig, order: Order | None = None) -> Promote:
    """The promotion of one in `eta`, or of all, by the rule that a study names.

    Args:
        config: the study.
        order: the order that it names, made by `search.choose.orders`; by default that of the shipped rules.
    """

    def chosen(view: Snapshot, *, enough_peers: bool) -> Promotion | None:
        return promote(view, config.rungs, config.search, enough_peers, order, config.objectives)

    return chosen


def next_trial(
    view: Snapshot, stop: Stop, propose: Callable[[Snapshot], Proposed | None], promotions: Promotions
) -> Promotion | Proposed | None:
    """Choose a promotion from a rung with enough peers, else a new candidate, else any promotion.

    Before all of these come the candidates that wait for their first trial: a person has enqueued them.
    Instead of a new candidate, one may be promoted ahead of the quotas.

    Args:
        view: the study's candidates and trials.
        stop: when the study ends.
        propose: makes a new candidate; None where there is none left.
        promotions: the rules of promotion.

    Returns:
        The promotion or what `propose` returned; None if nothing can be started.
    """
    if not view.may_start(stop):
        return None
    if view.waiting:
        return Promotion(view.waiting[0], 0)  # claimed as a promotion is: the candidate is known
    promoted = promotions.quotas(view, enough_peers=True)
    if promoted is not None:
        return promoted
    proposed = propose(view) if view.may_propose(stop) else None
    if proposed is None:
        return promotions.quotas(view, enough_peers=False)
    ahead = None if promotions.ahead is None else promotions.ahead(view, proposed)
    return proposed if ahead is None else ahead
