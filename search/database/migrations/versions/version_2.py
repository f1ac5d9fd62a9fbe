"""Version 2: whose artifacts are whose, which workers there are, and in what environment a trial ran."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, Double, Integer, String, Text

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add to version 1; the studies that are there keep their artifacts where they lie."""
    with op.batch_alter_table("pf_studies") as studies:
        studies.add_column(Column("artifacts_id", String(32), nullable=False, server_default=""))
        studies.add_column(Column("environment", sa.JSON))
        studies.add_column(Column("halted", Text))
        studies.add_column(Column("ran_seconds", Double, nullable=False, server_default="0"))
    with op.batch_alter_table("pf_trials") as trials:
        trials.add_column(Column("log", Text))
        trials.add_column(Column("durable_tokens", BigInteger))
        trials.add_column(Column("environment", sa.JSON))
    op.create_table(
        "pf_workers",
        Column("study", String(100), sa.ForeignKey("pf_studies.name"), primary_key=True),
        Column("worker", String(200), primary_key=True),
        Column("host", String(200), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("device", String(100)),
        Column("log", Text),
        Column("started_at", Double, nullable=False),
        Column("seen_at", Double, nullable=False),
        Column("left_at", Double),
        Column("left_because", Text),
    )
