"""Where studies live: one database for Optuna's tables and ours, one folder of artifacts beside it.

SQLite runs in WAL mode with a long busy timeout, so that many workers share a file; synchronous NORMAL keeps
every commit through a killed process (a power cut may lose the last ones, never the file). Optuna has an
engine of its own and is never called inside an open transaction of ours.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, QueuePool, create_engine, event, insert, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from search import tables
from space.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

DEFAULT_URL = "sqlite:///pathfront.db"
BUSY_SECONDS = 60
PRAGMAS = (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=NORMAL")


def resolve_url(option: str | None = None) -> str:
    """The database's URL: the option, else PATHFRONT_STORAGE, else `sqlite:///pathfront.db`.

    Raises:
        StorageError: it is no URL of a SQLite file or a PostgreSQL database.
    """
    url = option or os.environ.get("PATHFRONT_STORAGE") or DEFAULT_URL
    return _parse(url).render_as_string(hide_password=False)


def resolve_artifacts(url: str, option: str | None = None) -> str:
    """The artifacts' URL: the option, else PATHFRONT_ARTIFACTS, else `<database>-artifacts`.

    That folder stands beside a SQLite file, and in the working folder for other databases.

    Returns:
        A URL, or the absolute path of a folder.

    Raises:
        StorageError: `url` is no URL of a database.
    """
    given = option or os.environ.get("PATHFRONT_ARTIFACTS")
    if given:
        return given if "://" in given else str(Path(given).absolute())
    elsewhere = Path.cwd() / f"{Path(_parse(url).database or 'pathfront').stem}-artifacts"
    return str(artifacts_home(url) or elsewhere)


def artifacts_home(url: str) -> Path | None:
    """The folder beside a SQLite file whose artifacts are noted relative to it, so that both move together.

    None for other databases, whose working folders differ from machine to machine.

    Raises:
        StorageError: `url` is no URL of a database.
    """
    parsed = _parse(url)
    if not _is_sqlite(parsed):
        return None
    database = Path(parsed.database or "").absolute()
    return database.parent / f"{database.stem}-artifacts"


def open_writer(url: str, create: bool = True) -> Engine:
    """Open the database to write, and create it with our tables if needed.

    Args:
        url: the database's URL.
        create: whether a SQLite file may be made where there is none.

    Raises:
        NotFoundError: there is no such file, and none may be made.
        StorageError: it cannot be reached, is no database, or its tables are of an unknown version.
    """
    parsed = _parse(url)
    if _is_sqlite(parsed):
        folder = Path(parsed.database or "").absolute().parent
        if not folder.is_dir():
            raise StorageError(f"a SQLite file stands in a folder that exists, got '{parsed.database}'")
        if not create:
            _find(parsed)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _set_pragmas)
    else:
        engine = create_engine(parsed, pool_pre_ping=True)
    with reachable(url):
        _create_tables(engine)
        _check_version(engine, url)
    return engine


def settle(engine: Engine, url: str) -> None:
    """Bring what SQLite's log holds into the file itself, so that the file alone is the study.

    Raises:
        StorageError: it cannot be written.
    """
    if engine.dialect.name == "sqlite":
        with reachable(url), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def open_reader(url: str) -> Engine:
    """Open the database to read only; nothing is ever created.

    Raises:
        NotFoundError: there is no such file, or no study in the database.
        StorageError: it cannot be reached, is no database, or its tables are of an unknown version.
    """
    parsed = _parse(url)
    if _is_sqlite(parsed):
        address = _read_only_address(_find(parsed))
        engine = create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, check_same_thread=False),
            poolclass=QueuePool,
        )
    else:
        engine = create_engine(
            parsed, pool_pre_ping=True, connect_args={"options": "-c default_transaction_read_only=on"}
        )
    with reachable(url):
        if not inspect(engine).has_table(tables.schema.name):
            raise NotFoundError(f"no study in '{shown(url)}'; make one: pathfront launch quick")
        _check_version(engine, url)
    return engine


def optuna_storage(url: str, create: bool = False) -> "RDBStorage":
    """Optuna's storage over the same database: the same pragmas, no heartbeat.

    Args:
        url: the database's URL.
        create: make Optuna's tables; only a launcher does, since several processes at once fail at it.

    Raises:
        StorageError: it cannot be reached, or its tables are of another version of Optuna.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parsed = _parse(url)
    sqlite = _is_sqlite(parsed)
    kwargs: dict[str, Any] = (
        {"connect_args": {"timeout": BUSY_SECONDS}} if sqlite else {"pool_pre_ping": True}
    )
    with reachable(url):
        try:
            storage = optuna.storages.RDBStorage(
                parsed.render_as_string(hide_password=False),
                engine_kwargs=kwargs,
                skip_table_creation=not create,
            )
        except RuntimeError as error:  # how Optuna refuses the tables of another version
            raise StorageError(f"the database '{shown(url)}' cannot be used: {error}") from None
        if sqlite:
            event.listen(storage.engine, "connect", _set_pragmas)
            storage.engine.dispose()  # connections that were opened without the pragmas
    return storage


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """Turn whatever a database says in the block into one line, except that a row is there already.

    Raises:
        IntegrityError: a row is there already: an answer, not a failure.
        StorageError: the database cannot be reached, read or written.
    """
    try:
        yield
    except IntegrityError:
        raise
    except Exception as error:
        optuna_says = type(error).__module__.startswith("optuna.")  # without importing it
        if not optuna_says and not isinstance(error, SQLAlchemyError | sqlite3.Error):
            raise
        cause = getattr(error, "orig", None) or error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise StorageError(f"the database '{shown(url)}' cannot be used: {reason}") from error


def shown(url: str) -> str:
    """A URL as it may be printed: without its password."""
    return _parse(url).render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    rule = "a storage is a URL such as sqlite:///pathfront.db or postgresql://user@host/name"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StorageError(f"{rule}, got '{url}'") from None
    if _is_sqlite(parsed):
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise StorageError(f"{rule}; a SQLite study is a plain file, got '{url}'")
        return parsed
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "postgresql+psycopg":
        raise StorageError(f"{rule}, got '{parsed.render_as_string(hide_password=True)}'")
    return parsed


def _is_sqlite(parsed: URL) -> bool:
    return parsed.get_backend_name() == "sqlite"


def _find(parsed: URL) -> Path:
    """The file of a SQLite database that exists."""
    path = Path(parsed.database or "").absolute()
    if not path.is_file():
        raise NotFoundError(f"no study database '{parsed.database}'; make one: pathfront launch quick")
    return path


def _read_only_address(path: Path) -> str:
    """The file as SQLite opens it to read; it writes nothing beside it where the file system is read-only."""
    frozen = os.statvfs(path).f_flag & os.ST_RDONLY
    return f"file:{quote(str(path))}?mode=ro{'&immutable=1' if frozen else ''}"


def _set_pragmas(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _create_tables(engine: Engine) -> None:
    """Make our tables in one transaction that waits for any other process doing the same."""
    sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if sqlite else "SELECT pg_advisory_xact_lock(20260)")
        if not inspect(connection).has_table(tables.schema.name):
            tables.metadata.create_all(connection)
            connection.execute(insert(tables.schema).values(version=tables.TABLES_VERSION))


def _check_version(engine: Engine, url: str) -> None:
    with engine.connect() as connection:
        versions = connection.execute(select(tables.schema.c.version)).scalars().all()
    if versions != [tables.TABLES_VERSION]:
        raise StorageError(
            f"this Pathfront knows version {tables.TABLES_VERSION} of its tables, and '{shown(url)}' holds"
            f" {', '.join(map(str, versions)) or 'none'}; use the Pathfront that made it"
        )
