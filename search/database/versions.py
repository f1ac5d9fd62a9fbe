"""Read the version of our tables, create them, and upgrade them.

`pf_schema` holds the version; every Pathfront since the first refuses versions that it does not know. Alembic
keeps the same number in `pf_alembic_version`, which databases of version 1 lack. Each change is one
transaction under a lock, so a killed process leaves either the old version or the new one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, insert, inspect, select, text

from search.database import tables
from search.database.urls import shown, storage_option
from space.errors import StorageError, StorageUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = "pf_alembic_version"
LOCK = 20260  # PostgreSQL's advisory lock while our tables are created or changed
LOCK_SECONDS = 30  # timeout for transactions that read the tables


def held_version(connection: Connection, url: str) -> int | None:
    """The version of our tables in a database; None if there are none.

    Raises:
        StorageError: the table that should hold the version is damaged.
    """
    if not inspect(connection).has_table(tables.schema.name):
        return None
    found = connection.execute(select(tables.schema.c.version)).scalars().all()
    if len(found) != 1:
        versions = ", ".join(map(str, found)) or "none"
        raise StorageError(f"a database holds one version of its tables, and '{shown(url)}' holds {versions}")
    return found[0]


def refuse_newer(version: int, url: str) -> None:
    """Raise an error for tables of a newer Pathfront.

    Raises:
        StorageError: the version is newer than today's.
    """
    if version > tables.TABLES_VERSION:
        raise StorageError(
            f"this Pathfront knows version {tables.TABLES_VERSION} of its tables, and '{shown(url)}' holds"
            f" {version}; use the Pathfront that made it"
        )


def require_today(connection: Connection, url: str) -> None:
    """Raise an error unless the tables are of the current version.

    Raises:
        StorageError: another version; for an older one, the message names the upgrade command.
    """
    version = held_version(connection, url)
    if version is None:
        raise StorageError(f"'{shown(url)}' holds no tables of Pathfront any more")
    refuse_newer(version, url)
    if version < tables.TABLES_VERSION:
        raise StorageError(
            f"this Pathfront reads version {tables.TABLES_VERSION} of its tables, and '{shown(url)}' holds"
            f" {version}; upgrade it: pathfront storage upgrade{storage_option(url)}"
        )


def make_tables(engine: Engine, url: str) -> None:
    """Create the tables if there are none; several processes may call this at once.

    Raises:
        StorageError: another process created tables of another version.
    """
    with _alone(engine) as connection:
        if held_version(connection, url) is None:
            tables.metadata.create_all(connection)
            connection.execute(insert(tables.schema).values(version=tables.TABLES_VERSION))
            _stamp(connection, tables.TABLES_VERSION)
        require_today(connection, url)


def upgrade_tables(engine: Engine, url: str, say: Callable[[str], object]) -> bool:
    """Upgrade older tables to the current version; of several processes at once, one does it.

    Args:
        engine: the database, open to write.
        url: its URL.
        say: called with a message before the upgrade.

    Returns:
        Whether this process did it.

    Raises:
        StorageUnavailable: a worker of an older Pathfront is training; the message names it.
        StorageError: the tables are newer or missing, or the two stored versions differ.
    """
    from alembic import command

    with _alone(engine) as connection:
        version = held_version(connection, url)
        if version is None or version >= tables.TABLES_VERSION:
            require_today(connection, url)
            return False
        _require_idle(connection, url)
        say(f"upgrading the tables of '{shown(url)}' from version {version} to {tables.TABLES_VERSION}")
        _require_revision(connection, url, version)
        command.upgrade(alembic_config(connection), str(tables.TABLES_VERSION))
    return True


def alembic_config(connection: Connection) -> "Config":
    """Configuration for Alembic's commands on our tables: `command.upgrade(alembic_config(c), "head")`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "search.database:migrations")
    config.attributes["connection"] = connection
    return config


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction during which no other process creates or changes our tables."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":  # its driver does not begin a transaction before DDL
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        yield connection


def _require_idle(connection: Connection, url: str) -> None:
    """Raise an error while a worker of an older Pathfront is running, since it would not notice an upgrade.

    Raises:
        StorageUnavailable: a worker holds a trial.
    """
    trials = tables.trials
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"LOCK TABLE {trials.name} IN ACCESS EXCLUSIVE MODE")
    left = trials.c.lease_until - tables.clock()
    held = select(trials.c.study, trials.c.worker, left.label("seconds"))
    held = held.where(trials.c.state == "running", left > 0).order_by(left.desc())
    found = connection.execute(held).first()
    if found is not None:
        raise StorageUnavailable(
            f"the tables of '{shown(url)}' are upgraded while no worker runs, and worker {found.worker} of an"
            f" older Pathfront trains study '{found.study}'; stop it first (if it was killed, wait"
            f" {found.seconds:.0f} s)"
        )


def _require_revision(connection: Connection, url: str, version: int) -> None:
    """Check Alembic's version number, or store it if there is none.

    Raises:
        StorageError: it differs from the one in `pf_schema`.
    """
    if not inspect(connection).has_table(REVISIONS):
        _stamp(connection, version)
        return
    revision = connection.scalar(text(f"SELECT version_num FROM {REVISIONS}"))
    if revision != str(version):
        raise StorageError(
            f"'{shown(url)}' holds version {version} of the tables by pf_schema, and {revision} by"
            f" {REVISIONS}; restore it from a copy"
        )


def _stamp(connection: Connection, version: int) -> None:
    from alembic import command

    command.stamp(alembic_config(connection), str(version))
