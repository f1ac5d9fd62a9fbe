"""Version 4: confirmations, which are trials with fresh seeds on the report episodes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Boolean, Column, Double, Integer, String

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Add to version 3; all trials that are there were scored on the select episodes."""
    op.add_column("pf_studies", Column("confirming", Boolean))
    op.add_column("pf_trials", Column("split", String(10), nullable=False, server_default="select"))
    op.create_table(
        "pf_confirmations",
        Column("study", String(100), primary_key=True),
        Column("candidate", String(12), primary_key=True),
        Column("rung", Integer, primary_key=True, autoincrement=False),
        Column("seed", Integer, primary_key=True, autoincrement=False),
        Column("place", Integer, nullable=False),
        Column("control_of", String(12)),
        Column("chosen_at", Double, nullable=False),
        sa.ForeignKeyConstraint(("study", "candidate"), ["pf_candidates.study", "pf_candidates.candidate"]),
    )
