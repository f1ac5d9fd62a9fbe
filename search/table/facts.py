"""Facts about a table: what its candidates scored, how noisy scores are, and whether rungs agree."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from search.table.records import Table
from space.description import describe

FEWEST = 3  # candidates, for a rank correlation


@dataclass(frozen=True, slots=True)
class RungFacts:
    """A rung of a table.

    Attributes:
        candidates: with a score at this rung.
        score: (least, mean, most).
        episode_stderr: mean standard error of a score over the episodes.
        repeats: candidates with a second seed at this rung.
        seed_sd: standard deviation of a score between seeds, from the differences of the repeats; None
            without repeats.
    """

    rung: int
    tokens: int
    candidates: int
    score: tuple[float, float, float] | None
    episode_stderr: float | None
    repeats: int
    seed_sd: float | None


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A candidate on the front, at the top rung.

    Attributes:
        objectives: name -> value, the score first.
    """

    candidate: str
    score: float
    flops_per_token: float
    label: str
    objectives: dict[str, float]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a table holds.

    Attributes:
        planned: candidates that the study tries; None if another rule stops it.
        dense: candidates without routing.
        flops_per_token: (least, most).
        rank_correlations: "lower-upper" rung -> Spearman's correlation of the scores.
        training_flops: of all its trials, repeats included.
        wall_seconds: of one worker, training and scoring.
        unseen: probability that a random draw of the space lies in a cell without a candidate; None if
            candidates were not drawn in cells.
    """

    study: str
    suite: str
    tasks: tuple[str, ...]
    partial: bool
    candidates: int
    planned: int | None
    dense: int
    diverged: int
    failed: int
    flops_per_token: tuple[float, float] | None
    rungs: tuple[RungFacts, ...]
    rank_correlations: dict[str, float]
    front: tuple[FrontPoint, ...]
    training_flops: float
    wall_seconds: float
    unseen: float | None
    versions: dict[str, str]
    devices: tuple[str, ...]


def table_facts(table: Table) -> TableFacts:
    """Compute the facts of a table."""
    header, rows = table.header, table.rows
    trials = [trial for row in rows for trial in (*row.rungs, *row.repeats)]
    environment = header.environment
    versions = {} if environment is None else {"python": environment.python, **environment.packages}
    names = header.config.objectives.names
    front = [
        FrontPoint(
            row.candidate,
            score,
            row.costs.flops_per_token,
            describe(row.config).label,
            dict(zip(names, (score, *table.objective_costs(row)), strict=True)),
        )
        for row, score in table.front()
    ]
    return TableFacts(
        study=header.config.study,
        suite=header.suite.name,
        tasks=table.tasks,
        partial=header.partial,
        candidates=len(rows),
        planned=header.config.stop.candidates,
        dense=sum(not row.config.architecture.sparse for row in rows),
        diverged=sum(row.rungs[-1].diverged for row in rows),
        failed=header.failed,
        flops_per_token=(float(table.flops_per_token.min()), float(table.flops_per_token.max()))
        if rows
        else None,
        rungs=tuple(_rung(table, rung) for rung in range(table.num_rungs)),
        rank_correlations=rank_correlations(table),
        front=tuple(front),
        training_flops=float(sum(trial.training_flops or 0.0 for trial in trials)),
        wall_seconds=float(sum((t.wall_seconds or 0) + (t.evaluation_seconds or 0) for t in trials)),
        unseen=float(sum(cell.probability for cell in header.cells if not cell.candidates))
        if header.cells
        else None,
        versions=versions,
        devices=header.devices,
    )


def rank_correlations(table: Table) -> dict[str, float]:
    """Spearman's correlation of the scores at each pair of rungs: "0-2" -> correlation.

    Pairs of rungs at which fewer than three candidates have a score are left out.
    """
    found = {}
    for lower, upper in combinations(range(table.num_rungs), 2):
        pairs = np.column_stack((table.scores(lower), table.scores(upper)))
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        rho = rank_correlation(pairs[:, 0], pairs[:, 1])
        if rho is not None:
            found[f"{lower}-{upper}"] = rho
    return found


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's correlation of two lists of numbers; None for fewer than three, or where one is constant."""
    if len(one) < FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def seed_differences(table: Table, rung: int) -> np.ndarray:
    """Score of the first seed minus that of the second one, for each repeated candidate of a rung."""
    found = []
    for row in table.rows:
        own = row.at(rung)
        other = next((trial for trial in row.repeats if trial.rung == rung), None)
        if own and other and own.score is not None and other.score is not None:
            found.append(own.score - other.score)
    return np.array(found)


def _rung(table: Table, rung: int) -> RungFacts:
    scores = table.scores(rung)
    scores = scores[np.isfinite(scores)]
    stderrs = [t.stderr for row in table.rows if (t := row.at(rung)) is not None and t.stderr is not None]
    differences = seed_differences(table, rung)
    return RungFacts(
        rung=rung,
        tokens=table.header.config.rungs.tokens[rung],
        candidates=len(scores),
        score=(float(scores.min()), float(scores.mean()), float(scores.max())) if len(scores) else None,
        episode_stderr=float(np.mean(stderrs)) if stderrs else None,
        repeats=len(differences),
        seed_sd=float(np.sqrt(np.mean(differences**2) / 2)) if len(differences) else None,
    )
