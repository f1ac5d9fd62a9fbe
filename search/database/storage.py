"""Open the database that holds Optuna's tables and ours, to read or to write.

SQLite runs in WAL mode with a long busy timeout, so that many workers can share a file. With
synchronous=NORMAL, a killed process loses no commit; a power failure may lose the latest commits but does not
damage the file. PostgreSQL may run behind PgBouncer, so there are no session settings and no prepared
statements. Optuna has its own engine and is never called inside one of our open transactions.
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
LAUNCH_LOCK = 20261  # PostgreSQL's advisory lock while a launcher creates tables and a study
POSTGRESQL_ARGUMENTS = {  # a URL may say otherwise
    "prepare_threshold": None,  # PgBouncer hands each transaction another session
    "connect_timeout": 20,
    "keepalives_idle": 30,  # seconds until a lost host is noticed,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds, while data is being sent
}


def open_writer(url: str, create: bool = True) -> Engine:
    """Open the database to write; create our tables, or upgrade older ones with a message on stderr.

    Args:
        url: the database's URL.
        create: whether a missing SQLite file and missing tables may be created.

    Raises:
        NotFoundError: the file or our tables are missing, and `create` is False.
        StorageUnavailable: it is temporarily unavailable, or workers of an older Pathfront are training.
        StorageError: it cannot be reached, is not a database, or has tables of a newer Pathfront.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None:
        if not path.parent.is_dir():
            raise StorageError(f"the folder of a SQLite file must exist, got '{parsed.database}'")
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
    """Check that a study can be written or created, without creating anything.

    Raises:
        StorageUnavailable: the database is temporarily unavailable.
        StorageError: it cannot be written, or its folder cannot.
    """
    path = sqlite_path(parse_url(url))
    try:
        engine = open_writer(url, create=False)
        with _closed_on_error(engine), reachable(url), engine.connect() as connection:
            if path is not None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # of a file that may not be written, it reads
                connection.exec_driver_sql("UPDATE pf_schema SET version = version")
                connection.rollback()
        engine.dispose()
    except NotFoundError:
        if path is None:
            return
        if not path.parent.is_dir():
            raise StorageError(f"the folder of a SQLite file must exist, got '{path}'") from None
        if not os.access(path.parent, os.W_OK):
            raise StorageError(
                f"the folder '{path.parent}' cannot be written; name another --storage"
            ) from None


def _refuse_lone_log(path: Path) -> None:
    """Raise an error if the WAL of a moved database is there: SQLite would overwrite it.

    Raises:
        StorageError: there is a WAL without its database.
    """
    log = wal(path)
    if not path.exists() and log.exists() and log.stat().st_size:
        raise StorageError(
            f"'{log}' holds commits of a database that is not beside it: move '{path.name}' back, or move its"
            f" log and '{shm(path).name}' along; or delete both to start again"
        )


def open_reader(url: str) -> Engine:
    """Open the database read-only, without creating anything; its statements raise StorageError.

    Raises:
        NotFoundError: there is no such file, or no study in the database.
        StorageError: it cannot be reached, is not a database, or has tables of another version.
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
    """Upgrade older tables to the current version; nothing is created, and newer tables are left alone.

    Args:
        url: the database's URL.
        say: called with a message before the upgrade; by default it is printed to stderr.

    Returns:
        The version before; None if there is no file or none of our tables.

    Raises:
        StorageUnavailable: it is temporarily unavailable, or workers of an older Pathfront are training.
        StorageError: it cannot be used, or has tables of a newer Pathfront.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None and not path.is_file():
        return None
    with reachable(url):
        reader = _reader(parsed)  # a file with newer tables is never opened to write
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
    """Check that no other Pathfront has upgraded the tables since they were opened.

    Raises:
        StorageUnavailable: the database is temporarily unavailable.
        StorageError: its tables are of another version.
    """
    with reachable(url), engine.connect() as connection:
        require_today(connection, url)


@contextmanager
def one_launcher(url: str) -> Iterator[None]:
    """Run the block while no other launcher does: only one process at a time can create Optuna's tables.

    For SQLite this locks the folder, since a lock file would be left behind; for PostgreSQL it takes an
    advisory lock on a separate connection.

    Raises:
        StorageUnavailable: another launcher held the lock for a minute, or the database is unavailable.
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
            connection.close()  # releases the lock


def settle(engine: Engine, url: str, wait: bool = True) -> None:
    """Copy the commits in SQLite's WAL to the file, so that the file alone holds the study.

    Args:
        engine: the database, open to write.
        url: its URL.
        wait: whether to wait for readers and empty the WAL; otherwise copy what can be copied now.

    Raises:
        StorageError: it cannot be written.
    """
    if engine.dialect.name == "sqlite":
        with reachable(url), engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA wal_checkpoint({'TRUNCATE' if wait else 'PASSIVE'})")


def optuna_storage(url: str, create: bool = False) -> "RDBStorage":
    """Optuna's storage in the same database, with the same pragmas and without a heartbeat.

    Args:
        url: the database's URL.
        create: whether to create Optuna's tables; call it inside `one_launcher` then.

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
        except RuntimeError as error:  # Optuna's error for tables of another version
            raise StorageError(f"the database '{shown(url)}' cannot be used: {error}") from None
        if sqlite_path(parsed) is not None:
            event.listen(storage.engine, "connect", _set_pragmas)
            storage.engine.dispose()  # closes connections that were opened without the pragmas
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
    # A user without write permission reopens the file each time, because its WAL comes and goes.
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
    """The version of our tables; None if there are none.

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
        raise StorageError(f"the folder of a SQLite file must be readable: {error}") from None
    deadline = time.monotonic() + BUSY_SECONDS
    try:
        while not _lock(handle):
            if time.monotonic() > deadline:
                raise StorageUnavailable(f"another launcher makes a study in '{folder}' and does not end")
            time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(handle)  # releases the lock


def _lock(handle: int) -> bool:
    """Take the lock; return False if another process holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network file system without folder locks: launch one study at a time there
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
