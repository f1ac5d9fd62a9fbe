"""Play a study under a simulated clock: the code that chooses trials is real, training is a surface.

Several workers train side by side. A trial takes as long as its training FLOPs, so the unit of time is one
FLOP of one worker. Running trials are in the snapshots that samplers see, as in a real study. A run depends
only on the study, the surface and the number of workers.
"""

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from search.choose.next_trial import Promotions, next_trial
from search.choose.promote import Promotion
from search.choose.propose import Proposal, Proposer
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial, TaskFraction
from search.planning.simulate import executed_flops_per_token
from space.candidate import CandidateConfig
from space.cost import Cost
from space.errors import StudyFileError
from space.records import SuiteRecord
from space.scores import score_weights
from space.study import StudyConfig

Propose = Callable[[Snapshot], Proposal | None]


@dataclass(frozen=True, slots=True)
class Result:
    """How a trial ends.

    Attributes:
        tasks: task -> its fraction of the expert, unclipped; empty if training diverged.
        score: mean over domains of the mean over tasks of the clipped fraction; None if training diverged.
        stderr: standard error of `score`; None if training diverged.
    """

    tasks: Mapping[str, TaskFraction] = field(default_factory=dict)
    score: float | None = None
    stderr: float | None = None

    @property
    def diverged(self) -> bool:
        """Whether training diverged."""
        return self.score is None

    @classmethod
    def of(cls, suite: SuiteRecord, tasks: Mapping[str, TaskFraction]) -> "Result":
        """Aggregate the tasks' fractions, as `space.scores.Scorecard` does."""
        weights = score_weights(suite)
        score = sum(weights[name] * float(np.clip(tasks[name].value, -1, 1)) for name in suite.tasks)
        variance = sum((weights[name] * tasks[name].stderr) ** 2 for name in suite.tasks)
        return cls(tasks, score, variance**0.5)


class Surface(Protocol):
    """Stands in for training: what a trial would score. Deterministic."""

    def trial(self, candidate: CandidateConfig, cost: Cost, rung: int, seed: int) -> Result:
        """The result of training a candidate to a rung.

        Args:
            candidate: what is trained.
            cost: its exact cost.
            rung: index of the rung at which it is scored.
            seed: of training.
        """
        ...


class KnownSurface(Surface, Protocol):
    """A surface whose scores are also known without noise."""

    def truth(self, candidate: CandidateConfig, cost: Cost, rung: int = -1) -> float | None:
        """The score at a rung, by default the highest, without noise; None if training diverges there."""
        ...


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """A trial of a run that has ended.

    Attributes:
        proposal: its candidate, with parameters, cost and origin.
        rung: that it ended at.
        result: its scores, or that training diverged.
        training_flops: that it executed.
        started: time at which it started, in FLOPs of one worker.
        ended: time at which it ended.
        spent: training FLOPs of all workers until then, including the parts of running trials.
        launched: training FLOPs of all trials started until then, whole.
    """

    proposal: Proposal
    rung: int
    result: Result
    training_flops: float
    started: float
    ended: float
    spent: float
    launched: float

    @property
    def candidate(self) -> str:
        """Id of its candidate."""
        return self.proposal.candidate.id


@dataclass(frozen=True, slots=True)
class ClockRun:
    """How a study went.

    Attributes:
        trials: in the order of their ends.
        proposal_seconds: CPU seconds of each call of the sampler.
        snapshot: the study at its end.
    """

    trials: tuple[FinishedTrial, ...]
    proposal_seconds: tuple[float, ...]
    snapshot: Snapshot

    @property
    def training_flops(self) -> float:
        """Training FLOPs of all trials."""
        return sum(trial.training_flops for trial in self.trials)


def play(
    config: StudyConfig,
    suite: SuiteRecord,
    surface: Surface,
    workers: int,
    propose: Propose | None = None,
    promotions: Promotions | None = None,
) -> ClockRun:
    """Play a study until its stop rule is reached and all trials have ended.

    A free worker decides by `search.choose.next_trial`, as a real one does. One that finds nothing to do
    waits until the next trial ends.

    Args:
        config: the study; its stop rule counts candidates or training FLOPs.
        suite: its tasks.
        surface: gives the scores.
        workers: trials side by side.
        propose: makes new candidates; None uses the study's sampler.
        promotions: rules of promotion; None uses the study's.

    Raises:
        StudyFileError: the study has a limit on time or repeats trials, which the clock does not simulate,
            or its sampler fails.
    """
    if config.stop.wall_minutes is not None:
        raise StudyFileError(
            "stop.wall_minutes: a simulated study ends by candidates or training_flops,"
            f" got {config.stop.wall_minutes}"
        )
    if config.search.repeats:
        raise StudyFileError(f"search.repeats: a simulated study repeats none, got {config.search.repeats}")
    clock = _Clock(config, suite, surface, workers)
    proposer = Proposer(config, suite)
    propose = propose or proposer.propose
    promotions = promotions or proposer.promotions
    while True:
        while len(clock.running) < workers:
            choice = next_trial(clock.view(), config.stop, clock.timed(propose), promotions)
            if choice is None:
                break
            clock.start(choice)
        if not clock.running:
            return ClockRun(tuple(clock.finished), tuple(clock.proposal_seconds), clock.view())
        clock.finish_next()


@dataclass(frozen=True, slots=True)
class _Running:
    """A trial that is under way, at an index of the clock's trials."""

    proposal: Proposal
    rung: int
    flops: float
    started: float
    ended: float
    index: int


class _Clock:
    """The state of a simulated study."""

    def __init__(self, config: StudyConfig, suite: SuiteRecord, surface: Surface, workers: int) -> None:
        self.config, self.suite, self.surface, self.workers = config, suite, surface, workers
        self.now = 0.0
        self.running: list[tuple[float, int, _Running]] = []  # a heap by end, then by start
        self.finished: list[FinishedTrial] = []
        self.proposal_seconds: list[float] = []
        self._proposals: dict[str, Proposal] = {}
        self._candidates: list[Candidate] = []
        self._trials: list[SnapshotTrial] = []
        self._begun: dict[tuple[str, int], int] = {}  # (candidate, rung) -> index of its trial
        self._launched = 0.0

    def view(self) -> Snapshot:
        """The study as a sampler sees it now."""
        return Snapshot(tuple(self._candidates), tuple(self._trials), 0.0, self.workers)

    def timed(self, propose: Propose) -> Propose:
        """A function that proposes and notes its CPU seconds."""

        def proposed(view: Snapshot) -> Proposal | None:
            begun = time.process_time()
            proposal = propose(view)
            self.proposal_seconds.append(time.process_time() - begun)
            return proposal

        return proposed

    def start(self, choice: Promotion | Proposal) -> None:
        """Start the trial that a worker chose.

        Raises:
            ValueError: a proposal is not new, or a promotion is not of a trial that is done.
        """
        if isinstance(choice, Proposal):
            self._add(choice)
            choice = Promotion(choice.candidate.id, 0)
        else:
            below = self._begun.get((choice.candidate, choice.rung - 1))
            if below is None or self._trials[below].state != "done":
                raise ValueError(f"a promotion follows a trial that is done at the rung below, got {choice}")
        if choice in self._begun:
            raise ValueError(f"a candidate is trained once to each rung, got {choice} again")
        proposal = self._proposals[choice.candidate]
        optimizer, tokens = proposal.candidate.optimizer, self.config.rungs.trial_tokens(choice.rung)
        flops = executed_flops_per_token(proposal.cost, optimizer, self.suite) * tokens
        planned = proposal.cost.planned_flops_per_token(optimizer, self.suite.batch_tokens) * tokens
        index = self._begun[choice.candidate, choice.rung] = len(self._trials)
        trial = _Running(proposal, choice.rung, flops, self.now, self.now + flops, index)
        heapq.heappush(self.running, (trial.ended, index, trial))
        self._launched += flops
        self._trials.append(
            SnapshotTrial(
                candidate=choice.candidate,
                rung=choice.rung,
                state="running",
                final=False,
                score=None,
                stderr=None,
                flops_per_token=proposal.cost.flops_per_token,
                training_flops=planned,
                costs=self.config.costs(proposal.cost, optimizer, self.suite),
            )
        )

    def _add(self, proposal: Proposal) -> None:
        name, flops = proposal.candidate.id, proposal.cost.flops_per_token
        if name in self._proposals:
            raise ValueError(f"a proposal is a candidate that the study has not seen, got {name} again")
        sparse = proposal.candidate.architecture.sparse
        self._candidates.append(
            Candidate(name, len(self._candidates), proposal.params, flops, sparse, proposal.origin)
        )
        self._proposals[name] = proposal

    def finish_next(self) -> None:
        """Advance to the end of the trial that ends first, and note its result."""
        self.now, index, trial = heapq.heappop(self.running)
        proposal, flops = trial.proposal, trial.flops
        seed = self.config.search.seed
        result = self.surface.trial(proposal.candidate, proposal.cost, trial.rung, seed)
        rest = sum(ended - self.now for ended, _, _ in self.running)
        self.finished.append(
            FinishedTrial(
                proposal=proposal,
                rung=trial.rung,
                result=result,
                training_flops=flops,
                started=trial.started,
                ended=trial.ended,
                spent=self._launched - rest,
                launched=self._launched,
            )
        )
        known = self._trials[index]
        self._trials[index] = replace(
            known,
            state="failed" if result.diverged else "done",
            final=True,
            score=result.score,
            stderr=result.stderr,
            training_flops=known.training_flops if result.diverged else flops,  # as in the ledger
            diverged=result.diverged,
            tasks=result.tasks,
        )
