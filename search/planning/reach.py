"""Compute to reach a level: how search methods are compared on a surface whose scores are known.

The hypervolume of an observed front is optimistic, since noise selects the lucky candidates. So a front is
judged as its reader would find it: the candidates are those that the study reports (the front over every
candidate's highest rung, noise included), their scores those at the rung that each was trained to, without
noise. A candidate that was lucky therefore counts with what it is worth.

The hypervolume lies above the score that one random candidate in ten does not reach, of those that do not
diverge. Above a score of 0 it would mostly measure how cheap the cheapest candidate is, which is known
without training.

The level is what random search reaches: the mean, over repetitions, of the same measure for 200 random
candidates that were all trained to the highest rung, without promotion. Compute is given in W, the mean
training FLOPs of one random candidate at the highest rung, so random search needs 200 W.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from search.choose.sampler import Feasible, Problem
from search.pareto import hypervolume, pareto
from search.planning.clock import FinishedTrial, KnownSurface
from search.planning.simulate import executed_flops_per_token
from space.candidate import CandidateConfig
from space.cost import Cost
from space.objectives import KnownCosts
from space.scores import at_floor

LEAST = 0.1  # quantile of the scores of random candidates: corner of the hypervolume
MARGIN = 1.1  # the corner's FLOPs over those of the most expensive architecture
RANDOM = 200  # candidates of the random search that sets the level


class Point(NamedTuple):
    """The measure after a trial.

    Attributes:
        spent: training FLOPs of all workers until then.
        value: hypervolume of the reported front, judged without noise.
    """

    spent: float
    value: float


@dataclass(frozen=True, slots=True)
class Level:
    """What random search reaches on a surface.

    Attributes:
        value: mean of the measure over repetitions of the random search.
        noise: its standard deviation over them.
        full_flops: W, the mean training FLOPs of one random candidate at the highest rung.
    """

    value: float
    noise: float
    full_flops: float

    def ratio(self, spent: float) -> float:
        """Training FLOPs of the random search over those spent."""
        return RANDOM * self.full_flops / spent


@runtime_checkable
class Prepares(Protocol):
    """A surface that is much faster with many candidates at once."""

    def prepare(self, candidates: Sequence[tuple[CandidateConfig, Cost]]) -> None:
        """Predict and remember candidates with their costs."""
        ...


def prepare(surface: object, found: Sequence[Feasible]) -> None:
    """Let a surface predict candidates at once, if that is faster."""
    if isinstance(surface, Prepares):
        surface.prepare([(one.candidate, one.cost) for one in found])


class Judge:
    """Values fronts on one surface, and remembers the scores of the candidates.

    Args:
        problem: the space, tasks and limits.
        surface: gives the scores, with noise and without.
        least_score: corner of the hypervolume; None for the quantile `LEAST` of random candidates.

    Attributes:
        least_score: scores at or below it add nothing to a front's value.
        most: costs at or above which they add nothing either, one for each of the study's objectives.
    """

    def __init__(self, problem: Problem, surface: KnownSurface, least_score: float | None = None) -> None:
        self.problem, self.surface = problem, surface
        priced = problem.space.feasible(problem.suite, problem.limits)
        batch, tokens = problem.suite.batch_tokens, problem.rungs.whole_tokens
        costs = [problem.objectives.of(KnownCosts.of(cost, "muon", batch, tokens)) for _, cost in priced]
        self.most = MARGIN * np.max(costs, axis=0)  # with the optimizer that costs more
        self._truths: dict[tuple[str, int], float | None] = {}
        self.least_score = self._quantile() if least_score is None else least_score

    def value(self, found: Sequence[Feasible], rungs: Sequence[int] | None = None) -> float:
        """Hypervolume of candidates by their scores without noise.

        Args:
            found: the candidates.
            rungs: that each was trained to; None for the highest.
        """
        rungs = [-1] * len(found) if rungs is None else rungs
        scores = [self.truth(f, rung) for f, rung in zip(found, rungs, strict=True)]
        costs = [self.problem.costs(f.candidate, f.cost) for f in found]
        points = [(t, *cost) for cost, t in zip(costs, scores, strict=True) if t is not None]
        return hypervolume(points, self.least_score, self.most)

    def curve(self, trials: Sequence[FinishedTrial]) -> list[Point]:
        """The measure after each trial of a run.

        Args:
            trials: in the order of their ends.
        """
        highest: dict[str, FinishedTrial] = {}
        reported: list[tuple[str, int]] = []
        points: list[Point] = []
        value = 0.0
        for trial in trials:
            known = highest.get(trial.candidate)
            if known is None or trial.rung > known.rung:
                highest[trial.candidate] = trial
            front = reported_front(list(highest.values()), self.problem)
            names = [(of.candidate, of.rung) for of in front]
            if names != reported:
                reported = names
                value = self.value([_feasible(of) for of in front], [of.rung for of in front])
            points.append(Point(trial.spent, value))
        return points

    def level(self, repetitions: int, seed: int = 0, number: int = RANDOM) -> Level:
        """What random search reaches.

        Args:
            repetitions: independent random searches.
            seed: of their candidates.
            number: candidates of each.
        """
        fronts, full_flops = self.random_fronts(repetitions, seed, number)
        return self.level_of(fronts, full_flops)

    def level_of(self, fronts: Sequence[Sequence[Feasible]], full_flops: float) -> Level:
        """The level that the reported fronts of several random searches set."""
        values = [self.value(front) for front in fronts]
        return Level(float(np.mean(values)), float(np.std(values, ddof=1)), full_flops)

    def random_fronts(
        self, repetitions: int, seed: int = 0, number: int = RANDOM
    ) -> tuple[list[list[Feasible]], float]:
        """The fronts that random searches report, and the mean training FLOPs of one of their candidates."""
        fronts: list[list[Feasible]] = []
        flops: list[float] = []
        suite, rungs = self.problem.suite, self.problem.rungs
        top = len(rungs.tokens) - 1
        for repetition in range(repetitions):
            found = self.random(np.random.default_rng([seed, repetition]), number)
            fronts.append(self.trained_front(found, seed))
            per_token = [executed_flops_per_token(f.cost, f.candidate.optimizer, suite) for f in found]
            flops.append(float(np.mean(per_token)) * rungs.with_decay(rungs.tokens[top]))
        return fronts, float(np.mean(flops))

    def trained_front(self, found: Sequence[Feasible], seed: int) -> list[Feasible]:
        """The candidates that a study reports as its front which trains all of them to the highest rung."""
        top = len(self.problem.rungs.tokens) - 1
        results = [self.surface.trial(f.candidate, f.cost, top, seed) for f in found]
        scored = [
            (f, r.score)
            for f, r in zip(found, results, strict=True)
            if r.score is not None and not at_floor(r.score, r.stderr)
        ]
        front = pareto([(score, *self.problem.costs(f.candidate, f.cost)) for f, score in scored])
        return [scored[i][0] for i in front]

    def _quantile(self) -> float:
        drawn = self.random(np.random.default_rng(0), RANDOM)
        scores = [score for found in drawn if (score := self.truth(found)) is not None]
        return float(np.quantile(scores, LEAST))

    def random(self, rng: np.random.Generator, number: int) -> list[Feasible]:
        """Draw feasible candidates at random; small spaces repeat some."""
        found: list[Feasible] = []
        while len(found) < number:
            priced = self.problem.feasible(self.problem.sample(rng))
            if priced is not None:
                found.append(priced)
        prepare(self.surface, found)
        return found

    def truth(self, found: Feasible, rung: int = -1) -> float | None:
        """The score at a rung, by default the highest, without noise; None if training diverges."""
        key = found.candidate.id, rung
        if key not in self._truths:
            self._truths[key] = self.surface.truth(found.candidate, found.cost, rung)
        return self._truths[key]


def reported_front(trials: Sequence[FinishedTrial], problem: Problem) -> list[FinishedTrial]:
    """The trials on the front that a study reports, best score first.

    Args:
        trials: one for each candidate, at its highest rung.
        problem: of the study.
    """
    able = [
        (t, t.result.score)
        for t in trials
        if t.result.score is not None and not at_floor(t.result.score, t.result.stderr)
    ]
    points = [(score, *problem.costs(t.proposal.candidate, t.proposal.cost)) for t, score in able]
    return [able[i][0] for i in pareto(points)]


def first_reach(curve: Sequence[Point], level: float) -> float | None:
    """Training FLOPs at which a level is reached for the first time; None if never."""
    return next((point.spent for point in curve if point.value >= level), None)


def lasting_reach(curve: Sequence[Point], level: float, noise: float) -> float | None:
    """Training FLOPs at which a level is reached and later never lost by more than noise; None if never.

    The stricter measure: the reported front of a noisy study gets worse at times.
    """
    found = None
    for point in curve:
        if found is None and point.value >= level:
            found = point.spent
        elif point.value < level - noise:
            found = None
    return found


def within(reached: float | None, budget: float) -> tuple[float, bool]:
    """What a run counts with: the training FLOPs at which it reached a level, or the budget on a miss.

    Args:
        reached: from `first_reach` or `lasting_reach`.
        budget: training FLOPs.

    Returns:
        The training FLOPs, and whether the level was reached within the budget.
    """
    if reached is None or reached > budget:
        return budget, False
    return reached, True


def _feasible(trial: FinishedTrial) -> Feasible:
    proposal = trial.proposal
    return Feasible(proposal.candidate, proposal.params, proposal.cost)
