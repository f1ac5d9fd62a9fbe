"""Classify database errors: temporary, permanent, or a full disk.

The driver's error code decides where there is one. PostgreSQL gives no code when a connection fails; there
the message decides, and an unknown message counts as temporary.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import exc

from search.database.sqlite_files import unwritable
from search.database.urls import parse_url, shown, sqlite_path
from space.errors import StorageError, StorageUnavailable, one_line

SQLITE_PASSES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
# Classes and codes of SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
POSTGRESQL_PASSES = (
    "08",  # the connection failed
    "40",  # serialization failure, deadlock: rolled back, to be tried again
    "53",  # too many connections, out of memory (a full disk is checked before)
    "55P03",  # a lock was not available
    "57014",  # a timeout cancelled the statement
    "57P01",  # the server shuts down,
    "57P02",  # has crashed,
    "57P03",  # starts up,
    "57P05",  # or ended an idle session
)
POSTGRESQL_DISK_FULL = "53100"
REFUSALS = (  # words of a connection that failed permanently
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no such database",
    "no such user",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "permission denied",
    "Name or service not known",
    "nodename nor servname",
    "invalid connection option",
    "unsupported startup parameter",
    "root certificate",
    "certificate verify failed",
)


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """Convert database errors in the block to StorageError; let IntegrityError pass.

    Raises:
        IntegrityError: the row exists already.
        StorageUnavailable: the database is temporarily unavailable.
        StorageError: the database cannot be reached, read or written.
    """
    try:
        yield
    except exc.IntegrityError:
        raise
    except Exception as error:
        if not _of_a_database(error):
            raise
        raise failure(error, url) from error


def failure(error: BaseException, url: str) -> StorageError:
    """Convert an error of a database to a StorageError with a one-line message."""
    cause = _driver_error(error)
    reason = one_line(cause)
    path = sqlite_path(parse_url(url))
    if _disk_is_full(cause, path):
        full = StorageError(f"the database '{shown(url)}' cannot be used: its disk is full ({reason})")
        full.errno = errno.ENOSPC
        return full
    kind = StorageUnavailable if _may_pass(error, cause) else StorageError
    if path is not None and _sqlite_code(cause) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        reason += unwritable(path)
    return kind(f"the database '{shown(url)}' cannot be used: {reason}")


def _of_a_database(error: BaseException) -> bool:
    foreign = type(error).__module__.partition(".")[0] in ("optuna", "psycopg")  # without importing them
    return foreign or isinstance(error, exc.SQLAlchemyError | sqlite3.Error)


def _driver_error(error: BaseException) -> BaseException:
    """The driver's error that SQLAlchemy or Optuna wrapped; the error itself if there is none."""
    while not (isinstance(error, sqlite3.Error) or type(error).__module__.startswith("psycopg")):
        below = getattr(error, "orig", None) or error.__cause__
        if below is None:
            break
        error = below
    return error


def _may_pass(error: BaseException, cause: BaseException) -> bool:
    if isinstance(cause, sqlite3.Error):
        return _sqlite_code(cause) in SQLITE_PASSES
    if isinstance(
        cause, exc.TimeoutError | exc.PendingRollbackError
    ):  # no free connection in the pool, or a lost one
        return True
    state = _sqlstate(cause)
    if state is not None:
        return state.startswith(POSTGRESQL_PASSES) and not _is_refused(cause)
    lost = type(cause).__name__ in ("OperationalError", "ConnectionTimeout", "InterfaceError")
    return lost and type(cause).__module__.startswith("psycopg") and not _is_refused(cause)


def _is_refused(cause: BaseException) -> bool:
    return any(words in str(cause) for words in REFUSALS)


def _disk_is_full(cause: BaseException, path: Path | None) -> bool:
    if _sqlstate(cause) == POSTGRESQL_DISK_FULL:
        return True
    code = _sqlite_code(cause)
    if code == sqlite3.SQLITE_IOERR and path is not None:  # how a write to the WAL fails on a full disk
        return os.statvfs(path.parent).f_bavail == 0
    return code == sqlite3.SQLITE_FULL


def _sqlite_code(cause: BaseException) -> int | None:
    """SQLite's primary code."""
    code: int | None = getattr(cause, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _sqlstate(cause: Any) -> str | None:
    return getattr(cause, "sqlstate", None)
