"""What a reader of a study gets: frozen rows that turn into JSON as they stand.

Nothing here knows SQL; `search.results` fills these from the ledger's tables.
"""

from dataclasses import dataclass
from datetime import datetime

from space.candidate import CandidateConfig
from space.scores import TaskScore


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One candidate at one rung with one seed.

    Attributes:
        number: number of the Optuna trial.
        state: running, done, failed or paused.
        score: mean fraction of the expert; None until the trial is done.
        tokens: trunk tokens of the candidate's life at the trial's end: the rung.
        progress_tokens: tokens of the candidate's life so far.
        wall_seconds: training alone.
        sparse: whether any layer routes tokens to experts.
        origin: how the candidate was proposed.
        confirmed: whether the score is a mean over several seeds.
    """

    number: int
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
    sparse: bool
    experts: int
    top_k: int
    depth: int
    width: int
    origin: str
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class FrontRow:
    """A candidate on the front.

    Attributes:
        trial: number of the Optuna trial that stands for it.
        confirmed: whether the score is a mean over several seeds.
        tasks: task -> fraction of the expert, unclipped.
        mixture: task -> share of the input tokens.
        config: the candidate as `CandidateConfig` reads it.
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

    def above(self, threshold: float) -> int:
        """Tasks whose fraction of the expert is above a threshold."""
        return sum(fraction > threshold for fraction in self.tasks.values())


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Training loss in nats at a number of tokens of the candidate's life; None where it was not finite."""

    tokens: int
    rung: int
    loss: float | None
    task_losses: dict[str, float]


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A file that a trial left behind."""

    kind: str
    tokens: int
    uri: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TrialDetail:
    """All that is known of one trial.

    Attributes:
        row: the trial as in a list of trials.
        config: architecture, mixture and learning rate.
        training_bytes: memory to train it, counted.
        tokens_per_second: measured while it trained; None until it is done.
        tasks: task -> score; empty until the trial is done.
        domains: domain -> mean of its tasks' clipped fractions.
        memorisable_score: mean over tasks whose whole state space is in the training data.
        generalising_score: mean over the other tasks.
        curves: training curve of the candidate's rungs up to this one.
        routing: domain -> layers x experts, share of the tokens' visits.
        epochs: task -> how often its training data was seen over the candidate's life.
        error: why the last attempt failed.
        on_front: whether the trial stands on the study's front.
        export_command: the command that exports exactly this trial.
    """

    row: TrialRow
    config: CandidateConfig
    training_bytes: int
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


@dataclass(frozen=True, slots=True)
class RungStatus:
    """How far a rung is: `expected` trials stand there when the study ends by its number of candidates."""

    rung: int
    tokens: int
    done: int
    running: int
    failed: int
    expected: int | None


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial under way: `progress_tokens` runs from `start_tokens` to `tokens`, the decay included."""

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
    experts: int
    top_k: int
    depth: int
    width: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a study."""

    at: datetime
    kind: str
    text: str
    candidate: str | None
    rung: int | None


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """Where a study stands.

    Attributes:
        states: state -> trials.
        fraction_done: share of the way to the stop rule that is reached first, in [0, 1].
        seconds_left: estimate at the present number of running trials; None when nothing runs or is known.
        events: the last ones, newest first.
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
