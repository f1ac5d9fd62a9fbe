"""Read what confirmations say: confirmed means, over-optimism, and searched against uniform mixtures."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from search.database.tables import candidates, confirmations, trials
from search.read import queries
from search.read.confirm_rows import ConfirmationStatus, ConfirmedRow, ControlRow
from search.store.confirmations import OF_TRIAL
from search.store.finalists import Finalist, best_of, highest_rungs, selected_rungs
from search.store.means import interval
from space.errors import StudyFileError
from space.words import counted


def confirmation_status(connection: Connection, study: str, top_rung: int) -> ConfirmationStatus | None:
    """Where a study's confirmations stand; None if none is wanted.

    Args:
        connection: an open connection.
        study: the study's name.
        top_rung: its last rung.
    """
    found = connection.execute(
        select(
            confirmations.c.candidate,
            confirmations.c.control_of,
            trials.c.state,
            trials.c.final,
            queries.LIVE.label("live"),
            candidates.c.flops_per_token,
            queries.DESCRIPTION,
        )
        .join(
            candidates,
            (candidates.c.study == confirmations.c.study)
            & (candidates.c.candidate == confirmations.c.candidate),
        )
        .outerjoin(trials, OF_TRIAL)
        .where(confirmations.c.study == study)
        .order_by(confirmations.c.place, confirmations.c.seed)
    ).all()
    if not found:
        return None
    by_candidate: defaultdict[str, list[Any]] = defaultdict(list)
    for row in found:
        by_candidate[row.candidate].append(row)
    finalists = {row.candidate: row for row in highest_rungs(connection, study)}
    rows = [_row(of, finalists.get(name)) for name, of in by_candidate.items()]
    best = best_of([row for row in selected_rungs(connection, study) if row.rung == top_rung])
    confirmed = None if best is None else finalists[best.candidate]
    known = best is not None and confirmed is not None and confirmed.split == "report"
    return ConfirmationStatus(
        wanted=len(found),
        done=sum(row.state == "done" for row in found),
        running=sum(bool(row.live) for row in found),
        failed=sum(row.state == "failed" and bool(row.final) for row in found),
        candidates=sorted(rows, key=lambda row: -math.inf if row.score is None else row.score, reverse=True),
        best_before=None if best is None else best.number,
        optimism=best.score - confirmed.score if known and best and confirmed else None,
        controls=_controls(found, finalists),
    )


def require_idle(connection: Connection, study: str, confirming: bool) -> None:
    """Check that a study's search has no live worker.

    Args:
        connection: an open connection.
        study: the study's name.
        confirming: whether its workers train confirmations only, so that more may be added.

    Raises:
        StudyFileError: it has one.
    """
    alive = [] if confirming else queries.alive_workers(connection, study)
    if alive:
        names = ", ".join(f"{row.worker} (seen {row.seen_seconds:.0f} s ago)" for row in alive)
        raise StudyFileError(
            f"a study is confirmed once its search has ended, and '{study}' still runs"
            f" ({counted(len(alive), 'worker')}: {names}); stop it, or wait until the leases of killed"
            " workers end"
        )


def _row(rows: list[Any], finalist: Finalist | None) -> ConfirmedRow:
    first = rows[0]
    confirmed = finalist if finalist is not None and finalist.split == "report" else None
    return ConfirmedRow(
        trial=None if finalist is None else finalist.number,
        candidate=first.candidate,
        wanted=len(rows),
        done=sum(row.state == "done" for row in rows),
        failed=sum(row.state == "failed" and bool(row.final) for row in rows),
        score=None if confirmed is None else confirmed.score,
        score_stderr=None if confirmed is None else confirmed.stderr,
        interval=None if confirmed is None else confirmed.interval,
        selected_score=None if confirmed is None else confirmed.selected_score,
        flops_per_token=first.flops_per_token,
        control_of=first.control_of,
        label=queries.description(first.description).label,
    )


def _controls(found: Sequence[Any], finalists: dict[str, Finalist]) -> list[ControlRow]:
    pairs = {row.candidate: row.control_of for row in found if row.control_of is not None}
    compared = []
    for control, candidate in pairs.items():
        one, other = finalists.get(candidate), finalists.get(control)
        if one is None or other is None or "select" in (one.split, other.split):
            continue
        difference, stderr = one.score - other.score, math.hypot(one.stderr, other.stderr)
        compared.append(
            ControlRow(
                candidate=candidate,
                control=control,
                difference=difference,
                interval=interval(difference, stderr, one.freedom),
            )
        )
    return compared
