"""What a table of trained candidates holds: a header, and one record for each candidate.

All records are plain data that JSON can hold. Measured numbers are rounded to `DIGITS` significant digits;
counted costs are exact.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
from pydantic import Field, JsonValue, model_validator

from search.pareto import pareto
from search.store.environment import Environment
from space.candidate import CandidateConfig
from space.cost import price
from space.records import Frozen, SuiteRecord
from space.scores import TaskScore, at_floor
from space.study import StudyConfig

DIGITS = 7


class Cell(Frozen):
    """A stratum that candidates were drawn from: dense or sparse ones, within a bin of cost.

    Attributes:
        sparse: whether its candidates route.
        bin: of the logarithm of FLOPs per token, counted from the cheapest.
        probability: that a plain random feasible draw of the space lies in it.
        candidates: of the table that were drawn from it, without those of the control mixtures.
    """

    sparse: bool
    bin: int = Field(ge=0)
    probability: float = Field(ge=0, le=1)
    candidates: int = Field(ge=0)


class Header(Frozen):
    """What all candidates of a table share.

    Attributes:
        config: the study that trained them: space, limits, rungs, sampler and seed.
        suite: its tasks, with the references that its scores are fractions of.
        environment: versions and data of its trials; None if the study holds none.
        devices: kinds of devices that they were trained on.
        partial: whether the study was still at work, so that a later file holds more.
        failed: candidates that failed permanently without a result; they are not in the table.
        cells: the strata; empty if candidates were not drawn in strata.
        weighted: whether the candidates' weights are known.
    """

    format: Literal["pathfront-table"] = "pathfront-table"
    schema_version: Literal[1] = 1
    config: StudyConfig
    suite: SuiteRecord
    environment: Environment | None = None
    devices: tuple[str, ...] = ()
    partial: bool
    candidates: int = Field(ge=0)
    failed: int = Field(default=0, ge=0)
    cells: tuple[Cell, ...] = ()
    weighted: bool = False


class Costs(Frozen):
    """Counted costs of a candidate, exact."""

    flops_per_token: float = Field(gt=0)
    active_params: int = Field(gt=0)
    total_params: int = Field(gt=0)
    training_bytes: int = Field(gt=0)


class Curve(Frozen):
    """Points of a training curve.

    Attributes:
        tokens: of the candidate's life at each point, the decay branch included.
        loss: mean training loss in nats; None where it was not finite.
        tasks: task -> its loss at each point; None where there is none.
    """

    tokens: tuple[int, ...] = ()
    loss: tuple[float | None, ...] = ()
    tasks: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)


class TrainedRung(Frozen):
    """A candidate at a rung with a seed.

    Attributes:
        tokens: of the undecayed trunk.
        diverged: whether its training diverged, so that it has no score.
        score: mean over domains of the mean over tasks of the clipped fraction of the expert.
        stderr: its standard error over the episodes.
        tasks: task -> score on the select episodes.
        training_flops: executed by this trial: its part of the trunk and its decay branch.
        wall_seconds: of training on one worker.
        evaluation_seconds: of scoring.
        epochs: task -> passes over its data in the candidate's life so far.
        routing: domain -> layers x experts, share of the tokens' visits.
        error: how it diverged.
    """

    rung: int = Field(ge=0)
    seed: int
    tokens: int = Field(gt=0)
    diverged: bool = False
    score: float | None = None
    stderr: float | None = None
    tasks: dict[str, TaskScore] = Field(default_factory=dict)
    training_flops: float | None = None
    wall_seconds: float | None = None
    evaluation_seconds: float | None = None
    epochs: dict[str, float] = Field(default_factory=dict)
    routing: dict[str, list[list[float]]] = Field(default_factory=dict)
    curve: Curve = Curve()
    error: str | None = None

    @model_validator(mode="after")
    def _has_a_score_or_diverged(self) -> Self:
        scored = self.score is not None and self.stderr is not None and bool(self.tasks)
        if scored == self.diverged:
            raise ValueError(f"a rung has a score with its tasks, or diverged, got score {self.score}")
        return self


class TrainedCandidate(Frozen):
    """A candidate and what it scored.

    Attributes:
        ordinal: number of its proposal, from 0.
        origin: how it was proposed; "control" for the control mixtures.
        params: parameter of the space -> value.
        weight: probability of this candidate if one is drawn as plain random sampling of the space would: the
            weights of a table sum to 1. 0 for the control mixtures. None if it is not known.
        rungs: with the study's own seed, the lowest first; the last one is the top rung, or diverged.
        repeats: with the other seed, if it was repeated.
    """

    candidate: str
    ordinal: int = Field(ge=0)
    origin: str
    config: CandidateConfig
    params: dict[str, JsonValue]
    costs: Costs
    weight: float | None = Field(default=None, ge=0, le=1)
    rungs: tuple[TrainedRung, ...] = Field(min_length=1)
    repeats: tuple[TrainedRung, ...] = ()

    def at(self, rung: int) -> TrainedRung | None:
        """The trial at a rung with the study's own seed; None if it diverged below that rung."""
        return next((trial for trial in self.rungs if trial.rung == rung), None)


@dataclass(frozen=True)
class Table:
    """A table of trained candidates.

    Attributes:
        header: what they share.
        rows: the candidates, in the order of their proposals.
    """

    header: Header
    rows: tuple[TrainedCandidate, ...]

    @property
    def num_rungs(self) -> int:
        """Number of rungs."""
        return len(self.header.config.rungs.tokens)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return self.header.suite.tasks

    @cached_property
    def flops_per_token(self) -> np.ndarray:
        """FLOPs per token, shape (candidates,)."""
        return np.array([row.costs.flops_per_token for row in self.rows])

    @cached_property
    def weights(self) -> np.ndarray:
        """Probability of each candidate under plain random sampling, shape (candidates,).

        Equal weights where they are not known.
        """
        if not self.header.weighted:
            return np.full(len(self.rows), 1 / max(1, len(self.rows)))
        return np.array([row.weight for row in self.rows], dtype=float)

    def scores(self, rung: int = -1) -> np.ndarray:
        """Scores at a rung with the study's own seed, shape (candidates,); NaN where training diverged."""
        trials = self._at(rung)
        return np.array([np.nan if t is None or t.score is None else t.score for t in trials])

    def fractions(self, rung: int = -1) -> np.ndarray:
        """Fractions of the expert at a rung, unclipped, shape (candidates, tasks); NaN as in `scores`."""
        found = np.full((len(self.rows), len(self.tasks)), np.nan)
        for row, trial in enumerate(self._at(rung)):
            if trial is not None and trial.tasks:
                found[row] = [trial.tasks[task].fraction for task in self.tasks]
        return found

    def front(self) -> list[tuple[TrainedCandidate, float]]:
        """Candidates that no other beats in the study's objectives, best first, with their scores.

        A repeated candidate has the mean score over its seeds, as on the front of a study.
        """
        top = self.num_rungs - 1
        points = []
        for row in self.rows:
            trials = [trial for trial in (*row.rungs, *row.repeats) if trial.rung == top]
            seeds = [(t.score, t.stderr or 0.0) for t in trials if t.score is not None]
            if seeds:
                score = float(np.mean([score for score, _ in seeds]))
                stderr = sum(stderr**2 for _, stderr in seeds) ** 0.5 / len(seeds)
                if not at_floor(score, stderr) and score >= self.header.config.threshold:
                    points.append((score, self.objective_costs(row), row))
        return [(points[i][2], points[i][0]) for i in pareto([(score, *costs) for score, costs, _ in points])]

    def objective_costs(self, row: TrainedCandidate) -> tuple[float, ...]:
        """The costs of a candidate that are objectives, as they were counted when it was trained."""
        config, suite = self.header.config, self.header.suite
        counted = replace(price(row.config.architecture, suite), **row.costs.model_dump())
        return config.costs(counted, row.config.optimizer, suite)

    def _at(self, rung: int) -> list[TrainedRung | None]:
        return [row.at(range(self.num_rungs)[rung]) for row in self.rows]
