"""Leases: how long a silent worker keeps its trial, and when it counts as dead.

Lease times come from the database's clock. A worker counts as dead only if its lease was also not renewed for
some time on the observer's own clock, so that a jump of the database's clock takes no trial from a live
worker.
"""

import os
import time
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, and_, or_, update

from search.database.tables import clock, trials

LEASE_SECONDS = 60.0
LET_GO = 0.0  # the end of a lease whose worker is known to be dead
FAR = 10  # leases; an end further in the future means that the database's clock has jumped back


def lease_seconds() -> float:
    """How long a silent worker keeps its trial, in seconds: PATHFRONT_LEASE_SECONDS, or 60."""
    return float(os.environ.get("PATHFRONT_LEASE_SECONDS", LEASE_SECONDS))


def is_over(lease: float) -> ColumnElement[bool]:
    """The condition for running trials whose lease has ended, or ends impossibly late.

    Args:
        lease: length of a lease in seconds.
    """
    until, now = trials.c.lease_until, clock()
    return and_(trials.c.state == "running", or_(until < now, until > now + FAR * lease))


class Silence:
    """Measures on this process's own clock how long an expired lease was not renewed.

    Args:
        lease: length of a lease in seconds.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._since: dict[tuple[Any, ...], float] = {}

    def is_dead(self, trial: Row[Any]) -> bool:
        """Whether the worker of a trial with an expired lease is dead.

        It is dead if its lease was released, or not renewed for half a lease.

        Args:
            trial: the trial's row.
        """
        if trial.lease_until == LET_GO:
            return True
        key = (trial.candidate, trial.rung, trial.seed, trial.attempt, trial.lease_until)
        return time.monotonic() - self._since.setdefault(key, time.monotonic()) >= self._lease / 2


def expire_leases(engine: Engine, study: str, worker: str) -> None:
    """Release the trials of a worker that is known to be dead."""
    _set(engine, study, worker, lease_until=LET_GO)


def pause_trials(engine: Engine, study: str, worker: str) -> None:
    """Pause the trials of a worker that was ended on purpose: no crash, and any worker may continue them."""
    _set(engine, study, worker, state="paused", told=False, finished_at=clock())


def _set(engine: Engine, study: str, worker: str, **values: Any) -> None:
    held = and_(trials.c.study == study, trials.c.worker == worker, trials.c.state == "running")
    with engine.begin() as connection:
        connection.execute(update(trials).where(held).values(values))
