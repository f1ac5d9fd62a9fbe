"""URLs of databases and artifacts: how they are chosen, parsed and printed."""

import os
import shlex
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from space.errors import StorageError

DEFAULT_URL = "sqlite:///pathfront.db"
RULE = "a storage is a URL such as sqlite:///pathfront.db or postgresql://user@host/name"
SQLITE = ("sqlite", "sqlite+pysqlite")
POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")


def resolve_url(option: str | None = None) -> str:
    """The database's URL: the option, else PATHFRONT_STORAGE, else `sqlite:///pathfront.db`.

    Raises:
        StorageError: it is not the URL of a SQLite file or a PostgreSQL database.
    """
    url = option or os.environ.get("PATHFRONT_STORAGE") or DEFAULT_URL
    return parse_url(url).render_as_string(hide_password=False)


def resolve_artifacts(url: str, option: str | None = None) -> str:
    """The artifacts' URL: the option, else PATHFRONT_ARTIFACTS, else `<database>-artifacts`.

    The folder is beside a SQLite file; for other databases it is in the working folder.

    Returns:
        A URL, or the absolute path of a folder.

    Raises:
        StorageError: `url` is no URL of a database.
    """
    given = option or os.environ.get("PATHFRONT_ARTIFACTS")
    if given:
        return given if "://" in given else str(Path(given).absolute())
    elsewhere = Path.cwd() / f"{Path(parse_url(url).database or 'pathfront').stem}-artifacts"
    return str(artifacts_home(url) or elsewhere)


def artifacts_home(url: str) -> Path | None:
    """The artifact folder beside a SQLite file; paths in it are stored relative, so that both can be moved.

    None for other databases, whose working folders differ from machine to machine.

    Raises:
        StorageError: `url` is no URL of a database.
    """
    path = sqlite_path(parse_url(url))
    return None if path is None else path.parent / f"{path.stem}-artifacts"


def shown(url: str) -> str:
    """A URL without its password, to be printed."""
    return parse_url(url).render_as_string(hide_password=True)


def storage_option(url: str) -> str:
    """The `--storage` option for a command line; empty for the default, and never with a password."""
    if url == DEFAULT_URL:
        return ""
    return ' --storage "$PATHFRONT_STORAGE"' if make_url(url).password else f" --storage {shlex.quote(url)}"


def parse_url(url: str) -> URL:
    """Parse a URL; PostgreSQL gets the driver psycopg.

    Raises:
        StorageError: it is not the URL of a SQLite file or a PostgreSQL database.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StorageError(f"{RULE}, got '{url}'") from None
    if parsed.drivername in SQLITE:
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise StorageError(f"{RULE}; a SQLite storage is a file, got '{url}'")
        return parsed
    if parsed.drivername in POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg")
    got = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() in ("sqlite", "postgresql"):
        raise StorageError(f"{RULE}, without a driver: leave '+{parsed.get_driver_name()}' out")
    raise StorageError(f"{RULE}, got '{got}'")


def sqlite_path(parsed: URL) -> Path | None:
    """The absolute path of a SQLite database, None for other databases."""
    return Path(parsed.database or "").absolute() if parsed.drivername in SQLITE else None
