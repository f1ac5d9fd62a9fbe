"""Simulate a study without training: its own proposals and promotions, on scores that are made up.

What a study spends depends on which candidates it tries and promotes, and these depend on the scores. So it
is simulated several times with the code that a worker runs. Scores rise with the logarithm of the cost, as in
studies seen; the knobs, which models can learn, and chance do the rest. Every candidate is above its floor,
and no attempt crashes. A sampler that is not in `PLAYED` is simulated by TPE: a Gaussian process is a hundred
times as slow, and how long a user's sampler takes is not known. Where quotas alone say how many candidates
are promoted by expected gain, they are promoted by rank here: the number is the same. Promotion ahead of the
quotas is played as it is, since the number depends on what the models expect.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search.choose.next_trial import make_promotions, next_trial
from search.choose.promote import GAIN, Promotion, most_believed, repeat
from search.choose.propose import Proposal
from search.choose.provenance import BELIEVED, CONTROL, provenance
from search.choose.sampler import Feasible, Problem
from search.choose.samplers import make_sampler
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from search.choose.stratified import POOL as PEEK
from search.choose.stratified import Stratified
from space.candidate import CandidateConfig
from space.cost import TRAINING_FACTOR, Cost
from space.mixture import TaskMixture
from space.records import SuiteRecord
from space.study import Search, Stop, StudyConfig

POOL = 400  # feasible draws of the space that the proposals of all courses come from
DRAWS = 4000  # at most, to fill the pool
LONGEST, LONGEST_MODEL = 100, 30  # candidates of a course; of a longer study its first ones are played
COURSES, COURSES_MODEL = 6, 5
PLAYED = ("pathfront", "stratified", "random", "tpe", "nsga2")
COST_WEIGHT = 0.5  # correlation of the score with the logarithm of the cost
KNOBS_WEIGHT = 0.8  # of what the cost leaves, with the knobs; the rest is chance
SCORED = {"text": 1.0, "image": 0.4, "audio": 0.2, "discrete": 0.15, "continuous": 0.2}
# share of a modality's tokens that the loss scores, measured on the tasks of `quick`


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of a course.

    Attributes:
        candidate: ordinal of its candidate.
        proposal: what its candidate is.
        rung: that it ends at.
        tokens: that it trains on.
        training_flops: that it is expected to execute.
        planned_flops: with the head at every position.
        score: made up.
        costs: those that are objectives of the study.
        repeats: whether it repeats another trial with another seed.
    """

    candidate: int
    proposal: Proposal
    rung: int
    tokens: int
    training_flops: float
    planned_flops: float
    score: float
    costs: tuple[float, ...]
    repeats: bool = False

    @property
    def believed(self) -> bool:
        """Whether its candidate is as if a belief had chosen it."""
        return provenance(self.proposal.origin).rule == BELIEVED


@dataclass(frozen=True, slots=True)
class Course:
    """How one study could go.

    Attributes:
        trials: in the order of their beginnings.
        ended: whether its stop rule was reached; otherwise only the study's beginning was simulated.
    """

    trials: tuple[Trial, ...]
    ended: bool

    @property
    def candidates(self) -> int:
        """Candidates that it tried."""
        return sum(trial.rung == 0 and not trial.repeats for trial in self.trials)


def executed_flops_per_token(cost: Cost, optimizer: str, suite: SuiteRecord) -> float:
    """Expected training FLOPs per token: the head runs only at positions that the loss scores."""
    planned = cost.planned_flops_per_token(optimizer, suite.batch_tokens)
    scored = float(np.mean([SCORED[suite.records[task].modality] for task in suite.tasks]))
    return planned - TRAINING_FACTOR * (1 - scored) * cost.head_flops_per_token


def draw_pool(config: StudyConfig, suite: SuiteRecord, rng: np.random.Generator) -> list[Feasible]:
    """Draw feasible candidates of a space at random, with repetitions."""
    pool: list[Feasible] = []
    problem = Problem.of(config, suite)
    for _ in range(DRAWS):
        found = problem.feasible(problem.sample(rng))
        if found is not None:
            pool.append(found)
            if len(pool) == POOL:
                break
    return pool or _cheapest(config, suite)


def _cheapest(config: StudyConfig, suite: SuiteRecord) -> list[Feasible]:
    """Candidates of the cheapest architectures within the limits, for spaces where random draws find none."""
    mixture = TaskMixture.uniform(suite.tasks)
    priced = config.space.feasible(suite, config.limits)[:POOL]
    return [
        Feasible(CandidateConfig(architecture=arch, mixture=mixture, learning_rate=1e-3), {}, cost)
        for arch, cost in priced
    ]


def courses(
    config: StudyConfig,
    suite: SuiteRecord,
    workers: int,
    seconds: Callable[[float], float],
    candidates: int | None,
) -> list[Course]:
    """Simulate a study several times.

    Args:
        config: the study.
        suite: its tasks.
        workers: trials side by side.
        seconds: planned training FLOPs of a trial -> how long it takes, its scoring included.
        candidates: how many the study can try; None for no limit.
    """
    pool = draw_pool(config, suite, np.random.default_rng(config.search.seed))
    proposer = _FromPool(config, suite, pool)
    stop = config.stop.model_copy(update={"candidates": candidates})
    return [
        _play(proposer, stop, np.random.default_rng(n), workers, seconds)
        for n in range(COURSES_MODEL if proposer.models else COURSES)
    ]


class _FromPool:
    """Proposes as the study does, from draws that were made before."""

    def __init__(self, config: StudyConfig, suite: SuiteRecord, pool: Sequence[Feasible]) -> None:
        self.config = config
        self.suite = suite
        self.pool = pool
        name, seed = config.search.sampler, config.search.seed
        search = config.search if name in PLAYED else Search(sampler="tpe", seed=seed)
        self.name = search.sampler
        self.models = self.name not in ("stratified", "random")
        self._problem = Problem.of(config, suite)
        self._sampler = make_sampler(search, self._problem)
        own, self._believed = self._sampler, most_believed(config)
        self._cheap = sorted(pool, key=lambda found: found.cost.flops_per_token)[: math.ceil(len(pool) / 2)]
        self._stratified = own if isinstance(own, Stratified) else Stratified(self._problem)
        self.promotions = make_promotions(config, self._problem)
        if config.search.promotion == GAIN:
            ranked = config.model_copy(
                update={"search": config.search.model_copy(update={"promotion": "rank"})}
            )
            self.promotions = replace(self.promotions, quotas=make_promotions(ranked, self._problem).quotas)

    def draw(self, view: Snapshot, rng: np.random.Generator) -> Proposal | None:
        """The next candidate; the first ones as if a belief had chosen them, in a study that has one."""
        if not view.own and len(view.believed) < self._believed:
            return Proposal.of(self._cheap[int(rng.integers(len(self._cheap)))], BELIEVED)
        found = self._drawn(view, rng)
        if found is None:
            return None
        origin = CONTROL if self._problem.next_control(view) else f"{self.name} {found.note}".strip()
        return Proposal.of(found, origin)

    def _drawn(self, view: Snapshot, rng: np.random.Generator) -> Feasible | None:
        """A candidate, as the sampler suggests it."""
        drawn = (self.pool[i] for i in rng.integers(len(self.pool), size=PEEK))
        if self.name == "random":
            return next(drawn)
        suggested = self._sampler.suggest(view) if self.models else None
        if suggested is not None:
            return next(self._problem.usable(suggested, view), None) or next(drawn)
        return self._stratified.choose(list(drawn), view, rng)


def _play(
    proposer: _FromPool,
    stop: Stop,
    rng: np.random.Generator,
    workers: int,
    seconds: Callable[[float], float],
) -> Course:
    config, scores = proposer.config, _Scores(proposer.pool, rng)
    longest = LONGEST_MODEL if proposer.models else LONGEST
    candidates: list[Candidate] = []
    proposals: list[Proposal] = []
    trials: list[Trial] = []
    standings: list[SnapshotTrial] = []
    repeats: list[SnapshotTrial] = []
    busy = 0.0
    cut = False  # whether the course has all candidates that are simulated

    def draw(view: Snapshot) -> Proposal | None:
        nonlocal cut
        cut = len(candidates) == longest
        return None if cut else proposer.draw(view, rng)

    while True:
        view = Snapshot(tuple(candidates), tuple(standings), busy / workers, workers)
        again = replace(view, trials=tuple(repeats))
        if not view.joined(again).may_start(stop):
            return Course(tuple(trials), ended=True)
        repeated = repeat(view, again, config.search.repeats)
        if repeated is not None:
            first = next(t for t in trials if (str(t.candidate), t.rung) == repeated)
            trials.append(replace(first, repeats=True))
            repeats.append(_standing(first))
            busy += seconds(first.planned_flops)
            continue
        choice = next_trial(view, stop, draw, proposer.promotions)
        if choice is None or cut:
            return Course(tuple(trials), ended=not cut)
        if isinstance(choice, Proposal):
            number, flops = len(candidates), choice.cost.flops_per_token
            sparse = choice.candidate.architecture.sparse
            candidates.append(Candidate(str(number), number, choice.params, flops, sparse, choice.origin))
            proposals.append(choice)
            choice = Promotion(str(number), 0)
        trial = _trial(proposer, proposals[int(choice.candidate)], *choice, scores)
        trials.append(trial)
        standings.append(_standing(trial))
        busy += seconds(trial.planned_flops)


def _trial(proposer: _FromPool, proposal: Proposal, candidate: str, rung: int, scores: "_Scores") -> Trial:
    """The trial of a candidate at a rung."""
    suite, optimizer = proposer.suite, proposal.candidate.optimizer
    tokens = proposer.config.rungs.trial_tokens(rung)
    planned = proposal.cost.planned_flops_per_token(optimizer, suite.batch_tokens)
    executed = executed_flops_per_token(proposal.cost, optimizer, suite)
    return Trial(
        candidate=int(candidate),
        proposal=proposal,
        rung=rung,
        tokens=tokens,
        training_flops=executed * tokens,
        planned_flops=planned * tokens,
        score=scores.score(int(candidate), proposal, rung),
        costs=proposer.config.costs(proposal.cost, optimizer, suite),
    )


def _standing(trial: Trial) -> SnapshotTrial:
    """The state of a trial after it is done."""
    return SnapshotTrial(
        candidate=str(trial.candidate),
        rung=trial.rung,
        state="done",
        final=True,
        score=trial.score,
        stderr=0.01,
        flops_per_token=trial.proposal.cost.flops_per_token,
        training_flops=trial.training_flops,
        costs=trial.costs,
    )


class _Scores:
    """Scores that rise with the logarithm of the cost and from rung to rung, by the knobs and by chance."""

    def __init__(self, pool: Sequence[Feasible], rng: np.random.Generator) -> None:
        self._names = [name for name, value in pool[0].params.items() if isinstance(value, int | float)]
        self._least = [float(min(found.params[name] for found in pool)) for name in self._names]
        known = np.array([self._numbers(found) for found in pool])
        self._mean, self._spread = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-9)
        self._slopes = rng.standard_normal(len(self._names))
        self._slopes /= max(1e-9, float(np.linalg.norm(self._slopes)))
        self._rng = rng
        self._chance: dict[int, float] = {}

    def _numbers(self, found: Feasible | Proposal) -> list[float]:
        """The logarithm of the cost, and the knobs that are numbers: their logarithms, if all are above 0."""
        knobs = zip((float(found.params[name]) for name in self._names), self._least, strict=True)
        numbers = [math.log(max(x, least)) if least > 0 else x for x, least in knobs]
        return [math.log(found.cost.flops_per_token), *numbers]

    def score(self, candidate: int, proposal: Proposal, rung: int) -> float:
        """The score of a candidate at a rung."""
        chance = self._chance.setdefault(candidate, float(self._rng.standard_normal()))
        cost, *knobs = (np.array(self._numbers(proposal)) - self._mean) / self._spread
        own = KNOBS_WEIGHT * float(self._slopes @ knobs) + (1 - KNOBS_WEIGHT**2) ** 0.5 * chance
        z = COST_WEIGHT * cost + (1 - COST_WEIGHT**2) ** 0.5 * own
        return float(0.5 + 0.1 * np.tanh(z) + 0.05 * np.tanh(rung))
