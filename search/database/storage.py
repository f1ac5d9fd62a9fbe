"""Where studies live: one database for Optuna's tables and ours, one folder of artifacts beside it.

SQLite runs in WAL mode with a long busy timeout, so that many workers share a file; synchronous NORMAL keeps
every commit through a killed process (a power cut may lose the last ones, never the file). PostgreSQL may
stand behind PgBouncer: nothing is set for a session, and no statement is prepared. Optuna has an engine of
its own and is never called inside an open transaction of ours.
"""

import fcntl
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine, NullPool, QueuePool, create_engine, event

from search.database.errors import failure, reachable
from search.database.sqlite_files import BUSY_SECONDS, connect_to_read, may_write, shm, wal
from search.database.tables import TABLES_VERSION
from search.database.urls import (
    DEFAULT_URL,
    artifacts_home,
    parse_url,
    resolve_artifacts,
    resolve_url,
    shown,
    sqlite_path,
    storage_option,
)
from search.database.versions import held_version, make_tables, refuse_newer, require_today, upgrade_tables
from space.errors import NotFoundError, StorageError, StorageUnavailable

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

__all__ = [
    "BUSY_SECONDS",
    "DEFAULT_URL",
    "artifacts_home",
    "check_version",
    "one_launcher",
    "open_reader",
    "open_writer",
    "optuna_storage",
    "reachable",
    "require_writable",
    "resolve_artifacts",
    "resolve_url",
    "settle",
    "shown",
    "storage_option",
    "upgrade",
]

PRAGMAS = (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=NORMAL")
LOCK_POLL_SECONDS = 0.05
LAUNCH_LOCK = 20261  # PostgreSQL's advisory lock of a launcher that makes tables and study
POSTGRESQL_ARGUMENTS = {  # a URL may say otherwise
    "prepare_threshold": None,  # PgBouncer hands each transaction another session
    "connect_timeout": 20,
    "keepalives_idle": 30,  # seconds, until a host that is gone is missed,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds, also while something is being sent
}


def open_writer(url: str, create: bool = True) -> Engine:
    """Open the database to write; make our tables if needed, or upgrade older ones and say so on stderr.

    Args:
        url: the database's URL.
        create: whether a SQLite file and our tables may be made where there are none.

    Raises:
        NotFoundError: there is no such file or no table of ours, and none may be made.
        StorageUnavailable: it does not answer now, or workers of an older Pathfront are training.
        StorageError: it cannot be reached, is no database, or a newer Pathfront made its tables.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None:
        if not path.parent.is_dir():
            raise StorageError(f"a SQLite file stands in a folder that exists, got '{parsed.database}'")
        if not create:
            _require_file(path, parsed)
        _refuse_lone_log(path)
    upgrade(url)
    engine = _writer(parsed)
    with _closed_on_error(engine), reachable(url):
        if create:
            make_tables(engine, url)
        elif _look(engine, url) is None:
            raise _no_study(url)
    return engine


def require_writable(url: str) -> None:
    """Check that a study can be written or created; nothing is created.

    Raises:
        StorageUnavailable: the database does not answer now.
        StorageError: it cannot be written, or its folder cannot.
    """
    path = sqlite_path(parse_url(url))
    try:
        engine = open_writer(url, create=False)
        with _closed_on_error(engine), reachable(url), engine.connect() as connection:
            if path is not None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.rollback()
        engine.dispose()
    except NotFoundError:
        if path is None:
            return
        if not path.parent.is_dir():
            raise StorageError(f"a SQLite file stands in a folder that exists, got '{path}'") from None
        if not os.access(path.parent, os.W_OK):
            raise StorageError(
                f"the folder '{path.parent}' cannot be written; name another --storage"
            ) from None


def _refuse_lone_log(path: Path) -> None:
    """Refuse to create a database beside the log of one that was moved: SQLite would overwrite the log.

    Raises:
        StorageError: there is such a log.
    """
    log = wal(path)
    if not path.exists() and log.exists() and log.stat().st_size:
        raise StorageError(
            f"'{log}' holds commits of a database that is not beside it: move '{path.name}' back or take its"
            f" log and '{shm(path).name}' along; or delete both to begin anew"
        )


def open_reader(url: str) -> Engine:
    """Open the database to read only; nothing is created, and errors of its statements are StorageErrors.

    Raises:
        NotFoundError: there is no such file, or no study in the database.
        StorageError: it cannot be reached, is no database, or its tables are of another version.
    """
    parsed = parse_url(url)
    engine = _reader(parsed)

    @event.listens_for(engine, "handle_error")
    def explain(context: Any) -> None:
        if not context.is_pre_ping:
            raise failure(context.original_exception, url) from context.original_exception

    with _closed_on_error(engine), reachable(url), engine.connect() as connection:
        if held_version(connection, url) is None:
            raise _no_study(url)
        require_today(connection, url)
    return engine


def upgrade(url: str, say: Callable[[str], object] | None = None) -> int | None:
    """Bring older tables to today's version; a newer database is not touched, and nothing is created.

    Args:
        url: the database's URL.
        say: is told what is about to happen; else it goes to stderr.

    Returns:
        The version before; None where there are no tables of ours, or no file.

    Raises:
        StorageUnavailable: it does not answer now, or workers of an older Pathfront are training.
        StorageError: it cannot be used, or a newer Pathfront made its tables.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None and not path.is_file():
        return None
    with reachable(url):
        reader = _reader(parsed)  # a newer file is not even opened to write
        try:
            version = _look(reader, url)
        finally:
            reader.dispose()
        if version is None or version >= TABLES_VERSION:
            return version
        engine = _writer(parsed)
        try:
            upgrade_tables(engine, url, say or _to_stderr)
        finally:
            engine.dispose()
    return version


def check_version(engine: Engine, url: str) -> None:
    """Refuse to go on in a database whose tables another Pathfront has upgraded meanwhile.

    Raises:
        StorageUnavailable: it does not answer now.
        StorageError: its tables are of another version.
    """
    with reachable(url), engine.connect() as connection:
        require_today(connection, url)


@contextmanager
def one_launcher(url: str) -> Iterator[None]:
    """Keep other launchers out of the block: Optuna's tables can be made by one process at a time.

    A lock on the folder of a SQLite file, since a file for the lock would stay behind; an advisory lock in
    PostgreSQL, on a connection of its own.

    Raises:
        StorageUnavailable: another launcher holds the lock for a minute, or the database does not answer now.
        StorageError: it cannot be reached.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None:
        with _locked(path.parent):
            yield
        return
    engine = create_engine(parsed, poolclass=NullPool, connect_args=_options(parsed)["connect_args"])
    with reachable(url):
        connection = engine.connect()
    try:
        with reachable(url):
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LAUNCH_LOCK})")
        yield
    finally:
        with reachable(url):
            connection.close()  # lets the lock go


def settle(engine: Engine, url: str, wait: bool = True) -> None:
    """Bring what SQLite's log holds into the file itself, so that the file alone is the study.

    Args:
        engine: the database, open to write.
        url: its URL.
        wait: for others to finish what they read, and empty the log; else bring over what can be.

    Raises:
        StorageError: it cannot be written.
    """
    if engine.dialect.name == "sqlite":
        with reachable(url), engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA wal_checkpoint({'TRUNCATE' if wait else 'PASSIVE'})")


def optuna_storage(url: str, create: bool = False) -> "RDBStorage":
    """Optuna's storage over the same database: the same pragmas, no heartbeat.

    Args:
        url: the database's URL.
        create: make Optuna's tables; only `one_launcher` does, since several processes at once fail at it.

    Raises:
        StorageError: it cannot be reached, or its tables are of another version of Optuna.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parsed = parse_url(url)
    options = _options(parsed)
    with reachable(url):
        try:
            storage = optuna.storages.RDBStorage(
                parsed.render_as_string(hide_password=False),
                engine_kwargs=options,
                skip_table_creation=not create,
            )
        except RuntimeError as error:  # how Optuna refuses the tables of another version
            raise StorageError(f"the database '{shown(url)}' cannot be used: {error}") from None
        if sqlite_path(parsed) is not None:
            event.listen(storage.engine, "connect", _set_pragmas)
            storage.engine.dispose()  # connections that were opened without the pragmas
    return storage


def _writer(parsed: URL) -> Engine:
    engine = create_engine(parsed, **_options(parsed))
    if sqlite_path(parsed) is not None:
        event.listen(engine, "connect", _set_pragmas)
    return engine


def _reader(parsed: URL) -> Engine:
    path = sqlite_path(parsed)
    if path is None:
        engine = create_engine(parsed, **_options(parsed))
        event.listen(engine, "connect", _begin_read_only)
        return engine
    _require_file(path, parsed)
    # A guest opens the file anew each time, as it lies then: with a log beside it, or without.
    pool = QueuePool if may_write(path) else NullPool
    return create_engine("sqlite://", creator=lambda: connect_to_read(path), poolclass=pool)


@contextmanager
def _closed_on_error(engine: Engine) -> Iterator[None]:
    try:
        yield
    except BaseException:
        engine.dispose()
        raise


def _options(parsed: URL) -> dict[str, Any]:
    """Options of every engine that may write, Optuna's too.

    Raises:
        StorageError: PostgreSQL's driver is not installed.
    """
    if sqlite_path(parsed) is not None:
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        raise StorageError(
            f"a PostgreSQL storage needs the extra 'postgres' ({error}): pip install 'pathfront[postgres]'"
        ) from None
    arguments = {name: value for name, value in POSTGRESQL_ARGUMENTS.items() if name not in parsed.query}
    return {"pool_pre_ping": True, "connect_args": arguments}


def _look(engine: Engine, url: str) -> int | None:
    """The version of our tables; None where there are none.

    Raises:
        StorageError: a newer Pathfront made them, or they are damaged.
    """
    with engine.connect() as connection:
        version = held_version(connection, url)
    if version is not None:
        refuse_newer(version, url)
    return version


def _no_study(url: str) -> NotFoundError:
    return NotFoundError(f"no study in '{shown(url)}'; make one: pathfront launch quick")


def _require_file(path: Path, parsed: URL) -> None:
    if not path.is_file():
        raise NotFoundError(f"no study database '{parsed.database}'; make one: pathfront launch quick")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"a SQLite file stands in a folder that can be read: {error}") from None
    deadline = time.monotonic() + BUSY_SECONDS
    try:
        while not _lock(handle):
            if time.monotonic() > deadline:
                raise StorageUnavailable(f"another launcher makes a study in '{folder}' and does not end")
            time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(handle)  # lets the lock go


def _lock(handle: int) -> bool:
    """Take the lock, or say that another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network file system that locks no folders: launch one study at a time there
        return True
    return True


def _set_pragmas(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_read_only(connection: Any, record: Any) -> None:
    connection.read_only = True  # psycopg begins each transaction so; PgBouncer takes no startup options


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
