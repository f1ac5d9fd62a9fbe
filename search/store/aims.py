"""What a stored study aims at: its objectives, its threshold, and what its candidates cost in these terms.

Costs are read from columns that every study has, so that thousands of candidates are read in one query.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from search.database.tables import candidates, studies, trials
from space.objectives import DEFAULT, KnownCosts, Objectives
from space.study import Rungs

DIGITS = 12  # of planned training FLOPs: candidates of the same architecture cost the same, at any rung


class Aims(NamedTuple):
    """What a study aims at.

    Attributes:
        threshold: scores below it are of no interest.
        rungs: up to the last of them a candidate is trained.
    """

    objectives: Objectives = DEFAULT
    threshold: float = 0.0
    rungs: Rungs | None = None


def aims_of(connection: Connection, study: str) -> Aims:
    """Read what a study aims at; the default for a study that is not there."""
    config: dict[str, Any] = connection.scalar(select(studies.c.config).where(studies.c.name == study)) or {}
    if "objectives" not in config:  # a study of an earlier version
        return Aims()
    return Aims(
        Objectives.model_validate(config["objectives"]),
        config["threshold"],
        Rungs.model_validate(config["rungs"]),
    )


def known_costs(
    connection: Connection, study: str, aims: Aims | None = None, names: Collection[str] | None = None
) -> dict[str, tuple[float, ...]]:
    """Candidate -> its costs that are objectives, in their order; for candidates that have a trial.

    Args:
        connection: the database.
        study: name of the study.
        aims: of the study, if they are known.
        names: the candidates; None for all.
    """
    aims = aims_of(connection, study) if aims is None else aims
    wanted = trials.c.study == study
    if names is not None:
        wanted &= trials.c.candidate.in_(list(names))
    if aims.objectives.costs == DEFAULT.costs:
        flops = select(trials.c.candidate, trials.c.flops_per_token).where(wanted).distinct()
        return {row.candidate: (row.flops_per_token,) for row in connection.execute(flops)}
    assert aims.rungs is not None
    first = select(trials.c.candidate, func.min(trials.c.rung).label("rung")).where(wanted)
    lowest = first.group_by(trials.c.candidate).subquery()
    costs = (candidates.c.active_params, candidates.c.total_params, candidates.c.training_bytes)
    found = connection.execute(
        select(trials.c.candidate, trials.c.flops_per_token, *costs)
        .add_columns(trials.c.planned_flops, trials.c.rung, trials.c.split)
        .join(lowest, (trials.c.candidate == lowest.c.candidate) & (trials.c.rung == lowest.c.rung))
        .join(
            candidates,
            (trials.c.study == candidates.c.study) & (trials.c.candidate == candidates.c.candidate),
        )
        .where(trials.c.study == study)
    )
    return {row.candidate: aims.objectives.of(_known(row, aims.rungs)) for row in found}


def _known(row: Any, rungs: Rungs) -> KnownCosts:
    """The costs of a candidate from one of its trials, whose planned FLOPs are those of the trial alone."""
    tokens = rungs.trained_tokens(row.rung, row.split)
    return KnownCosts(
        flops_per_token=row.flops_per_token,
        active_params=row.active_params,
        total_params=row.total_params,
        memory_bytes=row.training_bytes,
        training_flops=float(f"{row.planned_flops / tokens * rungs.whole_tokens:.{DIGITS}g}"),
    )
