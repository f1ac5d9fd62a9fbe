"""Each candidate's score at its highest rung, and the Pareto front of these scores.

A candidate's score is the mean over its seeds at that rung, on the select episodes. A candidate that was
confirmed has the mean of its confirmations instead: of its trials with fresh seeds, on the report episodes.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import select
from sqlalchemy.engine import Connection

from search.database.tables import confirmations, trials
from search.pareto import pareto
from search.store.aims import aims_of, known_costs
from search.store.means import Scored, confirmed_means
from space.objectives import DEFAULT
from space.records import Split
from space.scores import at_floor

_COLUMNS = (
    trials.c.candidate,
    trials.c.rung,
    trials.c.seed,
    trials.c.number,
    trials.c.score,
    trials.c.stderr,
    trials.c.flops_per_token,
)


class Finalist(NamedTuple):
    """A candidate at its highest rung: the mean over its seeds, with the trial number of the first seed.

    Attributes:
        number: of its first trial on the select episodes at this rung; without one, of its first
            confirmation.
        seeds: trials that the score is the mean of.
        split: the episodes of the score: "report" for confirmed candidates.
        interval: of a confirmed score, 95%; None for others, and if no candidate has two confirmations.
        selected_score: of a confirmed candidate, its score on the select episodes at this rung; None for
            others, and if it was not scored there.
        of_seeds: the seeds of these trials.
        freedom: degrees of freedom of a confirmed score's interval.
        control_of: the candidate that it is the uniform control of.
        costs: those that are objectives of the study, in their order.
        below: whether the score is below the study's threshold.
    """

    number: int
    candidate: str
    rung: int
    score: float
    stderr: float
    flops_per_token: float
    seeds: int
    split: Split = "select"
    interval: tuple[float, float] | None = None
    selected_score: float | None = None
    of_seeds: tuple[int, ...] = ()
    freedom: int = 0
    control_of: str | None = None
    costs: tuple[float, ...] = ()
    below: bool = False

    @property
    def objectives(self) -> tuple[float, ...]:
        """Score and costs, as `search.pareto` takes them."""
        return (self.score, *(self.costs or (self.flops_per_token,)))


class _HasSplit(Protocol):
    @property
    def split(self) -> Split: ...


Row = TypeVar("Row", bound=_HasSplit)


def highest_rungs(connection: Connection, study: str) -> list[Finalist]:
    """Each candidate at the highest rung at which it was scored; confirmed ones by their confirmations."""
    selected = {row.candidate: row for row in _selected(connection, study)}
    confirmed = {row.candidate: row for row in _confirmed(connection, study, selected)}
    return _judged(connection, study, (selected | confirmed).values())


def selected_rungs(connection: Connection, study: str) -> list[Finalist]:
    """Each candidate at the highest rung at which the search scored it, without confirmations."""
    return _judged(connection, study, _selected(connection, study))


def _judged(connection: Connection, study: str, rows: Iterable[Finalist]) -> list[Finalist]:
    """Candidates with their costs that are objectives of the study, and by its threshold."""
    aims = aims_of(connection, study)
    if aims.objectives.costs == DEFAULT.costs and not aims.threshold:
        return list(rows)
    costs = known_costs(connection, study, aims)
    return [
        row._replace(costs=costs[row.candidate], below=row.score < aims.threshold)
        for row in rows
        if row.candidate in costs  # else the study was deleted in this moment
    ]


def _selected(connection: Connection, study: str) -> list[Finalist]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(_done(study, "select").order_by(trials.c.rung.desc(), trials.c.seed)):
        group = groups[row.candidate]
        if not group or row.rung == group[0].rung:
            group.append(row)
    return [_mean(seeds) for seeds in groups.values()]


def mean_over_seeds(connection: Connection, study: str, candidate: str, rung: int) -> Finalist | None:
    """The mean over the seeds of a candidate at a rung, without confirmations; None if none is done."""
    done = _done(study, "select").where(trials.c.candidate == candidate, trials.c.rung == rung)
    seeds = connection.execute(done.order_by(trials.c.seed)).all()
    return _mean(seeds) if seeds else None


def _done(study: str, split: Split) -> Any:
    """A statement: the done trials of a study that were scored on some episodes."""
    return select(*_COLUMNS).where(
        trials.c.study == study,
        trials.c.state == "done",
        trials.c.number.is_not(None),
        trials.c.split == split,
    )


def _mean(seeds: Sequence[Any]) -> Finalist:
    """The mean over the seeds of a candidate's highest rung, the first seed first."""
    first, count = seeds[0], len(seeds)
    score, stderr = first.score, first.stderr
    if count > 1:
        score = sum(row.score for row in seeds) / count
        stderr = math.sqrt(sum((row.stderr or 0.0) ** 2 for row in seeds)) / count
    return Finalist(
        number=first.number,
        candidate=first.candidate,
        rung=first.rung,
        score=score,
        stderr=stderr or 0.0,
        flops_per_token=first.flops_per_token,
        seeds=count,
        of_seeds=tuple(row.seed for row in seeds),
    )


def _confirmed(connection: Connection, study: str, selected: dict[str, Finalist]) -> list[Finalist]:
    """The candidates with a confirmation that is done."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(_done(study, "report").order_by(trials.c.seed)):
        groups[row.candidate].append(row)
    if not groups:
        return []
    wanted = select(confirmations.c.candidate, confirmations.c.control_of).where(
        confirmations.c.study == study, confirmations.c.control_of.is_not(None)
    )
    controls = {row.candidate: row.control_of for row in connection.execute(wanted)}
    means = confirmed_means(
        {name: [Scored(row.score, row.stderr or 0.0) for row in rows] for name, rows in groups.items()}
    )
    found = []
    for name, rows in groups.items():
        first, mean = rows[0], means[name]
        before = selected.get(name)
        if before is not None and before.rung != first.rung:
            before = None
        finalist = Finalist(
            number=first.number if before is None else before.number,
            candidate=name,
            rung=first.rung,
            score=mean.score,
            stderr=mean.stderr,
            flops_per_token=first.flops_per_token,
            seeds=mean.seeds,
            split="report",
            interval=mean.interval,
            selected_score=None if before is None else before.score,
            of_seeds=tuple(row.seed for row in rows),
            freedom=mean.freedom,
            control_of=controls.get(name),
        )
        found.append(finalist)
    return found


def front_of(finalists: list[Finalist], max_flops: float | None = None) -> list[Finalist]:
    """The Pareto front, best score first; ties are kept.

    A confirmed candidate is left out only if another confirmed one dominates it, since scores that are not
    confirmed are too high among the best; all others are left out if any candidate dominates them.
    Candidates at their floor, and those below the study's threshold, are left out.

    Args:
        finalists: each candidate at its highest rung.
        max_flops: leave out candidates of more FLOPs per token.
    """
    able = [row for row in finalists if not (row.below or at_floor(row.score, row.stderr))]
    ordered = sorted(able, key=lambda row: row.number)  # so that the order of equal points is fixed
    kept = [row for row in ordered if max_flops is None or row.flops_per_token <= max_flops]
    confirmed = [row for row in kept if row.split == "report"]
    front = [row for row in _pareto(kept) if row.split != "report"] + _pareto(confirmed)
    return sorted(sorted(front, key=lambda row: row.number), key=lambda row: -row.score)


def _pareto(rows: list[Finalist]) -> list[Finalist]:
    return [rows[i] for i in pareto([row.objectives for row in rows])]


def pickable(rows: Sequence[Row]) -> list[Row]:
    """The rows among which the best one is chosen: the confirmed ones, or all if there are none."""
    return [row for row in rows if row.split == "report"] or list(rows)


def best_of(finalists: list[Finalist]) -> Finalist | None:
    """The candidate with the best score: on the front, or among all if the front is empty."""
    return max(pickable(front_of(finalists) or finalists), key=lambda row: row.score, default=None)
