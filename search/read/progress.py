"""Progress of a study: trials per rung, share of the stop rule, time left, running and failed trials.

These functions read through an open connection and never write.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, func, select
from sqlalchemy.engine import Connection

from search.choose.promote import most_believed
from search.choose.provenance import BELIEVED, ENQUEUED, NOT_OWN
from search.database.tables import candidates, checkpoints, clock, curves, events, trials, workers
from search.planning.bounds import expected_trials
from search.read import queries
from search.read.confirm_rows import ConfirmationStatus
from search.read.confirmation import confirmation_status
from search.read.rows import Event, FailureGroup, RungStatus, RunningTrial, StudyStatus, TrialRow, WorkerRow
from search.store.faults import same_cause
from search.store.finalists import Finalist, best_of, highest_rungs
from space.scores import at_floor
from space.study import StudyConfig

LAST_EVENTS = 10
UNNAMED = "no reason was noted"


def study_status(connection: Connection, study: Row[Any], config: StudyConfig) -> StudyStatus:
    """Read the status of a study.

    Args:
        connection: an open connection.
        study: its row of `pf_studies`.
        config: its configuration.
    """
    every = _counts(connection, study.name)
    counts = {(state, rung): n for (state, rung, split), n in every.items() if split == "select"}
    states: Counter[str] = Counter()
    for (state, _, _), count in every.items():
        states[state] += count
    running = _running(connection, study.name, config)
    finalists = highest_rungs(connection, study.name)
    origins, reasons = queries.proposals(connection, study.name)
    expected = _expected(config, origins)
    failures, for_good = _failures(connection, study.name)
    searching = [run for run in running if run.split == "select"]
    confirmation = confirmation_status(connection, study.name, len(config.rungs.tokens) - 1)
    total = _spent(connection, study.name)
    spent = total["select"] + total["report"]
    fraction = 1.0
    if not study.finished_at:
        fraction = _fraction(config, counts, searching, total["select"].training_flops, study, expected)
    busy, at_work = total["select"], searching
    if confirmation is not None and not confirmation.ended:
        confirmed = _confirmed_fraction(confirmation, running)
        if confirmed < fraction:
            fraction, busy = confirmed, total["report"]
            at_work = [run for run in running if run.split == "report"]
    return StudyStatus(
        study=study.name,
        suite=study.suite["name"],
        finished=study.finished_at is not None and not study.confirming,
        stopping=bool(study.stop_requested),
        candidates=sum(origins.values()),
        states=dict(states),
        rungs=_rungs(config, counts, expected),
        best=_best(connection, study.name, finalists),
        training_flops=spent.training_flops,
        wall_seconds=spent.wall_seconds,
        fraction_done=fraction,
        seconds_left=_seconds_left(fraction, busy.wall_seconds + busy.evaluation_seconds, len(at_work)),
        running=running,
        events=_events(connection, study.name),
        halted=study.halted,
        finished_because=_finished_because(connection, study),
        failures=failures,
        failed_for_good=for_good,
        at_floor=sum(at_floor(finalist.score, finalist.stderr) for finalist in finalists),
        origins=origins,
        reasons=reasons,
        disk_bytes=disk_bytes(connection, study.name),
        workers=queries.alive_workers(connection, study.name),
        workers_left=_workers_left(connection, study),
        confirmation=confirmation,
        confirming=bool(study.confirming),
    )


class _Spent(NamedTuple):
    training_flops: float = 0.0
    wall_seconds: float = 0.0
    evaluation_seconds: float = 0.0

    def __add__(self, other: Any) -> "_Spent":
        return _Spent(*(one + another for one, another in zip(self, other, strict=True)))


def _spent(connection: Connection, study: str) -> defaultdict[str, _Spent]:
    """Split -> what the trials that are scored on it have spent."""
    sums = [func.coalesce(func.sum(trials.c[name]), 0.0) for name in _Spent._fields]
    found = connection.execute(
        select(trials.c.split, *sums).where(trials.c.study == study).group_by(trials.c.split)
    )
    return defaultdict(_Spent, {row[0]: _Spent(*row[1:]) for row in found})


def _counts(connection: Connection, study: str) -> dict[tuple[str, int, str], int]:
    """(state, rung, split) -> trials; a running trial whose lease has run out counts as lost."""
    key = (trials.c.state, trials.c.rung, trials.c.split)
    found = connection.execute(
        select(*key, queries.LIVE.label("live"), func.count().label("trials"))
        .where(trials.c.study == study)
        .group_by(*key, "live")
    )
    counts: Counter[tuple[str, int, str]] = Counter()
    for row in found:
        lost = row.state == "running" and not row.live
        counts["lost" if lost else row.state, row.rung, row.split] += row.trials
    return dict(counts)


def _expected(config: StudyConfig, origins: Mapping[str, int]) -> list[int] | None:
    """Trials at each rung when the study ends; None if it has no limit on candidates.

    Candidates that were enqueued beyond the limit count, too. Once the study has chosen others, its belief
    has chosen all that it will.
    """
    total = config.stop.candidates
    if total is None:
        return None
    beyond = max(0, sum(origins.values()) - total)
    begun = any(rule not in NOT_OWN for rule in origins)
    believed = origins.get(BELIEVED, 0) if begun else most_believed(config)
    return expected_trials(
        config.rungs, total + min(beyond, origins.get(ENQUEUED, 0)), config.search, believed
    )


def _rungs(
    config: StudyConfig, counts: dict[tuple[str, int], int], expected: list[int] | None
) -> list[RungStatus]:
    return [
        RungStatus(
            rung=rung,
            tokens=tokens,
            done=counts.get(("done", rung), 0),
            running=counts.get(("running", rung), 0),
            failed=counts.get(("failed", rung), 0),
            expected=None if expected is None else expected[rung],
        )
        for rung, tokens in enumerate(config.rungs.tokens)
    ]


def _fraction(
    config: StudyConfig,
    counts: dict[tuple[str, int], int],
    running: list[RunningTrial],
    training_flops: float,
    study: Row[Any],
    expected: list[int] | None,
) -> float:
    """Progress towards the stop rule that will be reached first, in [0, 1].

    A candidate whose first trial failed does not count towards it; one that failed at a higher rung does.
    """
    stop, ladder, shares = config.stop, config.rungs, [0.0]
    if expected is not None:
        cost = [ladder.trial_tokens(rung) for rung in range(len(ladder.tokens))]
        whole = sum(n * c for n, c in zip(expected, cost, strict=True))
        ended = sum(
            count * cost[rung]
            for (state, rung), count in counts.items()
            if state == "done" or (state == "failed" and rung > 0)
        )
        under_way = sum(min(t.progress_tokens - t.start_tokens, cost[t.rung]) for t in running)
        shares.append((ended + under_way) / whole)
    if stop.training_flops is not None:
        shares.append(training_flops / stop.training_flops)
    if stop.wall_minutes is not None:
        shares.append(study.ran_seconds / (60 * stop.wall_minutes))
    return min(max(shares), 1.0)


def _confirmed_fraction(confirmation: ConfirmationStatus, running: list[RunningTrial]) -> float:
    """Share of the confirmations that have ended, with the progress of those that run."""
    begun = sum(
        (trial.progress_tokens - trial.start_tokens) / (trial.tokens - trial.start_tokens)
        for trial in running
        if trial.split == "report"
    )
    return min(1.0, (confirmation.done + confirmation.failed + begun) / confirmation.wanted)


def _seconds_left(fraction: float, busy_seconds: float, running: int) -> float | None:
    """Seconds left, extrapolated linearly; None if nothing runs or nothing is done yet."""
    if fraction >= 1:
        return 0.0
    if not running or not busy_seconds or fraction <= 0:
        return None
    return busy_seconds * (1 - fraction) / fraction / running


def _running(connection: Connection, study: str, config: StudyConfig) -> list[RunningTrial]:
    """Trials with a live worker, the highest rung first."""
    found = connection.execute(
        select(trials, queries.DESCRIPTION)
        .join(candidates, queries.OF_TRIAL)
        .where(trials.c.study == study, queries.LIVE)
        .order_by(trials.c.rung.desc(), trials.c.started_at)
    )
    return [
        RunningTrial(
            number=row.number,
            candidate=row.candidate,
            rung=row.rung,
            seed=row.seed,
            attempt=row.attempt,
            worker=row.worker,
            start_tokens=config.rungs.tokens[row.rung - 1] if row.rung and row.split == "select" else 0,
            progress_tokens=row.progress_tokens,
            tokens=row.tokens + config.rungs.budget(row.rung).decay_tokens,
            loss=_last_loss(connection, row),
            description=queries.description(row.description),
            split=row.split,
        )
        for row in found.all()
    ]


def _last_loss(connection: Connection, trial: Row[Any]) -> float | None:
    key = {"study": trial.study, "candidate": trial.candidate, "rung": trial.rung, "seed": trial.seed}
    return connection.scalar(select(curves.c.loss).filter_by(**key).order_by(curves.c.tokens.desc()).limit(1))


def _best(connection: Connection, study: str, finalists: list[Finalist]) -> TrialRow | None:
    finalist = best_of(finalists)
    if finalist is None:
        return None
    found = queries.trial_rows(connection, study, trials.c.number == finalist.number)
    return queries.merged(found[0], finalist) if found else None


def _failures(connection: Connection, study: str) -> tuple[list[FailureGroup], int]:
    """Failed trials grouped by error, the most frequent first, and how many will not be retried."""
    found = connection.execute(
        select(trials.c.error, trials.c.number, trials.c.candidate, trials.c.log, trials.c.final)
        .where(trials.c.study == study, trials.c.state == "failed")
        .order_by(trials.c.finished_at.desc(), trials.c.number.desc())
    ).all()
    groups: dict[str, list[Any]] = {}
    for row in found:
        groups.setdefault(same_cause(row.error or UNNAMED), []).append(row)
    frequent = sorted(groups.values(), key=len, reverse=True)
    return [_failure(rows) for rows in frequent], sum(row.final for row in found)


def _failure(rows: Sequence[Any]) -> FailureGroup:
    latest = rows[0]
    return FailureGroup(
        reason=latest.error or UNNAMED,
        count=len(rows),
        trial=latest.number,
        candidate=latest.candidate,
        log=latest.log,
    )


def disk_bytes(connection: Connection, study: str) -> dict[str, int]:
    """Size of a study's checkpoints by kind, and their total."""
    found = connection.execute(
        select(checkpoints.c.kind, func.sum(checkpoints.c.bytes).label("bytes"))
        .where(checkpoints.c.study == study)
        .group_by(checkpoints.c.kind)
        .order_by(checkpoints.c.kind)
    )
    kinds = {row.kind: int(row.bytes) for row in found}
    return {**kinds, "total": sum(kinds.values())}


def _workers_left(connection: Connection, study: Row[Any]) -> list[WorkerRow]:
    """Workers that left while there was work since the latest launch, the last first."""
    left = select(workers, (clock() - workers.c.seen_at).label("seen_seconds")).where(
        workers.c.study == study.name,
        workers.c.left_because.is_not(None),
        workers.c.left_at >= study.launched_at,
    )
    return [queries.worker_row(row) for row in connection.execute(left.order_by(workers.c.left_at.desc()))]


def _finished_because(connection: Connection, study: Row[Any]) -> str | None:
    if study.finished_at is None or study.confirming:
        return None
    finished = select(events.c.text).where(events.c.study == study.name, events.c.kind == "finished")
    return connection.scalar(finished.order_by(events.c.id.desc()).limit(1))


def _events(connection: Connection, study: str) -> list[Event]:
    found = connection.execute(
        select(events.c.at, events.c.kind, events.c.text, events.c.candidate, events.c.rung)
        .where(events.c.study == study)
        .order_by(events.c.id.desc())
        .limit(LAST_EVENTS)
    )
    return [Event(**{**row._mapping, "at": moment(row.at)}) for row in found]


def moment(seconds: float) -> datetime:
    """A time of the database's clock (seconds since 1970) as a datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
