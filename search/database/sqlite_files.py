"""A SQLite file with its `-wal` and `-shm` files, shared by several users.

The first user to open a database in WAL mode creates the other two files and owns them. A user without write
permission must never create them, because the owner of the database could then no longer write to it.
"""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from space.errors import StorageError

BUSY_SECONDS = 60
TRIES = 5  # attempts to open a file whose WAL is being created and removed


def wal(path: Path) -> Path:
    """Path of the write-ahead log (WAL), with the commits that are not in the file yet."""
    return path.with_name(f"{path.name}-wal")


def shm(path: Path) -> Path:
    """Path of the index of the WAL, shared by all processes that have the database open."""
    return path.with_name(f"{path.name}-shm")


def may_write(path: Path) -> bool:
    """Whether this user may write the database and create files beside it."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a database read-only, without creating files that its owner could not write.

    Raises:
        StorageError: it has a WAL that this user cannot read.
        sqlite3.Error: the file is not a database, or cannot be opened.
    """
    if may_write(path):
        return _connect(path, "mode=ro")
    for _ in range(TRIES):
        try:
            return _connect_as_guest(path)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN or not _remove_own_log(path):
                raise
    return _connect_as_guest(path)


def unwritable(path: Path) -> str:
    """A clause that lists which files of a database this user may not write; empty if there are none."""
    files = [file for file in (path, wal(path), shm(path)) if file.exists() and not os.access(file, os.W_OK)]
    if files and path not in files and not _has_content(wal(path)):
        names = " ".join(f"'{file}'" for file in files)
        return f"; another user made the empty log of it: while nothing runs, rm -f {names}"
    places = files if os.access(path.parent, os.W_OK) else [*files, path.parent]
    return "; you may not write " + ", ".join(f"'{place}'" for place in places) if places else ""


def _connect_as_guest(path: Path) -> sqlite3.Connection:
    log, index = wal(path), shm(path)
    if os.access(log, os.R_OK) and os.access(index, os.R_OK):  # another process has it open, or was killed
        return _connect(path, "mode=ro&readonly_shm=1")
    if not _has_content(log):  # all commits are in the file
        return _connect(path, "mode=ro&immutable=1")
    raise StorageError(
        f"'{log}' holds the latest commits, and only a user who may write '{path}' can read them: let its"
        f" owner run, once, pathfront status --storage sqlite:///{path}"
    )


def _connect(path: Path, options: str) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}?{options}"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        connection.execute("PRAGMA schema_version").fetchone()  # opens the log as well
    except BaseException:
        connection.close()
        raise
    return connection


def _remove_own_log(path: Path) -> bool:
    """Remove the empty WAL that this process created; return whether opening may be retried."""
    log = wal(path)
    try:
        found = log.stat()
    except FileNotFoundError:
        return True
    if found.st_uid != os.geteuid() or found.st_size:
        return False
    log.unlink()
    return True


def _has_content(log: Path) -> bool:
    try:
        return log.stat().st_size > 0
    except FileNotFoundError:
        return False
