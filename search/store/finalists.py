"""Each candidate's score at its highest rung, and the Pareto front of these scores.

A candidate's score is the mean over its seeds at that rung.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.engine import Connection

from search.database.tables import trials
from search.pareto import pareto
from space.scores import at_floor

_COLUMNS = (
    trials.c.candidate,
    trials.c.rung,
    trials.c.number,
    trials.c.score,
    trials.c.stderr,
    trials.c.flops_per_token,
)


class Finalist(NamedTuple):
    """A candidate at its highest rung: the mean over its seeds, with the trial number of the first seed."""

    number: int
    candidate: str
    rung: int
    score: float
    stderr: float
    flops_per_token: float
    seeds: int


def highest_rungs(connection: Connection, study: str) -> list[Finalist]:
    """Each candidate at the highest rung at which it was scored."""
    done = select(*_COLUMNS).where(
        trials.c.study == study, trials.c.state == "done", trials.c.number.is_not(None)
    )
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(done.order_by(trials.c.rung.desc(), trials.c.seed)):
        group = groups[row.candidate]
        if not group or row.rung == group[0].rung:
            group.append(row)
    return [_mean(seeds) for seeds in groups.values()]


def mean_over_seeds(connection: Connection, study: str, candidate: str, rung: int) -> Finalist | None:
    """The mean over the seeds of a candidate at a rung; None if none of its trials there is done."""
    done = select(*_COLUMNS).where(
        trials.c.study == study,
        trials.c.candidate == candidate,
        trials.c.rung == rung,
        trials.c.state == "done",
        trials.c.number.is_not(None),
    )
    seeds = connection.execute(done.order_by(trials.c.seed)).all()
    return _mean(seeds) if seeds else None


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
    )


def front_of(finalists: list[Finalist], max_flops: float | None = None) -> list[Finalist]:
    """The Pareto front, best score first; ties are kept.

    Candidates at their floor are left out.

    Args:
        finalists: each candidate at its highest rung.
        max_flops: leave out candidates of more FLOPs per token.
    """
    able = [row for row in finalists if not at_floor(row.score, row.stderr)]
    ordered = sorted(able)  # by number, so that the order of equal points is fixed
    kept = [row for row in ordered if max_flops is None or row.flops_per_token <= max_flops]
    return [kept[i] for i in pareto([(row.score, row.flops_per_token) for row in kept])]


def best_of(finalists: list[Finalist]) -> Finalist | None:
    """The candidate with the best score: on the front, or among all if the front is empty."""
    return max(front_of(finalists) or finalists, key=lambda row: row.score, default=None)
