"""Pathfront's own sampler: a cheap start, then the largest expected gain of the front for its compute.

1. The first candidates are drawn over bins of cost, the cheap ones more often. Where so many workers are
   alive that they ask for more than twice as many before there are scores, all are drawn as by the
   stratified sampler: nothing is learnt from cheap candidates before the rest has begun.
2. Then two models predict scores at the top rung (`search.surrogate`): a scaling law for each task with a
   Gaussian process on what it leaves, and a plain Gaussian process.
3. Many points are compared: random ones, mutants and crossings of the best candidates, and points whose
   mixture and learning rate are improved by gradient under the law.
4. The next candidate has the largest expected gain in hypervolume over the known costs that are objectives,
   times the probability that it does not diverge, over its FLOPs per token: they are what a trial costs.

One candidate in ten is drawn at random. One in five at least is of either kind, sparse and dense, where the
space holds both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from search.choose.belief import Belief
from search.choose.improve import improved
from search.choose.kinds import rare_kind_first
from search.choose.models import models_of
from search.choose.outlook import Outlook
from search.choose.pool import Pool, PoolSpace
from search.choose.sampler import Feasible, Problem, Suggestion
from search.choose.snapshot import Snapshot
from search.choose.stratified import Stratified
from search.pareto import nondominated_rank
from search.surrogate.surrogate import Use
from space.errors import StudyFileError

STARTS = 6  # candidates before the models are asked
LEAST_SCORED = 3  # candidates with scores, for the models
MOST_CHEAP = 2  # times the start: more cheap candidates without a score would show too little
START_POWER, RANDOM_POWER = -1.0, -0.5  # of FLOPs
RANDOM_SHARE = 0.1  # of the candidates after the start
RANDOM, MUTANTS, CROSSED = 200, 200, 100  # points of the pool
PARENTS_LAYERS = 2  # non-dominated layers whose candidates are mutated
GRADIENT_STEPS, CHILDREN = 12, 120  # near the best points
DENSE_EVERY = 3  # one candidate of the start in so many is dense, where the space holds both kinds
BELIEVED, NEAR_EARLIER = 100, 100  # points that are drawn by a belief, near an earlier study's candidates
BATCH = 32  # points that are drawn at once

START, AT_RANDOM, MODEL = "start", "random", "model"  # rules, as they are noted
SPREAD = "spread"  # as the stratified sampler draws, noted as a start


class Pathfront:
    """Pathfront's sampler.

    Args:
        problem: the study's space, tasks, limits, seed and rungs.
        starts: candidates before the models are asked.
        random: share of later candidates that are drawn at random.
        law: whether the scaling law is used.
        residual: whether a Gaussian process is fitted to what the law leaves.
        plain: whether the plain Gaussian process is used.
        cheap_start: whether cheap candidates are drawn more often at the start.
        gradient: whether mixtures and learning rates are improved by gradient.
        per_task: whether each task has a law of its own, instead of one law of the score.
    """

    draws_controls = True
    uses_belief = True

    def __init__(
        self,
        problem: Problem,
        starts: int = STARTS,
        random: float = RANDOM_SHARE,
        law: bool = True,
        residual: bool = True,
        plain: bool = True,
        cheap_start: bool = True,
        gradient: bool = True,
        per_task: bool = True,
    ) -> None:
        if isinstance(starts, bool) or not isinstance(starts, int) or starts < 1:
            raise StudyFileError(f"starts is a whole number of at least 1, got {starts!r}")
        if isinstance(random, bool) or not isinstance(random, int | float) or not 0 <= random <= 1:
            raise StudyFileError(f"random is a number from 0 to 1, got {random!r}")
        parts = (law, residual, plain, cheap_start, gradient, per_task)
        names = ("law", "residual", "plain", "cheap_start", "gradient", "per_task")
        for name, part in zip(names, parts, strict=True):
            if not isinstance(part, bool):
                raise StudyFileError(f"{name} is true or false, got {part!r}")
        self._problem = problem
        self._starts = starts
        self._random = random
        self._start_power = START_POWER if cheap_start else 0.0
        self._spread = Stratified(problem)
        self._gradient = gradient and law
        self._use = Use(law=law, residual=residual, plain=plain)
        self.belief = problem.belief if isinstance(problem.belief, Belief) else None
        self.models = models_of(problem, self._use, per_task)

    def suggest(self, view: Snapshot) -> Iterator[Suggestion]:
        """Suggest parameters, best first, each with the rule that suggested it."""
        rng = self._problem.rng(view)
        rule = self._rule(view, rng)
        if rule == SPREAD:
            yield from (Suggestion(params, START) for params in self._spread.suggest(view))
            return
        choice, note = self._choice(view, rng) if rule == MODEL else (None, rule)
        if choice is not None:
            yield from choice.suggestions()
            note = "fallback; every point of the pool is known"
        yield from self._drawn(rng, view, note)

    def choose_among(self, view: Snapshot, pool: Sequence[Feasible]) -> Feasible:
        """The next candidate where only those of a pool can be tried, with the rule that chose it."""
        rng = self._problem.rng(view)
        rule = self._rule(view, rng)
        if rule == SPREAD:
            return replace(self._spread.choose_among(view, pool), note=START)
        choice, note = self._choice(view, rng) if rule == MODEL else (None, rule)
        space = self.models.space
        points, kept = space.encode([found.params for found in pool])
        if choice is not None:
            best = choice.order(points)[0]
            return replace(pool[int(kept[best])], note=choice.note)
        weights = np.ones(len(points))
        if self.belief is not None and note == START:
            weights = self.belief.weights(space, points)
        drawn = space.chosen(rng, points, BATCH, self._power(note), weights)
        best = drawn[self._of_kind(space, points.take(drawn), view, note)[0]]
        return replace(pool[int(kept[best])], note=note)

    def _rule(self, view: Snapshot, rng: np.random.Generator) -> str:
        """The rule that the next candidate is chosen by."""
        scored = {trial.candidate for trial in self.models.scored(view)}
        few = len(view.candidates) < self._starts or len(scored) < LEAST_SCORED
        control = self._problem.next_control(view)
        most_cheap = MOST_CHEAP * self._starts
        if few and (view.workers > most_cheap or (not control and len(view.candidates) >= most_cheap)):
            return SPREAD
        if few or control:
            return START
        return AT_RANDOM if rng.random() < self._random else MODEL

    def _choice(self, view: Snapshot, rng: np.random.Generator) -> "tuple[Choice | None, str]":
        """A choice by the models, and their rule; without them if they cannot be fitted, and why."""
        try:
            choice = Choice(self.models.outlook(view), rng, self._gradient, self.belief)
        except np.linalg.LinAlgError as error:
            return None, f"fallback; the models cannot be fitted: {error}"
        return choice, MODEL

    def _power(self, note: str) -> float:
        """Power of the FLOPs with which bins of cost are drawn."""
        return self._start_power if note == START else RANDOM_POWER

    def _drawn(self, rng: np.random.Generator, view: Snapshot, note: str) -> Iterator[Suggestion]:
        """Random points without end; with the control mixture where the next candidate tries it."""
        control = self._problem.next_control(view)
        space, power = self.models.space, self._power(note)
        while True:
            pool = space.random(rng, BATCH, power)
            if self.belief is not None and note == START:  # which may hold hardly any of a kind
                pool = Pool.joined((self.belief.pool(space, rng, BATCH, power), pool))
            for index in self._of_kind(space, pool, view, note):
                yield Suggestion({**space.params(pool, index), **control}, note)

    @staticmethod
    def _of_kind(space: PoolSpace, pool: Pool, view: Snapshot, note: str) -> list[int]:
        """Points of a pool; at the start only those of the kind whose turn it is, if there are any."""
        dense = view.own % DENSE_EVERY == 0
        wanted = np.flatnonzero(space.own_points(pool).sparse != dense).tolist() if note == START else []
        return wanted or list(range(len(pool)))


class Choice:
    """One choice of the next candidate.

    Args:
        outlook: what is expected of points.
        rng: random numbers.
        gradient: whether mixtures and learning rates are improved by gradient.
        belief: of the study; None if it states none.
    """

    def __init__(
        self, outlook: Outlook, rng: np.random.Generator, gradient: bool = True, belief: Belief | None = None
    ) -> None:
        self._outlook, self._space, self._surrogate = outlook, outlook.space, outlook.surrogate
        self._encoder = outlook.surrogate.encoder
        self._rng, self._gradient, self._belief = rng, gradient, belief

    def suggestions(self) -> Iterator[Suggestion]:
        """Points of the pool, the best first."""
        pool, value = improved(self._pool(), self._value, self._children)
        for index in self._kinds_first(pool, value):
            yield Suggestion(self._space.params(pool, index), self.note)

    def _children(self, best: Pool) -> Pool:
        """Points near the best ones."""
        children = [self._space.mutants(self._rng, best, CHILDREN, size=0.4)]
        if self._gradient and self._surrogate.law_weight > 0.1:
            children.append(self._climbed(best))
        return Pool.joined(children)

    @property
    def note(self) -> str:
        """The rule, and how much the scaling law counts."""
        return f"{MODEL}; the law weighs {self._surrogate.law_weight:.2f}"

    def order(self, pool: Pool) -> list[int]:
        """Indices of given points, the best first."""
        return self._kinds_first(pool, self._value(pool))

    def _kinds_first(self, pool: Pool, value: np.ndarray) -> list[int]:
        """Indices by falling value; those of a kind that is rare among the study's candidates first."""
        sparse, known = (self._space.own_points(of).sparse for of in (pool, self._outlook.known))
        return rare_kind_first(np.argsort(-value, kind="stable"), sparse, known).tolist()

    def _pool(self) -> Pool:
        space, rng = self._space, self._rng
        parts = [space.random(rng, RANDOM, 0.0)]
        if self._belief is not None:
            parts.append(self._belief.pool(space, rng, BELIEVED, 0.0))
            if self._belief.earlier is not None:
                parts.append(self._belief.earlier.candidates(space, rng, NEAR_EARLIER))
        alive = self._outlook.alive
        if len(alive):
            layers = nondominated_rank(self._outlook.ranked)
            parents = alive.take(np.flatnonzero(layers < PARENTS_LAYERS))
            parts += [space.mutants(rng, parents, MUTANTS), space.crossed(rng, parents, CROSSED)]
        return Pool.joined(parts)

    def _value(self, pool: Pool) -> np.ndarray:
        """Expected gain of each point for its compute, (points,)."""
        return self._outlook.of(pool).value

    def _climbed(self, best: Pool) -> Pool:
        """Points whose mixture and learning rate are improved under the law, by gradient."""
        law = self._surrogate.law
        assert law is not None
        encoder, top = self._encoder, self._encoder.rungs - 1
        low, high = self._space.rate_ends
        for step in range(GRADIENT_STEPS):
            points = self._space.own_points(best)  # the earlier study is no part of the law
            rungs = np.full(len(best), top)
            x = encoder.law(points, rungs)
            inside = np.abs(law.fractions(x)) < 1
            weight = encoder.weights if encoder.per_task else np.ones(1)
            slope = law.slope(x) * inside * weight[:, None]
            by_rate = (slope * encoder.by_rate(points, rungs, law.beta)).sum(axis=0)
            by_share = np.einsum("tp,tps->ps", slope, encoder.by_share(points, law.beta))
            by_logit = self._space.share_slopes(best, by_share)
            size = 0.7 ** (step / 3)
            logits = best.logits + 0.4 * size * max(self._space.spread, 1e-9) * _unit(by_logit)
            rates = best.log_rate + 0.15 * size * (high - low) * np.sign(by_rate)
            best = self._space.clipped(Pool(best.shape, rates, logits))
        return best


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (points, groups) over their largest component; 0 stays 0."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    return vectors / np.where(largest > 0, largest, 1.0)
