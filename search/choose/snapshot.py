"""A snapshot of a study's candidates and trials, from which the next trial is chosen."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, and_, func, select

from search.choose.provenance import BELIEVED, NOT_OWN, provenance
from search.database.tables import candidates, studies, task_scores, trials
from search.store.aims import aims_of, known_costs
from search.store.memory import memory_ceiling
from search.store.workers import count_alive
from space.objectives import DEFAULT
from space.scores import at_floor
from space.study import Stop

MOST_NAMES = 500  # candidates in one query


@dataclass(frozen=True)
class Candidate:
    """A candidate as it was proposed; `ordinal` numbers them from 0, `origin` says who proposed it."""

    id: str
    ordinal: int
    params: dict[str, Any]
    flops_per_token: float
    sparse: bool
    origin: str = ""


class TaskFraction(NamedTuple):
    """A task's fraction of expert performance, unclipped, and its standard error over episodes."""

    value: float
    stderr: float


@dataclass(frozen=True)
class SnapshotTrial:
    """A candidate's trial at a rung.

    Attributes:
        final: done, or failed with no retry left.
        training_flops: spent if the trial is done, else planned.
        diverged: whether training diverged, which is a result of the candidate.
        tasks: task -> its fraction; empty unless the trial is done.
        costs: of the candidate, those that are objectives of the study, in their order; by default its FLOPs
            per token alone.
    """

    candidate: str
    rung: int
    state: str
    final: bool
    score: float | None
    stderr: float | None
    flops_per_token: float
    training_flops: float
    diverged: bool = False
    tasks: Mapping[str, TaskFraction] = field(default_factory=dict)
    costs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.costs:
            object.__setattr__(self, "costs", (self.flops_per_token,))

    @property
    def ended(self) -> bool:
        """Whether the trial has ended with a result: a score, or divergence."""
        return self.final and (self.state == "done" or self.diverged)

    @property
    def at_floor(self) -> bool:
        """Whether the score is within one standard error of the floor, or below it."""
        return at_floor(self.score, self.stderr)


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        candidates: in the order of their proposals.
        trials: with one seed, by default the study's own.
        launched_seconds: time with a live worker since the latest launch.
        workers: that are alive; as many candidates may be asked for before the first one has a score.
        memory_ceiling: bytes that a candidate was forecast to need which ran out of memory; None if none did.
    """

    candidates: tuple[Candidate, ...]
    trials: tuple[SnapshotTrial, ...]
    launched_seconds: float
    workers: int = 1
    memory_ceiling: int | None = None

    @cached_property
    def rungs(self) -> dict[int, list[SnapshotTrial]]:
        """Rung -> its trials."""
        found: dict[int, list[SnapshotTrial]] = defaultdict(list)
        for trial in self.trials:
            found[trial.rung].append(trial)
        return dict(found)

    def joined(self, other: "Snapshot") -> "Snapshot":
        """This snapshot with the trials of another seed, too."""
        return replace(self, trials=(*self.trials, *other.trials))

    @cached_property
    def own(self) -> int:
        """Number of candidates that the study chose itself: neither a person nor a belief gave them."""
        return sum(provenance(candidate.origin).rule not in NOT_OWN for candidate in self.candidates)

    @cached_property
    def believed(self) -> frozenset[str]:
        """Candidates that the study's belief chose, which are trained to the top rung at once."""
        return frozenset(c.id for c in self.candidates if provenance(c.origin).rule == BELIEVED)

    @cached_property
    def waiting(self) -> tuple[str, ...]:
        """Candidates without a trial, which wait to be trained, the first enqueued first."""
        begun = {trial.candidate for trial in self.trials}
        return tuple(candidate.id for candidate in self.candidates if candidate.id not in begun)

    @property
    def training_flops(self) -> float:
        """Training FLOPs: spent by finished trials, planned for the others."""
        return sum(trial.training_flops for trial in self.trials)

    @property
    def under_way(self) -> int:
        """Number of trials that are running or will be retried."""
        return sum(not trial.final for trial in self.trials)

    def may_start(self, stop: Stop) -> bool:
        """Whether the budgets of FLOPs and time allow another trial."""
        if stop.training_flops is not None and self.training_flops >= stop.training_flops:
            return False
        return stop.wall_minutes is None or self.launched_seconds < 60 * stop.wall_minutes

    def may_propose(self, stop: Stop) -> bool:
        """Whether another candidate may be proposed.

        Candidates that failed permanently without a score are replaced and do not count, up to
        `stop.candidates` of them; candidates that diverged count.
        """
        if stop.candidates is None:
            return True
        ended = {trial.candidate for trial in self.trials if trial.ended}
        failed = {trial.candidate for trial in self.trials if trial.final} - ended
        return len(self.candidates) - min(len(failed), stop.candidates) < stop.candidates


Fractions = dict[tuple[str, int], dict[str, TaskFraction]]  # (candidate, rung) -> task -> fraction


def take_snapshot(engine: Engine, study: str, seed: int, fractions: Fractions | None = None) -> Snapshot:
    """Read a study's candidates and its trials with a seed.

    Args:
        engine: the database.
        study: name of the study.
        seed: of the trials.
        fractions: of done trials, as earlier snapshots with this seed have read them; the others are added.
    """
    fractions = {} if fractions is None else fractions
    spent = func.coalesce(trials.c.training_flops, trials.c.planned_flops).label("training_flops")
    computed = ("training_flops", "tasks", "costs")
    columns = [trials.c[name] for name in SnapshotTrial.__dataclass_fields__ if name not in computed]
    searched = and_(trials.c.study == study, trials.c.seed == seed, trials.c.split == "select")
    standings = select(*columns, spent).where(searched)
    known = select(
        candidates.c.candidate.label("id"),
        candidates.c.ordinal,
        candidates.c.params,
        candidates.c.flops_per_token,
        candidates.c.description["sparse"].as_boolean().label("sparse"),
        candidates.c.origin,
    ).where(candidates.c.study == study, candidates.c.ordinal >= 0)  # without controls of confirmations
    since = select(studies.c.ran_seconds).where(studies.c.name == study)
    with engine.connect() as connection:
        rows = connection.execute(standings.order_by(trials.c.started_at, trials.c.candidate)).all()
        found = connection.execute(known.order_by(candidates.c.ordinal)).all()
        seconds = connection.scalar(since)
        alive = count_alive(connection, study)
        ceiling = memory_ceiling(connection, study)
        done = {(row.candidate, row.rung) for row in rows if row.state == "done"}
        fractions |= _fractions(connection, study, seed, done - fractions.keys())
        aims = aims_of(connection, study)
        costs = {} if aims.objectives.costs == DEFAULT.costs else known_costs(connection, study, aims)
    return Snapshot(
        candidates=tuple(Candidate(**row._mapping) for row in found),
        trials=tuple(
            SnapshotTrial(
                **row._mapping,
                tasks=fractions[row.candidate, row.rung] if row.state == "done" else {},
                costs=costs.get(row.candidate, ()),
            )
            for row in rows
        ),
        launched_seconds=seconds or 0.0,
        workers=max(1, alive),
        memory_ceiling=ceiling,
    )


def _fractions(connection: Connection, study: str, seed: int, wanted: set[tuple[str, int]]) -> Fractions:
    """Each task's fraction in some of a study's trials."""
    found: Fractions = {key: {} for key in wanted}
    columns = ("candidate", "rung", "task", "fraction", "fraction_stderr")
    query = select(*(task_scores.c[name] for name in columns)).filter_by(study=study, seed=seed)
    names = sorted({candidate for candidate, _ in wanted})
    for first in range(0, len(names), MOST_NAMES):
        some = task_scores.c.candidate.in_(names[first : first + MOST_NAMES])
        for row in connection.execute(query.where(some).order_by(task_scores.c.task)):
            if (row.candidate, row.rung) in found:
                fraction = TaskFraction(row.fraction, row.fraction_stderr)
                found[row.candidate, row.rung][row.task] = fraction
    return found
