"""Version 5: the tokenizers of studies that have one of their own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, LargeBinary, String

revision = "5"
down_revision = "4"


def upgrade() -> None:
    """Add to version 4; the studies that are there have tokenizers that ship."""
    op.create_table(
        "pf_tokenizers",
        Column("study", String(100), primary_key=True),
        Column("sha256", String(64), nullable=False),
        Column("model", LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(("study",), ["pf_studies.name"]),
    )
