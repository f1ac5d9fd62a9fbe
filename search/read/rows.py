"""Rows that readers of a study get: frozen dataclasses, filled by field name only.

Nothing here knows SQL; `search.read.results` fills these rows from the ledger's tables. A row about a trial
has both `trial` and `number`, and both `score_stderr` and `stderr`, so that a script may use either name.
`search.read.plain` converts rows for `--json` and `--csv`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from search.read.confirm_rows import ConfirmationStatus, ConfirmedRow
from space.candidate import CandidateConfig
from space.description import Description
from space.records import Split
from space.scores import HALF, TaskScore

if TYPE_CHECKING:
    from search.understand.worth import Worth


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """One line of the list of studies; `best_score` is the best of the candidates' highest rungs."""

    name: str
    suite: str
    created_at: datetime
    finished: bool
    candidates: int
    trials: int
    running: int
    failed: int
    best_score: float | None
    training_flops: float
    wall_seconds: float
    halted: str | None = None
    stopping: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTrial:
    """One candidate at one rung with one seed.

    Attributes:
        number: number of the last attempt's Optuna trial; None while it has none.
        state: running, done, failed or paused; in the list of all trials also lost, which is a running trial
            without a live worker.
        score: mean fraction of the expert; None until the trial is done.
        tokens: trunk tokens of the candidate's life at the trial's end: the rung.
        progress_tokens: tokens of the candidate's life so far.
        wall_seconds: training time, without evaluation.
        description: of the candidate, as stored when it was proposed.
        origin: how the candidate was proposed.
        worker: the last attempt's.
        error: reason of the last failed attempt; None once the trial is done.
        log: path of the log of the last attempt's worker; None if it writes to a terminal.
        final: whether it is done, or failed with no attempt left.
        confirmed: whether the score is a mean over several seeds.
        split: the episodes of the score; "report" for confirmations.
        objectives: name -> value of each objective of the study; the score is None until the trial is done.
        trial: the same as `number`.
        score_stderr: the same as `stderr`.
        attempts: number of attempts so far, the same as `attempt`.
    """

    number: int | None
    candidate: str
    rung: int
    seed: int
    attempt: int
    state: str
    score: float | None
    stderr: float | None
    flops_per_token: float
    active_params: int
    total_params: int
    tokens: int
    progress_tokens: int
    training_flops: float
    wall_seconds: float
    description: Description
    origin: str
    worker: str | None = None
    error: str | None = None
    log: str | None = None
    final: bool = False
    confirmed: bool = False
    split: Split = "select"
    objectives: dict[str, float | None] = field(default_factory=dict, hash=False)
    trial: int | None = field(init=False)
    score_stderr: float | None = field(init=False)
    attempts: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trial", self.number)
        object.__setattr__(self, "score_stderr", self.stderr)
        object.__setattr__(self, "attempts", self.attempt)
        known = self.objectives or {"flops_per_token": self.flops_per_token}
        object.__setattr__(self, "objectives", {"score": None} | known | {"score": self.score})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow(ListedTrial):
    """A trial that has a number."""

    number: int
    trial: int = field(init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRow:
    """A candidate on the front.

    Attributes:
        trial: number of its Optuna trial, that of the first seed.
        confirmed: whether the score is a mean over several seeds, or over confirmations.
        tasks: task -> fraction of the expert, unclipped.
        mixture: task -> share of the input tokens.
        config: the candidate as `CandidateConfig` reads it.
        seeds: trials that the score is the mean of.
        split: the episodes of the score: "report" for a confirmed mean, which has fresh seeds.
        interval: 95% interval of a confirmed mean; None for others, and if it is unknown.
        selected_score: score on the select episodes of a confirmed candidate.
        control_of: the candidate whose uniform control it is.
        objectives: name -> value of each objective of the study.
        number: the same as `trial`.
        stderr: the same as `score_stderr`.
    """

    trial: int
    candidate: str
    score: float
    score_stderr: float
    confirmed: bool
    flops_per_token: float
    active_params: int
    total_params: int
    rung: int
    tokens: int
    tasks: dict[str, float]
    mixture: dict[str, float]
    config: dict[str, object]
    seeds: int = 1
    split: Split = "select"
    interval: tuple[float, float] | None = None
    selected_score: float | None = None
    control_of: str | None = None
    objectives: dict[str, float] = field(default_factory=dict)
    number: int = field(init=False)
    stderr: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "number", self.trial)
        object.__setattr__(self, "stderr", self.score_stderr)
        known = self.objectives or {"flops_per_token": self.flops_per_token}
        object.__setattr__(self, "objectives", {"score": self.score} | known)

    @property
    def costs(self) -> dict[str, float]:
        """Name -> value of each objective but the score."""
        return {name: value for name, value in self.objectives.items() if name != "score"}

    def above(self, threshold: float = HALF) -> int:
        """Tasks whose fraction of the expert is above a threshold."""
        return sum(fraction > threshold for fraction in self.tasks.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Training loss in nats at a number of tokens of the candidate's life; None where it was not finite."""

    tokens: int
    rung: int
    loss: float | None
    task_losses: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """A checkpoint file of a trial."""

    kind: str
    tokens: int
    uri: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedBy:
    """The rule that proposed a candidate, why ("" without a reason), and how many it proposed in all."""

    rule: str
    reason: str
    candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialDetail:
    """All details of one trial.

    Attributes:
        row: the trial as in the list of trials.
        config: architecture, mixture, learning rate and optimizer.
        training_bytes: memory for training on each device, by formula.
        devices: that the memory is counted for.
        tokens_per_second: measured while it trained; None until it is done.
        tasks: task -> score; empty until the trial is done.
        domains: domain -> mean of its tasks' clipped fractions.
        memorisable_score: mean over tasks whose whole state space is in the training data.
        generalising_score: mean over the other tasks.
        curves: training curve of the candidate's rungs up to this one.
        routing: domain -> layers x experts, share of the tokens' visits.
        epochs: task -> passes over its training data in all of the candidate's training.
        error: reason of the last failed attempt; None once the trial is done.
        log: path of the log of the last attempt's worker; None if it writes to a terminal.
        on_front: whether the trial is on the study's front.
        export_command: the command that exports this trial.
        proposed_by: the rule that proposed its candidate.
        seeds: done trials of the candidate at this rung, each with its own seed.
        mean_score: mean score over them; None if there are none.
        mean_stderr: its standard error.
        confirmed: confirmations of its candidate; None if none is wanted.
    """

    row: TrialRow
    config: CandidateConfig
    training_bytes: int
    devices: int
    tokens_per_second: float | None
    tasks: dict[str, TaskScore]
    domains: dict[str, float]
    memorisable_score: float | None
    generalising_score: float | None
    curves: list[CurvePoint]
    routing: dict[str, list[list[float]]]
    epochs: dict[str, float]
    checkpoints: list[CheckpointRow]
    device: str | None
    worker: str | None
    evaluation_seconds: float
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    on_front: bool
    export_command: str
    proposed_by: ProposedBy
    log: str | None = None
    attempts: int = 1
    seeds: int = 0
    mean_score: float | None = None
    mean_stderr: float | None = None
    confirmed: ConfirmedRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RungStatus:
    """Progress of a rung; `expected` trials reach it if the study ends by its number of candidates."""

    rung: int
    tokens: int
    done: int
    running: int
    failed: int
    expected: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A running trial; `progress_tokens` goes from `start_tokens` to `tokens`, the decay branch included.

    `trial` is the same as `number`.
    """

    number: int | None
    candidate: str
    rung: int
    seed: int
    attempt: int
    worker: str
    start_tokens: int
    progress_tokens: int
    tokens: int
    loss: float | None
    description: Description
    split: Split = "select"
    trial: int | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trial", self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker of a study.

    Attributes:
        host: None if only its trial is known, like `pid`.
        log: path of its log; None if it writes to a terminal.
        seen_seconds: since it was last seen.
        left_because: why it left while there was work; None otherwise.
    """

    worker: str
    host: str | None = None
    pid: int | None = None
    device: str | None = None
    log: str | None = None
    seen_seconds: float
    left_because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failed trials with the same error, apart from numbers in it.

    Attributes:
        reason: the error of the latest of them.
        trial: number of the latest of them; None if it never got one.
        log: path of the log of its worker; None if it wrote to a terminal.
        number: the same as `trial`.
    """

    reason: str
    count: int
    trial: int | None
    candidate: str
    log: str | None
    number: int | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "number", self.trial)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a study."""

    at: datetime
    kind: str
    text: str
    candidate: str | None
    rung: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """Status of a study.

    Attributes:
        states: state -> trials.
        fraction_done: progress towards the stop rule that will be reached first, in [0, 1].
        seconds_left: estimate at the present number of running trials; None if nothing runs or is done.
        events: the latest ones, newest first.
        halted: why the search stopped by itself; None if it did not.
        finished_because: why nothing is left to do; None unless the study is finished.
        failures: reasons why trials failed, the most frequent first.
        failed_for_good: failed trials that will not be retried.
        at_floor: candidates whose score is within one standard error of the floor; they are not promoted.
        origins: rule that proposed candidates -> how many, in the order of its first.
        reasons: rule -> why it proposed its latest candidate, for rules that give a reason.
        disk_bytes: size of the checkpoints by kind, and their total.
        workers_left: workers that left while there was work, since the latest launch.
        confirmation: where confirmations stand; None if none is wanted.
        confirming: whether workers train confirmations only.
        worth: what more training is expected to bring; None where it was not asked for, or with too few
            scores.
    """

    study: str
    suite: str
    finished: bool
    stopping: bool
    candidates: int
    states: dict[str, int]
    rungs: list[RungStatus]
    best: TrialRow | None
    training_flops: float
    wall_seconds: float
    fraction_done: float
    seconds_left: float | None
    running: list[RunningTrial]
    events: list[Event]
    halted: str | None = None
    finished_because: str | None = None
    failures: list[FailureGroup] = field(default_factory=list)
    failed_for_good: int = 0
    at_floor: int = 0
    origins: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    disk_bytes: dict[str, int] = field(default_factory=dict)
    workers: list[WorkerRow] = field(default_factory=list)
    workers_left: list[WorkerRow] = field(default_factory=list)
    confirmation: ConfirmationStatus | None = None
    confirming: bool = False
    worth: "Worth | None" = None
