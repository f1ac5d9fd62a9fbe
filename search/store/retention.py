"""Decide which checkpoints are no longer needed: a rule over rows, which deletes nothing itself.

A trunk is needed while its trial runs or its candidate may be promoted, a decay branch while its trial runs,
decayed weights while their trial may be exported. The checkpoint that `pathfront retry` would continue from
is needed, too.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Row, select

from search.database.tables import checkpoints, confirmations, trials
from search.store.finalists import Finalist, front_of, highest_rungs
from space.scores import at_floor

CandidateSeed = tuple[str, int]


def superfluous(
    connection: Connection,
    study: str,
    rungs: int,
    keep: Literal["all", "front"],
    over: bool = False,
    at_floor_too: bool = False,
) -> list[Row[Any]]:
    """Rows of `pf_checkpoints` that are no longer needed, ordered by key.

    Args:
        connection: the database.
        study: the study's name.
        rungs: number of rungs of the study.
        keep: which decayed weights to keep, as in the study file.
        over: whether the study is finished, so that the front is final.
        at_floor_too: whether candidates at their floor may be promoted.
    """
    found = connection.execute(select(trials).where(trials.c.study == study)).all()
    ordered = select(checkpoints).where(checkpoints.c.study == study)
    files = connection.execute(ordered.order_by(*checkpoints.primary_key.columns)).all()
    ladders: defaultdict[CandidateSeed, dict[int, Row[Any]]] = defaultdict(dict)
    for trial in found:
        ladders[trial.candidate, trial.seed][trial.rung] = trial
    trunks = {_key(row) for row in _trunks(files, ladders, rungs - 1, at_floor_too)}
    needed = None
    if keep == "front":
        needed = exportable(highest_rungs(connection, study), _settled(ladders, rungs - 1), over)
        confirmed = select(confirmations.c.candidate, confirmations.c.rung).where(
            confirmations.c.study == study
        )
        needed |= {(row.candidate, row.rung) for row in connection.execute(confirmed)}

    def is_needed(row: Row[Any]) -> bool:
        trial = ladders[row.candidate, row.seed][row.rung]
        if row.kind == "trunk":
            return _key(row) in trunks
        if not trial.final:
            return True
        if row.kind == "branch":  # its decay has ended
            return False
        return trial.state == "done" and (needed is None or (row.candidate, row.rung) in needed)

    return [row for row in files if not is_needed(row)]


def exportable(finalists: Sequence[Finalist], settled: set[str], over: bool) -> set[tuple[str, int]]:
    """Candidate and rung of the trials that are on the front or may still join it.

    While a study runs, a candidate that dominates another one may be promoted and score less at its new rung.
    So a trial is excluded only if a candidate with a final score dominates it.

    Args:
        finalists: each candidate at its highest rung.
        settled: candidates that will not be promoted any more.
        over: whether no candidate will be.
    """
    needed = {(row.candidate, row.rung) for row in front_of(list(finalists))}
    if over:
        return needed
    judges = [row for row in finalists if row.candidate in settled]
    return needed | {
        (row.candidate, row.rung) for row in finalists if not any(_dominates(judge, row) for judge in judges)
    }


def _dominates(one: Finalist, other: Finalist) -> bool:
    ours, theirs = one.objectives, other.objectives
    no_dearer = all(cost <= other_cost for cost, other_cost in zip(ours[1:], theirs[1:], strict=True))
    return ours != theirs and ours[0] >= theirs[0] and no_dearer


def _settled(ladders: dict[CandidateSeed, dict[int, Row[Any]]], top: int) -> set[str]:
    """Candidates that were scored at the top rung, or failed permanently."""
    return {
        candidate
        for (candidate, _), ladder in ladders.items()
        for trial in [ladder[max(ladder)]]
        if trial.final and (trial.rung == top or trial.state == "failed")
    }


def _trunks(
    files: Iterable[Row[Any]],
    ladders: dict[CandidateSeed, dict[int, Row[Any]]],
    top: int,
    at_floor_too: bool,
) -> list[Row[Any]]:
    """The trunks that are needed."""
    by_candidate: defaultdict[CandidateSeed, list[Row[Any]]] = defaultdict(list)
    for row in files:
        if row.kind == "trunk":
            by_candidate[row.candidate, row.seed].append(row)
    kept: list[Row[Any]] = []
    for key, rows in by_candidate.items():
        newest = max(rows, key=lambda row: (row.rung, row.tokens))
        ladder = ladders[key]
        last = ladder[max(ladder)]
        if not last.final:  # one may be damaged: keep all from the rung below on
            below = max((rung for rung, trial in ladder.items() if trial.state == "done"), default=0)
            kept += [row for row in rows if row.rung >= below]
        elif last.state == "failed":
            kept += [] if last.diverged else [newest]
        elif last.rung < top and (at_floor_too or not at_floor(last.score, last.stderr)):
            kept.append(newest)
    return kept


def _key(row: Row[Any]) -> tuple[Any, ...]:
    return (row.candidate, row.rung, row.seed, row.kind, row.tokens)
