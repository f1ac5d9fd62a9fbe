"""Study `old` as earlier versions of our tables hold it: two candidates done at rung 0, one paused."""

import tarfile
from pathlib import Path

from alembic import command
from sqlalchemy import MetaData, NullPool, create_engine, insert, select, text

from search.database.versions import alembic_config

DATA = Path(__file__).parent / "data"
VERSIONS = (1, 2)
SCORED = "955aa505b416"  # the better of the two done candidates, trial 1
PAUSED = "2d6701da127d"
ARTIFACTS = {1: "pathfront-artifacts/old", 2: "pathfront-artifacts/old-0cfe913551b0"}


def unpack(version: int, folder: Path) -> str:
    """Unpack the study's folder: pathfront.db, pathfront-artifacts/, old.yaml.

    Returns:
        URL of the database.
    """
    with tarfile.open(DATA / f"version-{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return f"sqlite:///{folder / 'pathfront.db'}"


def migrate(url, revision):
    """Run our revisions up to one of them."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), revision)
    engine.dispose()


def execute(url, *statements):
    """Run statements in one transaction."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement) if isinstance(statement, str) else statement)
    engine.dispose()


def scalar(url, statement):
    """The single value of a query."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        value = connection.scalar(text(statement))
    engine.dispose()
    return value


def copy_rows(source, target):
    """Copy every row into a database that has the tables, Optuna's and ours."""
    read, write = create_engine(source, poolclass=NullPool), create_engine(target, poolclass=NullPool)
    known, metadata = MetaData(), MetaData()
    known.reflect(read)
    metadata.reflect(write)
    with read.connect() as old, write.begin() as new:
        for table in reversed(metadata.sorted_tables):
            new.execute(table.delete())
        for table in metadata.sorted_tables:
            rows = [dict(row) for row in old.execute(select(known.tables[table.name])).mappings()]
            if rows:
                new.execute(insert(table), rows)
            key = list(table.primary_key)
            if (
                len(key) == 1
                and key[0].identity is None
                and "nextval" in str(key[0].server_default and key[0].server_default.arg)
            ):
                new.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{table.name}', '{key[0].name}'),"
                        f" (SELECT coalesce(max({key[0].name}), 0) + 1 FROM {table.name}), false)"
                    )
                )
    read.dispose()
    write.dispose()
