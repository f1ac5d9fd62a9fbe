"""How Alembic runs our revisions: on the connection that it is given, within its transaction, on our tables.

Optuna keeps a revision of its own in `alembic_version` of the same database, so ours has another table.
"""

from typing import Any

from alembic import context
from sqlalchemy import text

from search.database.tables import metadata
from search.database.versions import REVISIONS


def is_ours(name: str | None, kind: str, parents: Any) -> bool:
    """Whether a table of the database is ours; what is no table belongs to one."""
    return kind != "table" or (name or "").startswith("pf_")


def keep_in_step(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
    """Note the version in `pf_schema` as well: older Pathfronts refuse by it."""
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
