"""Run our revisions with Alembic, on the given connection and within its transaction.

Optuna keeps its own revision in `alembic_version` of the same database, so ours is in another table.
"""

from typing import Any

from alembic import context
from sqlalchemy import text

from search.database.tables import metadata
from search.database.versions import REVISIONS


def is_ours(name: str | None, kind: str, parents: Any) -> bool:
    """Whether a table is ours; indexes and constraints are judged by their table."""
    return kind != "table" or (name or "").startswith("pf_")


def keep_in_step(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
    """Store the version in `pf_schema` as well, which older Pathfronts check."""
    if not step.is_stamp:
        version = int(step.up_revision_id)
        ctx.connection.execute(text("UPDATE pf_schema SET version = :version"), {"version": version})


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=REVISIONS,
    include_name=is_ours,
    render_as_batch=True,
    on_version_apply=keep_in_step,
)
with context.begin_transaction():
    context.run_migrations()
