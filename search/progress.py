"""Where a study stands: counts by rung, the way to its stop rule, the time left, what runs now.

Reads through an open connection, and writes nothing.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, and_, func, select
from sqlalchemy.engine import Connection

from search import queries
from search.bounds import expected_trials
from search.forecast import trial_tokens
from search.rows import Event, RungStatus, RunningTrial, StudyStatus, TrialRow
from search.tables import candidates, clock, curves, events, trials
from space.study import StudyConfig

LAST_EVENTS = 10


def study_status(connection: Connection, study: Row[Any], config: StudyConfig) -> StudyStatus:
    """Read where a study stands.

    Args:
        connection: an open connection.
        study: its row of `pf_studies`.
        config: its configuration.
    """
    counts = _counts(connection, study.name)
    states: Counter[str] = Counter()
    for (state, _), count in counts.items():
        states[state] += count
    running = _running(connection, study.name, config)
    spent = connection.execute(
        select(
            func.coalesce(func.sum(trials.c.training_flops), 0.0),
            func.coalesce(func.sum(trials.c.wall_seconds), 0.0),
            func.coalesce(func.sum(trials.c.evaluation_seconds), 0.0),
        ).where(trials.c.study == study.name)
    ).one()
    now = connection.scalar(select(clock())) or 0.0
    fraction = 1.0 if study.finished_at else _fraction(config, counts, running, spent[0], now, study)
    return StudyStatus(
        study=study.name,
        suite=study.suite["name"],
        finished=study.finished_at is not None,
        stopping=bool(study.stop_requested),
        candidates=connection.scalar(
            select(func.count()).select_from(candidates).where(candidates.c.study == study.name)
        )
        or 0,
        states=dict(states),
        rungs=_rungs(config, counts),
        best=_best(connection, study.name),
        training_flops=spent[0],
        wall_seconds=spent[1],
        fraction_done=fraction,
        seconds_left=_seconds_left(fraction, spent[1] + spent[2], len(running)),
        running=running,
        events=_events(connection, study.name),
    )


def _counts(connection: Connection, study: str) -> dict[tuple[str, int], int]:
    """(state, rung) -> trials; a running trial whose lease has run out counts as lost."""
    found = connection.execute(
        select(trials.c.state, trials.c.rung, queries.LIVE.label("live"), func.count().label("trials"))
        .where(trials.c.study == study)
        .group_by(trials.c.state, trials.c.rung, "live")
    )
    counts: Counter[tuple[str, int]] = Counter()
    for row in found:
        lost = row.state == "running" and not row.live
        counts["lost" if lost else row.state, row.rung] += row.trials
    return dict(counts)


def _rungs(config: StudyConfig, counts: dict[tuple[str, int], int]) -> list[RungStatus]:
    ladder, total = config.rungs, config.stop.candidates
    expected = [None] * len(ladder.tokens) if total is None else expected_trials(ladder, total)
    return [
        RungStatus(
            rung=rung,
            tokens=tokens,
            done=counts.get(("done", rung), 0),
            running=counts.get(("running", rung), 0),
            failed=counts.get(("failed", rung), 0),
            expected=expected[rung],
        )
        for rung, tokens in enumerate(ladder.tokens)
    ]


def _fraction(
    config: StudyConfig,
    counts: dict[tuple[str, int], int],
    running: list[RunningTrial],
    training_flops: float,
    now: float,
    study: Row[Any],
) -> float:
    """Share of the way to the stop rule that is reached first."""
    stop, ladder, shares = config.stop, config.rungs, [0.0]
    if stop.candidates is not None:
        cost = [trial_tokens(ladder, rung) for rung in range(len(ladder.tokens))]
        expected = sum(n * c for n, c in zip(expected_trials(ladder, stop.candidates), cost, strict=True))
        ended = sum(
            count * cost[rung] for (state, rung), count in counts.items() if state in ("done", "failed")
        )
        under_way = sum(min(t.progress_tokens - t.start_tokens, cost[t.rung]) for t in running)
        shares.append((ended + under_way) / expected)
    if stop.training_flops is not None:
        shares.append(training_flops / stop.training_flops)
    if stop.wall_minutes is not None:
        shares.append((now - study.launched_at) / (60 * stop.wall_minutes))
    return min(max(shares), 1.0)


def _seconds_left(fraction: float, busy_seconds: float, running: int) -> float | None:
    """What is left takes as many worker seconds a share as what is done."""
    if fraction >= 1:
        return 0.0
    if not running or not busy_seconds or fraction <= 0:
        return None
    return busy_seconds * (1 - fraction) / fraction / running


def _running(connection: Connection, study: str, config: StudyConfig) -> list[RunningTrial]:
    """Trials whose worker lives, the farthest first."""
    found = connection.execute(
        select(trials, candidates.c.experts, candidates.c.top_k, candidates.c.depth, candidates.c.width)
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
            start_tokens=config.rungs.tokens[row.rung - 1] if row.rung else 0,
            progress_tokens=row.progress_tokens,
            tokens=row.tokens + config.rungs.budget(row.rung).decay_tokens,
            loss=_last_loss(connection, row),
            experts=row.experts,
            top_k=row.top_k,
            depth=row.depth,
            width=row.width,
        )
        for row in found.all()
    ]


def _last_loss(connection: Connection, trial: Row[Any]) -> float | None:
    key = {"study": trial.study, "candidate": trial.candidate, "rung": trial.rung, "seed": trial.seed}
    return connection.scalar(select(curves.c.loss).filter_by(**key).order_by(curves.c.tokens.desc()).limit(1))


def _best(connection: Connection, study: str) -> TrialRow | None:
    finalist = queries.best(queries.highest(connection, study))
    if finalist is None:
        return None
    named = and_(trials.c.study == study, trials.c.number == finalist.number)
    return queries.merged(queries.trial_rows(connection, named)[0], finalist)


def _events(connection: Connection, study: str) -> list[Event]:
    found = connection.execute(
        select(events.c.at, events.c.kind, events.c.text, events.c.candidate, events.c.rung)
        .where(events.c.study == study)
        .order_by(events.c.id.desc())
        .limit(LAST_EVENTS)
    )
    return [Event(datetime.fromtimestamp(at, UTC), *rest) for at, *rest in found]
