"""Collect the table of a study from its database, at any moment of the study.

A candidate is in the table once its trial at the top rung is done, or once its training has diverged.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, distinct, func, select

from search.database.storage import open_reader
from search.database.tables import candidates, curves, routing, studies, task_scores, trials
from search.read.results import Reader
from search.store.environment import Environment
from search.table.draws import weigh
from search.table.records import DIGITS, Costs, Curve, Header, Table, TrainedCandidate, TrainedRung
from space.candidate import CandidateConfig
from space.scores import TaskScore
from space.study import StudyConfig

CURVE_POINTS = 20  # of a curve at each rung
CURVE_DIGITS, ROUTING_DIGITS = 4, 4

Key = tuple[str, int, int]  # candidate, rung, seed


def collect_table(url: str, study: str) -> Table:
    """The table of a study's candidates that have ended.

    Args:
        url: the database's URL.
        study: name of the study.

    Raises:
        NotFoundError: there is no such database or study.
        StorageError: the database cannot be read.
    """
    reader = Reader(url)
    config, suite = reader.config(study), reader.suite(study)
    reader.close()
    engine = open_reader(url)
    try:
        with engine.connect() as connection:
            about = connection.execute(select(studies).where(studies.c.name == study)).one()
            found = connection.execute(
                select(candidates).where(candidates.c.study == study).order_by(candidates.c.ordinal)
            ).all()
            trained = _Trained(connection, study)
    finally:
        engine.dispose()
    top, seed = len(config.rungs.tokens) - 1, config.search.seed
    ended = [row for row in found if trained.has_ended(row.candidate, top, seed)]
    sparse = [CandidateConfig.model_validate(row.config).architecture.sparse for row in ended]
    drawn = [(row.origin, routes, row.flops_per_token) for row, routes in zip(ended, sparse, strict=True)]
    weights, cells = weigh(config, suite, drawn)
    rows = [
        trained.candidate(row, seed, None if weights is None else weights[number])
        for number, row in enumerate(ended)
    ]
    header = Header(
        config=config,
        suite=suite,
        environment=None if about.environment is None else Environment.model_validate(about.environment),
        devices=trained.devices,
        partial=about.finished_at is None or trained.under_way,
        candidates=len(rows),
        failed=trained.failed(top, seed),
        cells=tuple(cells),
        weighted=weights is not None,
    )
    return Table(header, tuple(rows))


def count_ended(url: str, study: str, config: StudyConfig) -> int:
    """How many candidates a table of the study would hold now, as one cheap query."""
    top = len(config.rungs.tokens) - 1
    ended = select(func.count(distinct(trials.c.candidate))).where(
        trials.c.study == study,
        trials.c.seed == config.search.seed,
        trials.c.final,
        ((trials.c.rung == top) & (trials.c.state == "done")) | trials.c.diverged,
    )
    engine = open_reader(url)
    try:
        with engine.connect() as connection:
            return connection.scalar(ended) or 0
    finally:
        engine.dispose()


class _Trained:
    """All trials of a study that have ended, with their scores, curves and routing."""

    def __init__(self, connection: Connection, study: str) -> None:
        rows = connection.execute(select(trials).where(trials.c.study == study)).all()
        self.under_way = any(not row.final for row in rows)
        self._trials = {_key(row): row for row in rows if row.final}
        self._lives: dict[tuple[str, int], list[Row[Any]]] = defaultdict(list)
        for trial in sorted(self._trials.values(), key=lambda trial: trial.rung):
            self._lives[trial.candidate, trial.seed].append(trial)
        self.devices = tuple(sorted({row.device for row in self._trials.values() if row.device}))
        self._tasks = _by_trial(connection, task_scores, study, task_scores.c.task)
        self._curves = _by_trial(connection, curves, study, curves.c.tokens)
        self._routing = _by_trial(connection, routing, study, routing.c.domain)

    def has_ended(self, candidate: str, top: int, seed: int) -> bool:
        """Whether a candidate's trial at the top rung is done, or its training diverged."""
        last = self._trials.get((candidate, top, seed))
        done = last is not None and last.state == "done"
        return done or any(trial.diverged for trial in self._of(candidate, seed))

    def failed(self, top: int, seed: int) -> int:
        """Candidates that failed permanently and did not diverge."""
        names = {key[0] for key in self._trials}
        return sum(
            any(trial.state == "failed" for trial in self._of(name, seed))
            and not self.has_ended(name, top, seed)
            for name in names
        )

    def candidate(self, row: Row[Any], seed: int, weight: float | None) -> TrainedCandidate:
        """The record of a candidate that has ended."""
        costs = {name: getattr(row, name) for name in Costs.model_fields}
        return TrainedCandidate(
            candidate=row.candidate,
            ordinal=row.ordinal,
            origin=row.origin,
            config=CandidateConfig.model_validate(row.config),
            params=row.params,
            costs=Costs(**costs),
            weight=weight,
            rungs=self._rungs(row.candidate, seed),
            repeats=self._rungs(row.candidate, seed + 1),
        )

    def _of(self, candidate: str, seed: int) -> list[Row[Any]]:
        return self._lives.get((candidate, seed), [])

    def _rungs(self, candidate: str, seed: int) -> tuple[TrainedRung, ...]:
        kept = [trial for trial in self._of(candidate, seed) if trial.state == "done" or trial.diverged]
        return tuple(self._rung(trial) for trial in kept)

    def _rung(self, trial: Row[Any]) -> TrainedRung:
        key, diverged = _key(trial), trial.state != "done"
        return TrainedRung(
            rung=trial.rung,
            seed=trial.seed,
            tokens=trial.tokens,
            diverged=diverged,
            score=None if diverged else _rounded(trial.score),
            stderr=None if diverged else _rounded(trial.stderr),
            tasks={
                row.task: TaskScore(
                    value=_rounded(row.value),
                    stderr=_rounded(row.stderr),
                    n=row.n,
                    fraction=_rounded(row.fraction),
                    fraction_stderr=_rounded(row.fraction_stderr),
                )
                for row in ([] if diverged else self._tasks[key])
            },
            training_flops=trial.training_flops,
            wall_seconds=_maybe(trial.wall_seconds, CURVE_DIGITS),
            evaluation_seconds=_maybe(trial.evaluation_seconds, CURVE_DIGITS),
            epochs={task: _rounded(passes, CURVE_DIGITS) for task, passes in (trial.epochs or {}).items()},
            routing={
                row.domain: [[_rounded(share, ROUTING_DIGITS) for share in layer] for layer in row.load]
                for row in self._routing[key]
            },
            curve=thinned(self._curves[key]),
            error=trial.error if diverged else None,
        )


def thinned(points: Sequence[Any], most: int = CURVE_POINTS) -> Curve:
    """A curve of at most so many points, evenly spaced, with the first and the last one.

    Args:
        points: objects with `tokens`, `loss` and `task_losses`, by tokens.
        most: points to keep.
    """
    kept = np.unique(np.linspace(0, len(points) - 1, min(most, len(points))).round().astype(int))
    chosen = [points[i] for i in kept] if points else []
    tasks = sorted({task for point in chosen for task in point.task_losses})
    return Curve(
        tokens=tuple(point.tokens for point in chosen),
        loss=tuple(_maybe(point.loss, CURVE_DIGITS) for point in chosen),
        tasks={
            task: tuple(_maybe(point.task_losses.get(task), CURVE_DIGITS) for point in chosen)
            for task in tasks
        },
    )


def _by_trial(connection: Connection, table: Any, study: str, order: Any) -> dict[Key, list[Row[Any]]]:
    found: dict[Key, list[Row[Any]]] = defaultdict(list)
    rows: Iterable[Row[Any]] = connection.execute(select(table).where(table.c.study == study).order_by(order))
    for row in rows:
        found[_key(row)].append(row)
    return found


def _key(row: Row[Any]) -> Key:
    return row.candidate, row.rung, row.seed


def _rounded(value: float, digits: int = DIGITS) -> float:
    """A number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def _maybe(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else _rounded(value, digits)
