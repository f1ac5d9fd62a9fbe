"""Leases: how long a silent worker keeps its trial, and when it counts as dead.

Lease times are the database's. That a worker is dead is believed only after its lease has also stood still on
the observer's own clock, so a jump of the database's clock takes no trial away from a living worker.
"""

import os
import time
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, and_, or_, update

from search.database.tables import clock, trials

LEASE_SECONDS = 60.0
LET_GO = 0.0  # a lease whose worker is known to be dead
FAR = 10  # leases from now: a later end means that the database's clock has jumped back


def lease_seconds() -> float:
    """How long a silent worker keeps its trial: PATHFRONT_LEASE_SECONDS, or a minute."""
    return float(os.environ.get("PATHFRONT_LEASE_SECONDS", LEASE_SECONDS))


def is_over(lease: float) -> ColumnElement[bool]:
    """Running trials whose lease has ended, or ends impossibly late."""
    until, now = trials.c.lease_until, clock()
    return and_(trials.c.state == "running", or_(until < now, until > now + FAR * lease))


class Silence:
    """How long leases that are over have not been renewed, by this process's own clock.

    Args:
        lease: seconds.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._since: dict[tuple[Any, ...], float] = {}

    def is_dead(self, trial: Row[Any]) -> bool:
        """Whether a lease that is over was let go, or has stood still for half a lease."""
        if trial.lease_until == LET_GO:
            return True
        key = (trial.candidate, trial.rung, trial.seed, trial.attempt, trial.lease_until)
        return time.monotonic() - self._since.setdefault(key, time.monotonic()) >= self._lease / 2


def expire_leases(engine: Engine, study: str, worker: str) -> None:
    """Let go at once of what a worker held that is known to be dead."""
    _set(engine, study, worker, lease_until=LET_GO)


def pause_trials(engine: Engine, study: str, worker: str) -> None:
    """Lay down what a worker held that was ended on purpose: no crash, and any worker may go on with it."""
    _set(engine, study, worker, state="paused", told=False, finished_at=clock())


def _set(engine: Engine, study: str, worker: str, **values: Any) -> None:
    held = and_(trials.c.study == study, trials.c.worker == worker, trials.c.state == "running")
    with engine.begin() as connection:
        connection.execute(update(trials).where(held).values(values))
