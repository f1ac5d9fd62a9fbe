"""Version 1: studies, candidates, trials with their scores, curves, routing and checkpoints, events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, String, Text

revision = "1"
down_revision = None

TRIAL = ("study", "candidate", "rung", "seed")


def trial_key() -> list[Column]:
    """The columns that name a trial."""
    return [
        Column("study", String(100), primary_key=True),
        Column("candidate", String(12), primary_key=True),
        Column("rung", Integer, primary_key=True, autoincrement=False),
        Column("seed", Integer, primary_key=True, autoincrement=False),
    ]


def of_trial() -> sa.ForeignKeyConstraint:
    """What ties a table to its trial."""
    return sa.ForeignKeyConstraint(TRIAL, [f"pf_trials.{name}" for name in TRIAL])


def upgrade() -> None:
    """Make the tables in an empty database."""
    schema = op.create_table("pf_schema", Column("version", Integer, primary_key=True, autoincrement=False))
    op.bulk_insert(schema, [{"version": 1}])
    create_studies()
    create_trials()
    create_results()
    op.create_table(
        "pf_events",
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("study", String(100), nullable=False),
        Column("at", Double, nullable=False),
        Column("kind", String(20), nullable=False),
        Column("text", Text, nullable=False),
        Column("candidate", String(12)),
        Column("rung", Integer),
    )
    op.create_index("pf_events_by_study", "pf_events", ["study", "id"])


def create_studies() -> None:
    """Studies and their candidates."""
    op.create_table(
        "pf_studies",
        Column("name", String(100), primary_key=True),
        Column("config", sa.JSON, nullable=False),
        Column("suite", sa.JSON, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("launched_at", Double, nullable=False),
        Column("finished_at", Double),
        Column("stop_requested", Boolean, nullable=False),
    )
    op.create_table(
        "pf_candidates",
        Column("study", String(100), primary_key=True),
        Column("candidate", String(12), primary_key=True),
        Column("ordinal", Integer, nullable=False),
        Column("config", sa.JSON, nullable=False),
        Column("params", sa.JSON, nullable=False),
        Column("distributions", sa.JSON, nullable=False),
        Column("depth", Integer, nullable=False),
        Column("width", Integer, nullable=False),
        Column("experts", Integer, nullable=False),
        Column("top_k", Integer, nullable=False),
        Column("sparse", Boolean, nullable=False),
        Column("flops_per_token", Double, nullable=False),
        Column("active_params", BigInteger, nullable=False),
        Column("total_params", BigInteger, nullable=False),
        Column("training_bytes", BigInteger, nullable=False),
        Column("origin", String(20), nullable=False),
        Column("created_at", Double, nullable=False),
        sa.UniqueConstraint("study", "ordinal"),
    )


def create_trials() -> None:
    """Trials."""
    op.create_table(
        "pf_trials",
        *trial_key(),
        Column("attempt", Integer, nullable=False),
        Column("crashes", Integer, nullable=False),
        Column("worker", String(200), nullable=False),
        Column("lease_until", Double, nullable=False),
        Column("state", String(10), nullable=False),
        Column("final", Boolean, nullable=False),
        Column("diverged", Boolean, nullable=False),
        Column("number", Integer),
        Column("told", Boolean, nullable=False),
        Column("score", Double),
        Column("stderr", Double),
        Column("flops_per_token", Double, nullable=False),
        Column("tokens", BigInteger, nullable=False),
        Column("progress_tokens", BigInteger, nullable=False),
        Column("planned_flops", Double, nullable=False),
        Column("training_flops", Double),
        Column("wall_seconds", Double),
        Column("evaluation_seconds", Double),
        Column("device", String(100)),
        Column("epochs", sa.JSON),
        Column("domains", sa.JSON),
        Column("memorisable_score", Double),
        Column("generalising_score", Double),
        Column("error", Text),
        Column("started_at", Double, nullable=False),
        Column("finished_at", Double),
        sa.ForeignKeyConstraint(("study", "candidate"), ["pf_candidates.study", "pf_candidates.candidate"]),
    )
    op.create_index("pf_trials_by_state", "pf_trials", ["study", "state"])


def create_results() -> None:
    """What a trial leaves: scores, curve, routing, checkpoints."""
    op.create_table(
        "pf_task_scores",
        *trial_key(),
        Column("task", String(200), primary_key=True),
        Column("value", Double, nullable=False),
        Column("stderr", Double, nullable=False),
        Column("n", Integer, nullable=False),
        Column("fraction", Double, nullable=False),
        Column("fraction_stderr", Double, nullable=False),
        of_trial(),
    )
    op.create_table(
        "pf_curves",
        *trial_key(),
        Column("tokens", BigInteger, primary_key=True, autoincrement=False),
        Column("loss", Double),
        Column("task_losses", sa.JSON, nullable=False),
        of_trial(),
    )
    op.create_table(
        "pf_routing",
        *trial_key(),
        Column("domain", String(200), primary_key=True),
        Column("load", sa.JSON, nullable=False),
        of_trial(),
    )
    op.create_table(
        "pf_checkpoints",
        *trial_key(),
        Column("kind", String(10), primary_key=True),
        Column("tokens", BigInteger, primary_key=True, autoincrement=False),
        Column("uri", Text, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("sha256", String(64), nullable=False),
        Column("created_at", Double, nullable=False),
        of_trial(),
    )
