"""Candidates that ran out of memory: what their failures mean for them and for the candidates to come."""

from sqlalchemy import Connection, and_, func, select

from search.database.tables import candidates, events, trials
from search.store.claims import Claim
from search.store.faults import OUT_OF_MEMORY


def any_running(connection: Connection, study: str) -> bool:
    """Whether a trial of a study is running, whose memory may be missing to another."""
    running = and_(trials.c.study == study, trials.c.state == "running")
    return bool(connection.scalar(select(func.count()).select_from(trials).where(running)))


def ran_out_before(connection: Connection, claim: Claim) -> bool:
    """Whether an earlier attempt at a trial ran out of memory."""
    of_trial = (events.c.study == claim.study, events.c.candidate == claim.candidate)
    failed = (events.c.rung == claim.rung, events.c.kind == "failed")
    ran_out = and_(*of_trial, *failed, events.c.text.contains(f": {OUT_OF_MEMORY}"))
    return bool(connection.scalar(select(func.count()).select_from(events).where(ran_out)))


def memory_ceiling(connection: Connection, study: str) -> int | None:
    """Least forecast memory of the candidates that ran out of it for good, in bytes; None if none did."""
    same = and_(trials.c.study == candidates.c.study, trials.c.candidate == candidates.c.candidate)
    ran_out = and_(trials.c.state == "failed", trials.c.final, trials.c.error.startswith(OUT_OF_MEMORY))
    least = select(func.min(candidates.c.training_bytes)).join(trials, same)
    return connection.scalar(least.where(candidates.c.study == study, ran_out))
