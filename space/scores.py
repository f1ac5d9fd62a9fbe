"""Scores of a candidate: fractions of expert performance by task, by domain and overall.

The score is the mean over domains of the mean over tasks of the fraction, clipped to [-1, 1]; a study may
give domains or tasks other weights (`space.objectives`). Clipping at 0 would bias tasks at their floor
upwards, by their noise. Raw values and unclipped fractions are stored too.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from space.contract import Spent
from space.errors import TaskError
from space.records import Frozen, Split, SuiteRecord, TaskRecord

HALF = 0.5  # fraction of the expert: the threshold of Gato's headline figure


class TaskScore(Frozen):
    """One task's score.

    Attributes:
        value: mean of the raw metric over the episodes.
        stderr: its standard error.
        n: episodes.
        fraction: (value - floor) / (expert - floor), unclipped.
        fraction_stderr: its standard error from the episodes alone; the references count as exact.
    """

    value: float
    stderr: float
    n: int
    fraction: float
    fraction_stderr: float


class Scorecard(Frozen):
    """The result of a trial.

    Attributes:
        split: the episodes that were scored.
        tasks: task -> score.
        domains: domain -> mean over its tasks of the clipped fraction.
        score: mean over domains, or weighted as the suite says.
        stderr: standard error of `score`.
        memorisable_score: mean over memorisable tasks; None if there are none.
        generalising_score: mean over the other tasks; None if there are none.
        spent: what the trial consumed.
        routing: domain -> expert load, layers x experts.
    """

    split: Split
    tasks: dict[str, TaskScore]
    domains: dict[str, float]
    score: float
    stderr: float
    memorisable_score: float | None = None
    generalising_score: float | None = None
    spent: Spent = Spent()
    routing: dict[str, list[list[float]]] = Field(default_factory=dict)

    @classmethod
    def of(
        cls,
        suite: SuiteRecord,
        values: Mapping[str, Sequence[float] | np.ndarray],
        split: Split = "select",
        spent: Spent | None = None,
        routing: dict[str, list[list[float]]] | None = None,
    ) -> "Scorecard":
        """Score the raw values of each task's episodes.

        Args:
            suite: the tasks and their references.
            values: task -> raw metric of each episode, shape (episodes,).
            split: the episodes.
            spent: what the trial consumed.
            routing: domain -> expert load, layers x experts.

        Raises:
            TaskError: a task of the suite has no values, or a value is not finite.
        """
        records = suite.records
        tasks = {name: _task_score(records[name], values.get(name), split) for name in suite.tasks}
        domain_of = {name: records[name].domain for name in suite.tasks}
        weights = score_weights(suite)
        clipped = {name: float(np.clip(score.fraction, -1, 1)) for name, score in tasks.items()}
        domains = {
            domain: float(np.mean([clipped[n] for n in suite.tasks if domain_of[n] == domain]))
            for domain in sorted(set(domain_of.values()))
        }
        score = np.mean(list(domains.values()))
        if suite.weights:
            score = sum(weights[name] * clipped[name] for name in suite.tasks)
        variance = sum((weights[n] * tasks[n].fraction_stderr) ** 2 for n in suite.tasks)
        known = [clipped[n] for n in suite.tasks if records[n].memorisable]
        fresh = [clipped[n] for n in suite.tasks if not records[n].memorisable]
        return cls(
            split=split,
            tasks=tasks,
            domains=domains,
            score=float(score),
            stderr=float(variance**0.5),
            memorisable_score=float(np.mean(known)) if known else None,
            generalising_score=float(np.mean(fresh)) if fresh else None,
            spent=spent or Spent(),
            routing=routing or {},
        )

    def above(self, threshold: float = HALF) -> int:
        """How many tasks are above a fraction of their expert, as in Gato's headline figure."""
        return tasks_above(self.tasks, threshold)


def tasks_above(scores: Mapping[str, TaskScore], threshold: float = HALF) -> int:
    """How many tasks are above a fraction of their expert.

    Args:
        scores: task -> score.
        threshold: the fraction.
    """
    return sum(score.fraction > threshold for score in scores.values())


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
        fraction=record.fraction(value, split),
        fraction_stderr=stderr / abs(expert.mean - floor.mean),
    )


def score_weights(suite: SuiteRecord) -> dict[str, float]:
    """Each task's weight in the score of a suite; their sum is 1."""
    if suite.weights:
        return {name: suite.weights.get(name, 0.0) for name in suite.tasks}
    return domain_weights({name: suite.records[name].domain for name in suite.tasks})


def domain_weights(domain_of: Mapping[str, str]) -> dict[str, float]:
    """Each task's weight in the mean over domains of means over tasks."""
    sizes: dict[str, int] = {}
    for domain in domain_of.values():
        sizes[domain] = sizes.get(domain, 0) + 1
    return {name: 1 / (len(sizes) * sizes[domain]) for name, domain in domain_of.items()}


def at_floor(score: float | None, stderr: float | None) -> bool:
    """Whether a score is at most one standard error above 0 (the floor), or missing.

    Such a candidate is no better than random play or a constant answer. It is never promoted and never on the
    front, where it would be the cheapest point.
    """
    return score is None or score <= max(0.0, stderr or 0.0)
