"""Replay a sampler on a table, under a simulated clock with any number of workers, without training.

The unit of compute is W: the mean training FLOPs of one random candidate at the top rung. A run is judged by
`search.planning.reach`: the hypervolume of the front that the study would report, by scores without noise. It
is compared with random candidates that are all trained to the top rung, by default as many as the budget has
W.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from search.choose.sampler import Feasible, Problem
from search.planning.clock import ClockRun, KnownSurface, play
from search.planning.reach import LEAST, RANDOM, Judge, first_reach, prepare
from search.planning.simulate import executed_flops_per_token
from search.table.ensemble import Ensemble, Series
from search.table.nearest import Rows, feasible_rows
from search.table.records import Table
from search.table.surfaces import RowsSurface
from space.errors import StudyFileError
from space.parsing import parse
from space.study import Search, Stop, StudyConfig

REPETITIONS = 8  # random searches that a run is compared with
BUDGET = 32.0  # W
CURVE_POINTS = 50
BOOTSTRAP = 4000

On = Literal["rows", "ensemble"]
Draw = Callable[[np.random.Generator, int], list[Feasible]]


@dataclass(frozen=True, slots=True)
class Play:
    """What to play.

    Attributes:
        on: rows, on which suggestions become the nearest unused candidates of the table; or ensemble, on
            which every candidate of the space can be tried.
        budget: in W.
        random: full trainings of random candidates that set the level; None for as many as the budget has W.
        promotion: as in a study file.
        series: of the ensemble's surfaces; each seed plays the surface of its number.
    """

    sampler: str
    sampler_args: Mapping[str, Any]
    workers: int = 1
    seeds: int = 1
    budget: float = BUDGET
    random: int | None = None
    on: On = "rows"
    promotion: Literal["gain", "rank", "all"] = "gain"
    series: Series = "development"

    @property
    def trainings(self) -> int:
        """Full trainings of random candidates that set the level."""
        return max(1, round(self.budget)) if self.random is None else self.random


@dataclass(frozen=True, slots=True)
class SeedReplay:
    """One run.

    Attributes:
        value: hypervolume of the front that it reports, by scores without noise.
        best: best score without noise on that front; None if it is empty.
        level: mean hypervolume of random searches, all of whose candidates are trained to the top rung.
        reached: W at which the run first reaches that level; None if it does not.
        clamped: candidates with costs that the table does not cover, which scored as at the nearest cost.
        proposal_seconds: mean CPU seconds of a proposal.
        curve: (W spent, hypervolume) along the run, thinned.
    """

    seed: int
    candidates: int
    trials: int
    spent: float
    value: float
    best: float | None
    level: float
    reached: float | None
    clamped: int
    proposal_seconds: float
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """The runs of a sampler, and their summary.

    Attributes:
        full_flops: W, in training FLOPs.
        random: full trainings of random candidates that set the level.
        hits: runs that reached that level.
        ratio: the compute of those trainings over that of the run until it reaches their level, geometric
            mean; a miss counts as the budget.
        interval: its 95% interval, by bootstrap over the runs.
    """

    study: str
    sampler: str
    on: On
    workers: int
    promotion: str
    budget: float
    random: int
    full_flops: float
    hits: int
    ratio: float
    interval: tuple[float, float]
    runs: tuple[SeedReplay, ...]


def replay(table: Table, given: Play, ensemble: Ensemble | None = None) -> Replay:
    """Play a sampler on a table with several seeds.

    Args:
        table: the table.
        given: what to play.
        ensemble: fitted on the table; None fits one where it is needed.

    Raises:
        StudyFileError: the sampler cannot be made, or the table has too few candidates.
    """
    if not table.rows:
        raise StudyFileError("a replay needs candidates, and the table holds none")
    ensemble = (ensemble or Ensemble(table)) if given.on == "ensemble" else None
    config = table.header.config
    problem = Problem.of(config, table.header.suite)
    draw = _rows_draw(table) if given.on == "rows" else _space_draw(problem)
    full_flops = _full_flops(table, draw)
    runs = [_run(table, given, ensemble, seed, problem, draw, full_flops) for seed in range(given.seeds)]
    reached = [given.budget if run.reached is None else run.reached for run in runs]
    ratio, interval = _ratio(given.trainings / np.array(reached))
    return Replay(
        study=config.study,
        sampler=given.sampler,
        on=given.on,
        workers=given.workers,
        promotion=given.promotion,
        budget=given.budget,
        random=given.trainings,
        full_flops=full_flops,
        hits=sum(run.reached is not None for run in runs),
        ratio=ratio,
        interval=interval,
        runs=tuple(runs),
    )


def _run(
    table: Table,
    given: Play,
    ensemble: Ensemble | None,
    seed: int,
    problem: Problem,
    draw: Draw,
    full_flops: float,
) -> SeedReplay:
    config = _study(table, given, seed, full_flops)
    surface: KnownSurface = RowsSurface(table)
    propose = Rows(table, config).propose if ensemble is None else None
    if ensemble is not None:
        ensemble.features.clamped.clear()
        surface = ensemble.surface(given.series, seed)
    run = play(config, table.header.suite, surface, given.workers, propose)
    judge = Judge(problem, surface, _least_score(surface, draw))
    points = judge.curve(run.trials)
    curve = [(point.spent / full_flops, point.value) for point in points]
    clamped = 0 if ensemble is None else len(ensemble.features.clamped & {t.candidate for t in run.trials})
    level = _level(judge, draw, given.trainings, seed)
    reached = first_reach(points, level)
    return SeedReplay(
        seed=seed,
        candidates=len(run.snapshot.candidates),
        trials=len(run.trials),
        spent=run.training_flops / full_flops,
        value=curve[-1][1] if curve else 0.0,
        best=_best(surface, run, len(config.rungs.tokens) - 1),
        level=level,
        reached=None if reached is None else reached / full_flops,
        clamped=clamped,
        proposal_seconds=float(np.mean(run.proposal_seconds)) if run.proposal_seconds else 0.0,
        curve=_thinned(curve),
    )


def _study(table: Table, given: Play, seed: int, full_flops: float) -> StudyConfig:
    """The study that is played."""
    named = {"sampler": given.sampler, "sampler_args": dict(given.sampler_args), "promotion": given.promotion}
    search = parse(Search, named | {"seed": seed}, lambda why: StudyFileError(f"search.{why}"))
    stop = Stop(training_flops=given.budget * full_flops)
    return table.header.config.model_copy(update={"search": search, "stop": stop})


def _full_flops(table: Table, draw: Draw) -> float:
    """W: mean training FLOPs of a random candidate at the top rung, its lower rungs' trunk included."""
    rungs, suite = table.header.config.rungs, table.header.suite
    found = draw(np.random.default_rng(0), 400)
    per_token = [executed_flops_per_token(f.cost, f.candidate.optimizer, suite) for f in found]
    return float(np.mean(per_token)) * rungs.whole_tokens


def _least_score(surface: KnownSurface, draw: Draw) -> float:
    """The corner of the hypervolume: a quantile of the scores of random candidates, without noise."""
    drawn = draw(np.random.default_rng(0), RANDOM)
    prepare(surface, drawn)
    truths = [surface.truth(f.candidate, f.cost) for f in drawn]
    scores = [truth for truth in truths if truth is not None]
    return float(np.quantile(scores, LEAST)) if scores else 0.0


def _ratio(ratios: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Geometric mean of the runs' ratios, (seeds,), and its bootstrap interval."""
    logs = np.log(ratios)
    drawn = np.random.default_rng(0).choice(logs, size=(BOOTSTRAP, len(logs))).mean(axis=1)
    low, high = np.exp(np.quantile(drawn, (0.025, 0.975)))
    return math.exp(float(logs.mean())), (float(low), float(high))


def _level(judge: Judge, draw: Draw, trainings: int, seed: int) -> float:
    """Mean hypervolume of random searches whose candidates all train to the top rung."""
    values = []
    for repetition in range(REPETITIONS):
        found = draw(np.random.default_rng([seed, repetition]), trainings)
        prepare(judge.surface, found)
        values.append(judge.value(judge.trained_front(found, repetition)))
    return float(np.mean(values))


def _best(surface: KnownSurface, run: ClockRun, top: int) -> float | None:
    ended = [trial for trial in run.trials if trial.rung == top and not trial.result.diverged]
    truths = [surface.truth(trial.proposal.candidate, trial.proposal.cost) for trial in ended]
    return max((truth for truth in truths if truth is not None), default=None)


def _rows_draw(table: Table) -> Draw:
    """Draws rows by their weights, with repetitions."""
    rows = feasible_rows(table)
    weights = table.weights if table.weights.sum() > 0 else np.full(len(rows), 1 / len(rows))
    return lambda rng, count: [rows[i] for i in rng.choice(len(rows), size=count, p=weights)]


def _space_draw(problem: Problem) -> Draw:
    """Draws feasible candidates of the space, as plain random sampling does."""

    def draw(rng: np.random.Generator, count: int) -> list[Feasible]:
        found: list[Feasible] = []
        while len(found) < count:
            priced = problem.feasible(problem.sample(rng))
            if priced is not None:
                found.append(priced)
        return found

    return draw


def _thinned(curve: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    count = min(CURVE_POINTS, len(curve))
    kept = np.unique(np.linspace(0, len(curve) - 1, count).round().astype(int)) if curve else []
    return tuple(curve[i] for i in kept)
