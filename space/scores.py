"""How a candidate is scored: fractions of expert performance, by task, by domain and overall.

The objective is the mean over domains of the mean over tasks of the fraction clipped to [-1, 1]; clipping at
0 would lift a task that sits at its floor by its own noise. Raw values and unclipped fractions are kept.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from space.contract import Spent
from space.errors import TaskError
from space.records import Frozen, Split, SuiteRecord, TaskRecord


class TaskScore(Frozen):
    """One task's score.

    Attributes:
        value: mean of the raw metric over the episodes.
        stderr: its standard error.
        n: episodes.
        fraction: (value - floor) / (expert - floor), unclipped.
        fraction_stderr: the episodes' share of its standard error; the references are frozen.
    """

    value: float
    stderr: float
    n: int
    fraction: float
    fraction_stderr: float


class Scorecard(Frozen):
    """What a trial ends with."""

    split: Split
    tasks: dict[str, TaskScore]
    domains: dict[str, float]
    score: float
    stderr: float
    memorisable_score: float | None = None
    generalising_score: float | None = None
    spent: Spent = Spent()
    routing: dict[str, list[list[float]]] = Field(default_factory=dict)  # domain -> layers x experts, load

    @classmethod
    def of(
        cls,
        suite: SuiteRecord,
        values: Mapping[str, Sequence[float] | np.ndarray],
        split: Split = "select",
        spent: Spent | None = None,
        routing: dict[str, list[list[float]]] | None = None,
    ) -> "Scorecard":
        """Score the raw values of each task's episodes, task -> (episodes,).

        Raises:
            TaskError: a task of the suite has no values, or a value is not finite.
        """
        records = suite.records
        tasks = {name: _task_score(records[name], values.get(name), split) for name in suite.tasks}
        domain_of = {name: records[name].domain for name in suite.tasks}
        weights = _domain_weights(domain_of)
        clipped = {name: float(np.clip(score.fraction, -1, 1)) for name, score in tasks.items()}
        domains = {
            domain: float(np.mean([clipped[n] for n in suite.tasks if domain_of[n] == domain]))
            for domain in sorted(set(domain_of.values()))
        }
        variance = sum((weights[n] * tasks[n].fraction_stderr) ** 2 for n in suite.tasks)
        known = [clipped[n] for n in suite.tasks if records[n].memorisable]
        fresh = [clipped[n] for n in suite.tasks if not records[n].memorisable]
        return cls(
            split=split,
            tasks=tasks,
            domains=domains,
            score=float(np.mean(list(domains.values()))),
            stderr=float(variance**0.5),
            memorisable_score=float(np.mean(known)) if known else None,
            generalising_score=float(np.mean(fresh)) if fresh else None,
            spent=spent or Spent(),
            routing=routing or {},
        )

    def above(self, threshold: float) -> int:
        """Tasks whose fraction of the expert is above a threshold (Gato's headline figure)."""
        return sum(score.fraction > threshold for score in self.tasks.values())


def expert_fraction(record: TaskRecord, value: float, split: Split) -> float:
    """(value - floor) / (expert - floor) of a task on a split, unclipped."""
    return record.fraction(value, split)


def _task_score(record: TaskRecord, values: object, split: Split) -> TaskScore:
    raw = np.asarray([] if values is None else values, dtype=float).reshape(-1)
    if raw.size == 0 or not np.isfinite(raw).all():
        raise TaskError(
            f"task '{record.name}' needs finite values of at least one episode, got {raw.tolist()[:5]}"
        )
    floor, expert = record.checked(split)
    stderr = float(raw.std(ddof=1) / raw.size**0.5) if raw.size > 1 else 0.0
    value = float(raw.mean())
    return TaskScore(
        value=value,
        stderr=stderr,
        n=int(raw.size),
        fraction=expert_fraction(record, value, split),
        fraction_stderr=stderr / abs(expert.mean - floor.mean),
    )


def _domain_weights(domain_of: Mapping[str, str]) -> dict[str, float]:
    """Each task's weight in the mean over domains of means over tasks."""
    sizes: dict[str, int] = {}
    for domain in domain_of.values():
        sizes[domain] = sizes.get(domain, 0) + 1
    return {name: 1 / (len(sizes) * sizes[domain]) for name, domain in domain_of.items()}


def at_floor(score: float | None, stderr: float | None) -> bool:
    """Whether a score is not above 0, the floor, by one standard error; True if there is no score.

    Such a candidate does no better than random play or a constant answer. It is never promoted, and never on
    the front, where it would be the cheapest point.
    """
    return score is None or score <= max(0.0, stderr or 0.0)
