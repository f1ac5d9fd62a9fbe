"""The course of a study that trains nothing: its own proposals and promotions on scores that are made up.

What a study spends follows from which candidates it tries and which it promotes, and these from the scores;
so its course is played through, several times, with the code that a worker runs. Scores rise with the
logarithm of the cost, as in studies seen, and otherwise by chance; every candidate is above its floor, and no
attempt crashes. A Gaussian process is taken to propose as TPE does, which is a hundred times as fast.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from search.choose.promote import promote
from search.choose.propose import POOL as PEEK
from search.choose.propose import STARTUP, Proposal, Proposer
from search.choose.samplers import has_model, suggestions
from search.choose.snapshot import Candidate, Snapshot, Standing
from space.candidate import CandidateConfig
from space.cost import TRAINING_FACTOR, Cost, price
from space.mixture import TaskMixture
from space.records import SuiteRecord
from space.study import StudyConfig

POOL = 400  # feasible draws of the space that the proposals of all courses come from
DRAWS = 4000  # at most, to fill the pool
LONGEST, LONGEST_MODEL = 100, 30  # candidates of a course; of a longer study its first ones are played
COURSES, COURSES_MODEL = 6, 3
MODELS = ("tpe", "nsga2")
QUICKER = {"gp": "tpe"}
COST_WEIGHT = 0.5  # correlation of the score with the logarithm of the cost
SCORED = {"text": 1.0, "image": 0.4, "audio": 0.2, "discrete": 0.15, "continuous": 0.2}
# share of a sense's tokens that the loss looks at, measured on the tasks of `quick`


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
    """

    candidate: int
    proposal: Proposal
    rung: int
    tokens: int
    training_flops: float
    planned_flops: float
    score: float


@dataclass(frozen=True, slots=True)
class Course:
    """How one study could go.

    Attributes:
        trials: in the order of their beginnings.
        ended: whether its stop rule was reached; otherwise it goes on alike.
    """

    trials: tuple[Trial, ...]
    ended: bool

    @property
    def candidates(self) -> int:
        """Candidates that it tried."""
        return sum(trial.rung == 0 for trial in self.trials)


def executed_flops_per_token(cost: Cost, optimizer: str, suite: SuiteRecord) -> float:
    """Training FLOPs that a token is expected to take: the head runs where the loss looks, and no further."""
    planned = cost.planned_flops_per_token(optimizer, suite.batch_tokens)
    scored = float(np.mean([SCORED[suite.records[task].modality] for task in suite.tasks]))
    return planned - TRAINING_FACTOR * (1 - scored) * cost.head_flops_per_token


def draw_pool(config: StudyConfig, suite: SuiteRecord, rng: np.random.Generator) -> list[Proposal]:
    """Feasible draws of a space: what chance proposes, repetitions included."""
    pool: list[Proposal] = []
    for _ in range(DRAWS):
        params = config.space.sample(suite, rng)
        candidate = config.space.candidate(params, suite)
        if candidate is None:
            continue
        cost = price(candidate.architecture, suite)
        if config.limits.broken(cost) is None:
            pool.append(Proposal(candidate, params, cost, "random"))
            if len(pool) == POOL:
                break
    return pool or _cheapest(config, suite)


def _cheapest(config: StudyConfig, suite: SuiteRecord) -> list[Proposal]:
    """Candidates of the cheapest architectures within the limits, where chance finds none."""
    mixture = TaskMixture.uniform(suite.tasks)
    priced = config.space.feasible(suite, config.limits)[:POOL]
    return [
        Proposal(CandidateConfig(architecture=arch, mixture=mixture, learning_rate=1e-3), {}, cost, "random")
        for arch, cost in priced
    ]


def courses(
    config: StudyConfig, suite: SuiteRecord, workers: int, seconds: Callable[[float], float]
) -> list[Course]:
    """Play a study through several times.

    Args:
        config: the study.
        suite: its tasks.
        workers: trials side by side.
        seconds: planned training FLOPs of a trial -> how long it takes, its scoring included.
    """
    pool = draw_pool(config, suite, np.random.default_rng(config.search.seed))
    proposer = _FromPool(config, suite, pool)
    return [
        _play(proposer, np.random.default_rng(n), workers, seconds)
        for n in range(COURSES_MODEL if proposer.models else COURSES)
    ]


class _FromPool(Proposer):
    """Proposes as the study does, from draws that were made before."""

    def __init__(self, config: StudyConfig, suite: SuiteRecord, pool: Sequence[Proposal]) -> None:
        sampler = QUICKER.get(config.search.sampler, config.search.sampler)
        search = config.search.model_copy(update={"sampler": sampler})
        super().__init__(config.model_copy(update={"search": search}), suite)
        self.models = sampler in MODELS
        self.pool = pool
        self._cells: dict[tuple[bool, float], tuple[bool, int]] = {}

    def draw(self, view: Snapshot, rng: np.random.Generator) -> Proposal | None:
        """The next candidate."""
        drawn = (self.pool[i] for i in rng.integers(len(self.pool), size=PEEK))
        if self.config.search.sampler == "random":
            return next(drawn)
        if self.models and len(view.candidates) >= STARTUP and has_model(self.config.search.sampler, view):
            asked = suggestions(self.config, self.suite, view)
            return next(self._feasible(asked, view, self.config.search.sampler), None) or next(drawn)
        return self._from_emptiest_cell(drawn, view, rng, control=False)

    def _cell(self, sparse: bool, flops_per_token: float) -> tuple[bool, int]:
        key = sparse, flops_per_token
        if key not in self._cells:
            self._cells[key] = super()._cell(*key)
        return self._cells[key]


def _play(
    proposer: _FromPool, rng: np.random.Generator, workers: int, seconds: Callable[[float], float]
) -> Course:
    config, scores = proposer.config, _Scores(proposer.pool, rng)
    candidates: list[Candidate] = []
    proposals: list[Proposal] = []
    trials: list[Trial] = []
    standings: list[Standing] = []
    busy = 0.0
    while True:
        view = Snapshot(tuple(candidates), tuple(standings), launched_seconds=busy / workers)
        if not view.may_start(config.stop):
            return Course(tuple(trials), ended=True)
        choice = promote(view, config.rungs, config.search.seed, patient=True)
        if choice is None and view.may_propose(config.stop):
            if len(candidates) == (LONGEST_MODEL if proposer.models else LONGEST):
                return Course(tuple(trials), ended=False)
            proposal = proposer.draw(view, rng)
            assert proposal is not None
            number, flops = len(candidates), proposal.cost.flops_per_token
            sparse = proposal.candidate.architecture.sparse
            candidates.append(Candidate(str(number), number, proposal.params, flops, sparse))
            proposals.append(proposal)
            choice = str(number), 0
        choice = choice or promote(view, config.rungs, config.search.seed, patient=False)
        if choice is None:
            return Course(tuple(trials), ended=True)
        trial = _trial(proposer, proposals[int(choice[0])], *choice, scores)
        trials.append(trial)
        standings.append(_standing(trial))
        busy += seconds(trial.planned_flops)


def _trial(proposer: Proposer, proposal: Proposal, candidate: str, rung: int, scores: "_Scores") -> Trial:
    """A climb of a candidate to a rung."""
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
        score=scores.score(int(candidate), proposal.cost.flops_per_token, rung),
    )


def _standing(trial: Trial) -> Standing:
    """How a trial stands once it is done."""
    return Standing(
        candidate=str(trial.candidate),
        rung=trial.rung,
        state="done",
        final=True,
        score=trial.score,
        stderr=0.01,
        flops_per_token=trial.proposal.cost.flops_per_token,
        training_flops=trial.training_flops,
    )


class _Scores:
    """Scores that rise with the logarithm of the cost and from rung to rung, and otherwise by chance."""

    def __init__(self, pool: Sequence[Proposal], rng: np.random.Generator) -> None:
        logs = np.log([proposal.cost.flops_per_token for proposal in pool])
        self._mean, self._spread = logs.mean(), max(float(logs.std()), 1e-9)
        self._rng = rng
        self._own: dict[int, float] = {}

    def score(self, candidate: int, flops_per_token: float, rung: int) -> float:
        """What a candidate of a cost scores at a rung."""
        own = self._own.setdefault(candidate, float(self._rng.standard_normal()))
        cost = (np.log(flops_per_token) - self._mean) / self._spread
        z = COST_WEIGHT * cost + (1 - COST_WEIGHT**2) ** 0.5 * own
        return float(0.5 + 0.1 * np.tanh(z) + 0.05 * np.tanh(rung))
