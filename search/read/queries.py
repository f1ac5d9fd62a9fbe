"""SQL queries of `search.read.results`, each from an open connection and a study's name to rows.

They never write.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Text, and_, case, cast, func, select
from sqlalchemy.engine import Connection

from search.choose.provenance import provenance
from search.database.tables import candidates, clock, curves, task_scores, trials, workers
from search.read.rows import CurvePoint, FrontRow, ListedTrial, TrialRow, WorkerRow
from search.store.aims import aims_of, known_costs
from search.store.finalists import Finalist, best_of, front_of, highest_rungs
from search.store.leases import lease_seconds
from space.candidate import CandidateConfig
from space.description import Description
from space.objectives import DEFAULT
from space.scores import TaskScore

FEW = 500  # rows whose candidates are named in a query
MOST_DESCRIPTIONS = 10_000  # that stay in memory
OF_TRIAL = and_(trials.c.study == candidates.c.study, trials.c.candidate == candidates.c.candidate)
LIVE = and_(trials.c.state == "running", trials.c.lease_until > clock())
state_now = case((and_(trials.c.state == "running", ~LIVE), "lost"), else_=trials.c.state)
DESCRIPTION = cast(candidates.c.description, Text).label("description")  # JSON, for `description`
_ROW = (  # each labelled as a field of ListedTrial
    trials.c.number,
    trials.c.candidate,
    trials.c.rung,
    trials.c.seed,
    trials.c.attempt,
    trials.c.state,
    trials.c.score,
    trials.c.stderr,
    trials.c.flops_per_token,
    candidates.c.active_params,
    candidates.c.total_params,
    trials.c.tokens,
    trials.c.progress_tokens,
    func.coalesce(trials.c.training_flops, 0.0).label("training_flops"),
    func.coalesce(trials.c.wall_seconds, 0.0).label("wall_seconds"),
    DESCRIPTION,
    candidates.c.origin,
    trials.c.worker,
    trials.c.error,
    trials.c.log,
    trials.c.final,
    trials.c.split,
)


def best_score(connection: Connection, study: str) -> float | None:
    """The best score over the candidates' highest rungs."""
    finalist = best_of(highest_rungs(connection, study))
    return None if finalist is None else finalist.score


def on_front(connection: Connection, study: str, number: int) -> bool:
    """Whether a trial is on its study's front."""
    return any(point.number == number for point in front_of(highest_rungs(connection, study)))


def merged(row: TrialRow, finalist: Finalist) -> TrialRow:
    """A trial with the mean score over the seeds of its candidate's highest rung."""
    if finalist.seeds == 1 and finalist.split == "select":
        return row
    return replace(row, score=finalist.score, stderr=finalist.stderr, confirmed=True, split=finalist.split)


def trial_rows(connection: Connection, study: str, *where: ColumnElement[bool]) -> list[TrialRow]:
    """Trials that have an Optuna number, in the order of that number."""
    of_study = (trials.c.study == study, trials.c.number.is_not(None), *where)
    numbered = select(*_ROW).join(candidates, OF_TRIAL).where(*of_study)
    found = connection.execute(numbered.order_by(trials.c.number)).all()
    costs = named_costs(connection, study, found)
    return [TrialRow(**_values(row, costs)) for row in found]


def listed_trials(connection: Connection, study: str, state: str | None = None) -> list[ListedTrial]:
    """All trials by number, then those without a number by start time; optionally only those in a state.

    A running trial without a live worker has the state lost.
    """
    columns = [state_now.label("state") if column is trials.c.state else column for column in _ROW]
    query = select(*columns).join(candidates, OF_TRIAL).where(trials.c.study == study)
    if state is not None:
        query = query.where(state_now == state)
    ordered = query.order_by(trials.c.number.is_(None), trials.c.number, trials.c.started_at)
    found = connection.execute(ordered).all()
    costs = named_costs(connection, study, found)
    return [ListedTrial(**_values(row, costs)) for row in found]


def named_costs(connection: Connection, study: str, rows: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Candidate of a row -> name -> cost that is an objective; empty where rows know their only cost."""
    aims = aims_of(connection, study)
    if aims.objectives.costs == DEFAULT.costs:
        return {}
    names = {row.candidate for row in rows} if len(rows) <= FEW else None
    costs = known_costs(connection, study, aims, names)
    return {name: dict(zip(aims.objectives.costs, values, strict=True)) for name, values in costs.items()}


@lru_cache(maxsize=MOST_DESCRIPTIONS)
def description(json: str) -> Description:
    """A stored description, parsed once for all rows of its candidate."""
    return Description.model_validate_json(json)


def _values(row: Any, costs: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Field -> value of a ListedTrial, from a row of `_ROW`."""
    own = costs.get(row.candidate, {})
    return {**row._mapping, "description": description(row.description), "objectives": own}


def front_rows(
    connection: Connection, study: str, max_flops: float | None, ladder: Sequence[int]
) -> list[FrontRow]:
    """The non-dominated finalists, best score first.

    Args:
        connection: an open connection.
        study: the study's name.
        max_flops: only candidates of at most that many FLOPs per token.
        ladder: trunk tokens of each rung.
    """
    front = front_of(highest_rungs(connection, study), max_flops)
    names = [row.candidate for row in front]
    found = connection.execute(
        select(candidates).where(candidates.c.study == study, candidates.c.candidate.in_(names))
    )
    details = {row.candidate: row for row in found}
    tasks, costs = fractions(connection, study, front), named_costs(connection, study, front)
    return [
        FrontRow(
            trial=row.number,
            candidate=row.candidate,
            score=row.score,
            score_stderr=row.stderr,
            confirmed=row.seeds > 1 or row.split == "report",
            flops_per_token=row.flops_per_token,
            active_params=details[row.candidate].active_params,
            total_params=details[row.candidate].total_params,
            rung=row.rung,
            tokens=ladder[row.rung],
            tasks=tasks.get(row.candidate, {}),
            mixture=details[row.candidate].config["mixture"]["weights"],
            config=CandidateConfig.model_validate(details[row.candidate].config).model_dump(mode="json"),
            seeds=row.seeds,
            split=row.split,
            interval=row.interval,
            selected_score=row.selected_score,
            control_of=row.control_of,
            objectives=costs.get(row.candidate, {}),
        )
        for row in front
        if row.candidate in details  # else the study was deleted in this moment
    ]


def alive_workers(connection: Connection, study: str) -> list[WorkerRow]:
    """Workers that were seen within one lease and have not left, or that hold a trial."""
    lease = lease_seconds()
    seen = select(workers, (clock() - workers.c.seen_at).label("seen_seconds")).where(
        workers.c.study == study, workers.c.left_at.is_(None), workers.c.seen_at > clock() - lease
    )
    alive = [worker_row(row) for row in connection.execute(seen.order_by(workers.c.started_at))]
    left = func.max(trials.c.lease_until) - clock()
    holding = (
        select(trials.c.worker, (lease - left).label("seen_seconds"))
        .where(trials.c.study == study, LIVE)
        .group_by(trials.c.worker)
        .order_by(trials.c.worker)
    )
    known = {row.worker for row in alive}
    return alive + [
        WorkerRow(worker=row.worker, seen_seconds=max(0.0, row.seen_seconds))
        for row in connection.execute(holding)
        if row.worker not in known
    ]


def worker_row(row: Row[Any]) -> WorkerRow:
    """A worker from its row of `pf_workers` and the computed `seen_seconds`."""
    return WorkerRow(
        worker=row.worker,
        host=row.host,
        pid=row.pid,
        device=row.device,
        log=row.log,
        seen_seconds=max(0.0, row.seen_seconds),
        left_because=row.left_because,
    )


def fractions(connection: Connection, study: str, front: Iterable[Finalist]) -> dict[str, dict[str, float]]:
    """Candidate -> task -> mean fraction over the trials that its score is the mean of."""
    trained = {row.candidate: (row.rung, row.of_seeds) for row in front}
    columns = [task_scores.c[name] for name in ("candidate", "rung", "seed", "task", "fraction")]
    found = connection.execute(
        select(*columns)
        .where(task_scores.c.study == study, task_scores.c.candidate.in_(list(trained)))
        .order_by(task_scores.c.task)
    )
    values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in found:
        rung, seeds = trained[row.candidate]
        if row.rung == rung and row.seed in seeds:
            values[row.candidate][row.task].append(row.fraction)
    return {c: {task: sum(v) / len(v) for task, v in tasks.items()} for c, tasks in values.items()}


def scores_by_task(
    connection: Connection, study: str, numbers: Sequence[int]
) -> dict[int, dict[str, TaskScore]]:
    """Number of a trial -> task -> score."""
    keys = ("study", "candidate", "rung", "seed")
    same = and_(*(task_scores.c[key] == trials.c[key] for key in keys))
    found = connection.execute(
        select(trials.c.number, task_scores)
        .join(trials, same)
        .where(trials.c.study == study, trials.c.number.in_(list(numbers)))
        .order_by(task_scores.c.task)
    )
    scores: dict[int, dict[str, TaskScore]] = {}
    for row in found:
        scores.setdefault(row.number, {})[row.task] = TaskScore(
            value=row.value,
            stderr=row.stderr,
            n=row.n,
            fraction=row.fraction,
            fraction_stderr=row.fraction_stderr,
        )
    return scores


def proposals(
    connection: Connection, study: str, controls: bool = False
) -> tuple[dict[str, int], dict[str, str]]:
    """How candidates were proposed.

    Args:
        connection: an open connection.
        study: the study's name.
        controls: whether the uniform controls of confirmations count, too.

    Returns:
        Rule -> how many, in the order of each one's first; rule -> the latest reason, for those with one.
    """
    found = connection.execute(
        select(
            candidates.c.origin,
            func.count().label("candidates"),
            func.min(candidates.c.ordinal).label("first"),
            func.max(candidates.c.ordinal).label("last"),
        )
        .where(candidates.c.study == study, *(() if controls else (candidates.c.ordinal >= 0,)))
        .group_by(candidates.c.origin)
    ).all()
    counts: dict[str, int] = {}
    for row in sorted(found, key=lambda row: row.first):
        rule = provenance(row.origin).rule
        counts[rule] = counts.get(rule, 0) + row.candidates
    latest = [provenance(row.origin) for row in sorted(found, key=lambda row: row.last)]
    return counts, {each.rule: each.reason for each in latest if each.reason}


def curve(connection: Connection, study: str, trial: TrialRow) -> list[CurvePoint]:
    """The training curve of a candidate from its first rung to the trial's."""
    found = connection.execute(
        select(curves.c.tokens, curves.c.rung, curves.c.loss, curves.c.task_losses)
        .filter_by(study=study, candidate=trial.candidate, seed=trial.seed)
        .where(curves.c.rung <= trial.rung)
        .order_by(curves.c.rung, curves.c.tokens)
    )
    return [CurvePoint(**row._mapping) for row in found]


def numbers(connection: Connection, study: str, wanted: int) -> str:
    """A clause for an error message about a missing trial: which trials exist."""
    last = connection.scalar(select(func.max(trials.c.number)).where(trials.c.study == study))
    if last is None:
        return "; it has none yet"
    if wanted < last:
        return "; that number is an earlier attempt's, and a trial has the number of its last attempt"
    return f"; it has trials up to {last}"


def totals() -> Any:
    """A statement: counts and compute of every study."""
    return select(
        trials.c.study,
        func.count(trials.c.number).label("trials"),
        func.sum(case((LIVE, 1), else_=0)).label("live"),
        func.sum(case((trials.c.state == "failed", 1), else_=0)).label("failed"),
        func.coalesce(func.sum(trials.c.training_flops), 0.0).label("training_flops"),
        func.coalesce(func.sum(trials.c.wall_seconds), 0.0).label("wall_seconds"),
    ).group_by(trials.c.study)
