"""Each candidate at its highest rung, and the front over these points.

The front of a study is taken over the mean score of each candidate's seeds at its highest rung.
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


class Finalist(NamedTuple):
    """A candidate at its highest rung: the mean over its seeds there, named by the first of them."""

    number: int
    candidate: str
    rung: int
    score: float
    stderr: float
    flops: float
    seeds: int


def highest_rungs(connection: Connection, study: str) -> list[Finalist]:
    """Each candidate at its highest done rung."""
    columns = (
        trials.c.candidate,
        trials.c.rung,
        trials.c.number,
        trials.c.score,
        trials.c.stderr,
        trials.c.flops_per_token,
    )
    done = select(*columns).where(
        trials.c.study == study, trials.c.state == "done", trials.c.number.is_not(None)
    )
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(done.order_by(trials.c.rung.desc(), trials.c.seed)):
        group = groups[row.candidate]
        if not group or row.rung == group[0].rung:
            group.append(row)
    return [_mean(seeds) for seeds in groups.values()]


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
        flops=first.flops_per_token,
        seeds=count,
    )


def front_of(finalists: list[Finalist], max_flops: float | None = None) -> list[Finalist]:
    """The non-dominated ones above their floor and within a limit, best score first; ties are kept."""
    able = [row for row in finalists if not at_floor(row.score, row.stderr)]
    ordered = sorted(able)  # by number, so that equal points stand in a fixed order
    kept = [row for row in ordered if max_flops is None or row.flops <= max_flops]
    return [kept[i] for i in pareto([(row.score, row.flops) for row in kept])]


def best_of(finalists: list[Finalist]) -> Finalist | None:
    """The one with the best score: of the front, or of all where none is above its floor."""
    return max(front_of(finalists) or finalists, key=lambda row: row.score, default=None)
