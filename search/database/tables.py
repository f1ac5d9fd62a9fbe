"""Definitions of our tables, which are in the same database as Optuna's.

The key of a trial is (study, candidate, rung, seed). Times are seconds since 1970 by the database's clock.
Optuna's tables are not defined here; `pf_trials.number` is the number of the last attempt's Optuna trial.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

TABLES_VERSION = 5
STATES = ("running", "done", "failed", "paused")

metadata = MetaData()

_TRIAL = ("study", "candidate", "rung", "seed")


class clock(FunctionElement):  # noqa: N801 - named like the SQL function that it is
    """Seconds since 1970 by the database's clock, which all workers share."""

    type = Double()
    inherit_cache = True


@compiles(clock, "sqlite")
def _sqlite_clock(element: clock, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(clock, "postgresql")
def _postgresql_clock(element: clock, compiler: Any, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


def _trial_key() -> list[Column[Any]]:
    return [
        Column("study", String(100), primary_key=True),
        Column("candidate", String(12), primary_key=True),
        Column("rung", Integer, primary_key=True, autoincrement=False),
        Column("seed", Integer, primary_key=True, autoincrement=False),
    ]


def _of_trial() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(_TRIAL, [f"pf_trials.{name}" for name in _TRIAL])


schema = Table(
    "pf_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

studies = Table(
    "pf_studies",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("config", JSON, nullable=False),  # space.study.StudyConfig, its schema_version inside
    Column("suite", JSON, nullable=False),  # space.records.SuiteRecord with its records
    Column("created_at", Double, nullable=False),
    Column("launched_at", Double, nullable=False),  # the latest launch
    Column("finished_at", Double),
    Column("stop_requested", Boolean, nullable=False, default=False),
    Column(
        "artifacts_id", String(32), nullable=False, server_default=""
    ),  # part of its folder's name; "" before version 2
    Column("environment", JSON),  # versions, data and code of its trials
    Column("halted", Text),  # why the search stopped by itself, in one line; null otherwise
    Column(
        "ran_seconds", Double, nullable=False, server_default="0"
    ),  # time with a live worker since the latest launch
    Column("confirming", Boolean),  # whether workers train confirmations only; null is false
)

tokenizers = Table(
    "pf_tokenizers",  # of studies that have one of their own
    metadata,
    Column("study", String(100), ForeignKey("pf_studies.name"), primary_key=True),
    Column("sha256", String(64), nullable=False),  # of the model
    Column("model", LargeBinary, nullable=False),  # SentencePiece
)

workers = Table(
    "pf_workers",
    metadata,
    Column("study", String(100), ForeignKey("pf_studies.name"), primary_key=True),
    Column("worker", String(200), primary_key=True),
    Column("host", String(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String(100)),
    Column("log", Text),  # path of its log; null if it writes to a terminal
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("left_at", Double),
    Column("left_because", Text),  # why it left while there was work; null otherwise
)

candidates = Table(
    "pf_candidates",
    metadata,
    Column("study", String(100), primary_key=True),
    Column("candidate", String(12), primary_key=True),
    Column("ordinal", Integer, nullable=False),  # from 0, unique; negative for controls of confirmations
    Column("config", JSON, nullable=False),  # space.candidate.CandidateConfig
    Column("params", JSON, nullable=False),  # Optuna's parameters
    Column("distributions", JSON, nullable=False),  # parameter -> Optuna's distribution_to_json
    Column("description", JSON, nullable=False),  # space.description.Description
    Column("flops_per_token", Double, nullable=False),
    Column("active_params", BigInteger, nullable=False),
    Column("total_params", BigInteger, nullable=False),
    Column("training_bytes", BigInteger, nullable=False),
    Column("origin", String(200), nullable=False),  # control, stratified, random, or a sampler's name
    Column("created_at", Double, nullable=False),
    UniqueConstraint("study", "ordinal"),
)

trials = Table(
    "pf_trials",
    metadata,
    *_trial_key(),
    Column("attempt", Integer, nullable=False),  # from 1
    Column("crashes", Integer, nullable=False, default=0),  # attempts that raised or lost their worker
    Column("worker", String(200), nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("state", String(10), nullable=False),  # one of STATES
    Column("final", Boolean, nullable=False, default=False),  # done, or failed with no retry left
    Column("diverged", Boolean, nullable=False, default=False),
    Column("number", Integer),  # Optuna's, of the last attempt; null until it is known
    Column("told", Boolean, nullable=False, default=False),  # Optuna knows how the last attempt ended
    Column("score", Double),
    Column("stderr", Double),
    Column("flops_per_token", Double, nullable=False),
    Column("tokens", BigInteger, nullable=False),  # trunk tokens at the trial's end: the rung
    Column("progress_tokens", BigInteger, nullable=False, default=0),  # of the candidate's life, so far
    Column("planned_flops", Double, nullable=False),  # training FLOPs, estimated when it was claimed
    Column("training_flops", Double),
    Column("wall_seconds", Double),
    Column("evaluation_seconds", Double),
    Column("device", String(100)),
    Column("epochs", JSON),  # task -> passes over its data
    Column("domains", JSON),  # domain -> mean clipped fraction
    Column("memorisable_score", Double),
    Column("generalising_score", Double),
    Column("error", Text),  # one line
    Column("log", Text),  # path of the log of the last attempt's worker; null for a terminal
    Column("durable_tokens", BigInteger),  # newest checkpoint at the last counted crash
    Column("environment", JSON),  # of the last attempt, if it differs from the study's
    Column(
        "split", String(10), nullable=False, server_default="select"
    ),  # episodes of its score; "report" for confirmations
    Column("started_at", Double, nullable=False),  # the last attempt's
    Column("finished_at", Double),
    ForeignKeyConstraint(("study", "candidate"), ["pf_candidates.study", "pf_candidates.candidate"]),
    Index("pf_trials_by_state", "study", "state"),
)

confirmations = Table(
    "pf_confirmations",
    metadata,
    *_trial_key(),
    Column("place", Integer, nullable=False),  # order of training at each seed, from 0
    Column("control_of", String(12)),  # the candidate that it is the uniform control of; null for others
    Column("chosen_at", Double, nullable=False),
    ForeignKeyConstraint(("study", "candidate"), ["pf_candidates.study", "pf_candidates.candidate"]),
)

task_scores = Table(
    "pf_task_scores",
    metadata,
    *_trial_key(),
    Column("task", String(200), primary_key=True),
    Column("value", Double, nullable=False),
    Column("stderr", Double, nullable=False),
    Column("n", Integer, nullable=False),
    Column("fraction", Double, nullable=False),
    Column("fraction_stderr", Double, nullable=False),
    _of_trial(),
)

curves = Table(
    "pf_curves",
    metadata,
    *_trial_key(),
    Column("tokens", BigInteger, primary_key=True, autoincrement=False),
    Column("loss", Double),  # null where it was not finite
    Column("task_losses", JSON, nullable=False),  # task -> loss, where finite
    _of_trial(),
)

routing = Table(
    "pf_routing",
    metadata,
    *_trial_key(),
    Column("domain", String(200), primary_key=True),
    Column("load", JSON, nullable=False),  # layers x experts
    _of_trial(),
)

checkpoints = Table(
    "pf_checkpoints",
    metadata,
    *_trial_key(),
    Column("kind", String(10), primary_key=True),  # trunk, branch or decayed
    Column("tokens", BigInteger, primary_key=True, autoincrement=False),
    Column("uri", Text, nullable=False),  # relative if it is in the folder beside a SQLite file
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    _of_trial(),
)

events = Table(
    "pf_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("study", String(100), nullable=False),
    Column("at", Double, nullable=False),
    Column("kind", String(20), nullable=False),  # launched, failed, lost, paused, damaged, finished, ...
    Column("text", Text, nullable=False),
    Column("candidate", String(12)),
    Column("rung", Integer),
    Index("pf_events_by_study", "study", "id"),
)
