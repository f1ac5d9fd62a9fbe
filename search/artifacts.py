"""Files that trials leave behind, under one URL: a folder by default, an object store through fsspec.

A file appears whole or not at all, and is read only when its SHA-256 is the one that the ledger noted.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from space.errors import CheckpointError, StorageError
from space.files import umask_mode

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """A file under the artifacts' URL; `uri` is relative where the file lies in the study's home."""

    uri: str
    bytes: int
    sha256: str


class Artifacts:
    """A place for files.

    Args:
        root: a folder's path, or any URL that fsspec knows.
        home: the folder beside the database, if it has one: what lies in it is noted relative to it.

    Raises:
        StorageError: nothing can be stored there.
    """

    def __init__(self, root: str, home: Path | None = None) -> None:
        self.root = root
        self.home = home
        try:
            self._files, self._path = fsspec.url_to_fs(root)
            self._files.makedirs(self._path, exist_ok=True)
        except Exception as error:  # each file system has its own errors
            raise StorageError(f"the artifact folder '{root}' cannot be used: {_line(error)}") from error
        self._local = isinstance(self._files, LocalFileSystem)

    def folder(self, name: str) -> Path:
        """A folder on this machine for logs and the like: in `pathfront-logs` if files go elsewhere."""
        path = (Path(self._path) if self._local else Path.cwd() / "pathfront-logs") / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, name: str, save: Callable[[Path], None]) -> Stored:
        """Store what `save` writes to the path that it is given, whole or not at all.

        Raises:
            StorageError: it cannot be stored.
        """
        target = f"{self._path}/{name}"
        parent = target.rpartition("/")[0]
        try:
            self._files.makedirs(parent, exist_ok=True)
            with tempfile.TemporaryDirectory(
                prefix=".writing-", dir=parent if self._local else None
            ) as folder:
                draft = Path(folder) / Path(name).name
                with umask_mode(draft):
                    save(draft)
                size, digest = _sync(draft), file_sha256(draft)
                if self._local:
                    os.replace(draft, target)
                    _sync(Path(parent))
                else:
                    self._files.put_file(str(draft), target + ".part")
                    self._files.mv(target + ".part", target)
        except OSError as error:
            raise StorageError(f"'{name}' cannot be stored under '{self.root}': {_line(error)}") from error
        return Stored(self._uri(target), size, digest)

    def fetch(self, uri: str, sha256: str, folder: Path) -> Path:
        """A file with the content that was stored, on this machine: in place, or copied to `folder`.

        Raises:
            CheckpointError: it is missing or not what was stored.
        """
        try:
            files, path = fsspec.url_to_fs(located(uri, self.home))
            if isinstance(files, LocalFileSystem):
                local = Path(path)
            else:
                local = folder / Path(path).name
                files.get_file(path, str(local))
            found = file_sha256(local)
        except Exception as error:  # each file system has its own errors
            raise CheckpointError(f"checkpoint '{uri}' cannot be read: {_line(error)}") from error
        if found != sha256:
            raise CheckpointError(
                f"checkpoint '{uri}' is damaged: SHA-256 {found[:12]}, stored as {sha256[:12]}"
            )
        return local

    def remove(self, uri: str) -> None:
        """Delete a file; one that is gone already is no error."""
        files, path = fsspec.url_to_fs(located(uri, self.home))
        try:
            files.rm_file(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"'{uri}' cannot be deleted: {_line(error)}") from error

    def tidy(self, name: str, keep: Collection[str]) -> None:
        """Delete from a folder of files all but those with the URIs to keep: what killed workers left."""
        folder = f"{self._path}/{name}"
        try:
            for path in self._files.ls(folder, detail=False):
                if self._uri(path) not in keep:
                    self._files.rm(path, recursive=True)
        except FileNotFoundError:
            return  # nothing was ever stored there
        except OSError as error:
            raise StorageError(f"'{folder}' cannot be tidied: {_line(error)}") from error

    def _uri(self, path: str) -> str:
        """How a file under the root is noted."""
        if self._local and self.home is not None and Path(path).is_relative_to(self.home):
            return Path(path).relative_to(self.home).as_posix()
        return self._files.unstrip_protocol(path)


def located(uri: str, home: Path | None) -> str:
    """Where a noted file is: the URI itself, or its place in the study's home.

    Raises:
        StorageError: it is relative, and the database has no folder of its own.
    """
    if "://" in uri:
        return uri
    if home is None:
        raise StorageError(f"artifact '{uri}' lies beside a SQLite file, and the study is elsewhere now")
    return (home / uri).as_uri()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> int:
    """Make a file or a folder durable; returns its size in bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
