"""Files under one URL: a local folder by default, an object store through fsspec.

A file is stored atomically, and read only if its SHA-256 is the one in the ledger. This module does not know
which study a file belongs to; see `search.store.study_files`.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from space.errors import CheckpointError, StorageError, StorageFull, StorageUnavailable, one_line
from space.files import PART, file_sha256, move_durably, sync, umask_mode

LOGS = "pathfront-logs"  # in the working folder, if the artifacts are remote
DRAFT = ".writing-"  # first characters of the names of temporary folders, in which files are written first
_BLOCK = 1 << 20
_PROBE = 4096  # bytes: one block of most file systems
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_TEXTS = (
    "No space left",
    "quota exceeded",
    "File too large",
)  # for errors without a number
_AWAY = {
    getattr(errno, name)
    for name in (
        *("EIO", "EREMOTEIO", "ESTALE", "ETIMEDOUT", "ENOTCONN", "ESHUTDOWN", "ECONNREFUSED", "ECONNRESET"),
        *("ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    )
    if hasattr(errno, name)
}
_MAKE_ROOM = "make room, then launch the study again to resume it"
_AWAY_NAMES = ("Connect", "Timeout")  # parts of the names of errors of fsspec's backends


@dataclass(frozen=True)
class Stored:
    """A stored file; `uri` is relative to the database's folder if the file is inside it."""

    uri: str
    bytes: int
    sha256: str


class Artifacts:
    """A place for files. Nothing is created there before `make` or `put`.

    Args:
        root: a folder's path, or a URL that fsspec supports.
        home: the database's folder, if it has one; URIs of files in it are relative to it.

    Raises:
        StorageError: fsspec does not support the URL.
    """

    def __init__(self, root: str, home: Path | None = None) -> None:
        self.root = root
        self.home = home
        with _failures(f"the artifact folder '{root}' cannot be used"):
            self._files, self._path = file_system(root)
        self._local = isinstance(self._files, LocalFileSystem)

    def make(self) -> None:
        """Create the folder, if it does not exist.

        Raises:
            StorageError: it cannot be created or written.
        """
        with _failures(f"the artifact folder '{self.root}' cannot be used"):
            self._files.makedirs(self._path, exist_ok=True)
            if self._local and not os.access(self._path, os.W_OK | os.X_OK):
                raise PermissionError("it cannot be written")

    def folder(self, name: str) -> Path:
        """A folder on this machine, for logs: in the place itself, or in `pathfront-logs` if that is remote.

        Raises:
            StorageError: it cannot be created.
        """
        path = (Path(self._path) if self._local else Path.cwd() / LOGS) / name
        with _failures(f"the folder '{path}' cannot be made"):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def shown(self, name: str) -> str:
        """The path or URL of a file or a folder, for messages."""
        path = f"{self._path}/{name}"
        return path if self._local else self._files.unstrip_protocol(path)

    def put(self, name: str, save: Callable[[Path], None]) -> Stored:
        """Store a file atomically.

        Args:
            name: its path below the root.
            save: writes one file at the path that it is given.

        Raises:
            StorageError: it cannot be stored.
            StorageFull: no space is left for it.
        """
        target = f"{self._path}/{name}"
        parent = target.rpartition("/")[0]
        failure = f"'{name}' cannot be stored under '{self.root}'"
        with _failures(failure, OSError):  # other errors of `save` are the trainer's
            self._files.makedirs(parent, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=DRAFT, dir=parent if self._local else None) as folder:
                draft = Path(folder) / Path(name).name
                self._write(draft, save)
                size, digest = sync(draft), file_sha256(draft)
                with _failures(failure):
                    self._move(draft, target)
        return Stored(self._uri(target), size, digest)

    def fetch(self, uri: str, sha256: str, folder: Path) -> Path:
        """The path of a stored file on this machine, after its SHA-256 was checked.

        Args:
            uri: as `put` returned it.
            sha256: the expected digest.
            folder: where a remote file is copied to.

        Raises:
            CheckpointError: the whole file was read, and its content is not what was stored.
            StorageError: it is missing or cannot be read.
            StorageUnavailable: its store does not answer.
        """
        failure = f"'{uri}' cannot be read"
        with _failures(failure):
            files, path = self._find(uri)
            if isinstance(files, LocalFileSystem):
                local = Path(path)
            else:
                local = folder / Path(path).name
                files.get_file(path, str(local))
                size, found = files.info(path).get("size"), local.stat().st_size
                if size not in (None, found):
                    raise ConnectionError(f"{found} of {size} bytes came")
            digest = file_sha256(local)
        if digest != sha256:
            raise CheckpointError(
                f"checkpoint '{uri}' is damaged: SHA-256 {digest[:12]}, stored as {sha256[:12]}"
            )
        return local

    def exists(self, uri: str) -> bool:
        """Whether a stored file exists.

        Raises:
            StorageError: the store cannot be read.
        """
        with _failures(f"'{uri}' cannot be read"):
            files, path = self._find(uri)
            return _exists(files, path)

    def holds(self, name: str) -> bool:
        """Whether a file with this path below the root exists.

        Raises:
            StorageError: the store cannot be read.
        """
        with _failures(f"'{self.shown(name)}' cannot be read"):
            return _exists(self._files, f"{self._path}/{name}")

    def remove(self, uri: str) -> None:
        """Delete a file, if it exists.

        Raises:
            StorageError: it cannot be deleted.
        """
        with _failures(f"'{uri}' cannot be deleted"):
            files, path = self._find(uri)
            try:
                files.rm_file(path)
            except (FileNotFoundError, NotADirectoryError):
                return

    def listing(self, name: str) -> list[str]:
        """Names of all files below a folder, and of temporary folders that killed processes left.

        Raises:
            StorageError: it cannot be listed.
        """
        folder = f"{self._path}/{name}"
        with _failures(f"'{folder}' cannot be listed"):
            if self._local:
                paths = list(_walk(folder))
            else:
                self._files.invalidate_cache()
                paths = self._files.find(folder)
        return [path.removeprefix(self._path.rstrip("/") + "/") for path in map(str, paths)]

    def discard(self, name: str) -> None:
        """Delete a file or a temporary folder that `listing` named, if it exists.

        Raises:
            StorageError: it cannot be deleted.
        """
        path = f"{self._path}/{name}"
        with _failures(f"'{path}' cannot be deleted"):
            try:
                if self._local and os.path.isdir(path):
                    shutil.rmtree(path)
                else:
                    self._files.rm_file(path)
            except FileNotFoundError:
                return

    def uri(self, name: str) -> str:
        """The URI of a file with this path below the root."""
        return self._uri(f"{self._path}/{name}")

    def _find(self, uri: str) -> tuple[Any, str]:
        return file_system(located(uri, self.home))

    def _write(self, draft: Path, save: Callable[[Path], None]) -> None:
        """Call `save`, give the file the umask's mode, and check that the disk is not full."""
        place = self.root if self._local else str(draft.parent)
        try:
            with umask_mode(draft):
                save(draft)
        except Exception as error:
            if _is_full(draft.parent, error):
                raise StorageFull(f"no space left in '{place}': {one_line(error)}; {_MAKE_ROOM}") from error
            raise
        if not _has_room(draft.parent):  # some writers, such as ndarray.tofile, hide their failure
            raise StorageFull(f"no space left in '{place}' after a checkpoint was written; {_MAKE_ROOM}")

    def _move(self, draft: Path, target: str) -> None:
        if self._local:
            move_durably(draft, Path(target))
        else:
            self._files.put_file(str(draft), target + PART)
            self._files.mv(target + PART, target)

    def _uri(self, path: str) -> str:
        """The URI of a path below the root."""
        if self._local and self.home is not None:
            for place, home in ((Path(path), self.home), (Path(path).resolve(), self.home.resolve())):
                if place.is_relative_to(home):
                    return place.relative_to(home).as_posix()
        return f"file://{path}" if self._local else self._files.unstrip_protocol(path)


def file_system(place: str) -> tuple[Any, str]:
    """File system and path of a URL or of a local path. Characters of local paths are not unescaped."""
    path = place.removeprefix("file://")
    if path != place or "://" not in place or place.startswith("/"):
        return LocalFileSystem(), os.path.abspath(path)
    files, path = fsspec.url_to_fs(place)
    return files, str(path)


def located(uri: str, home: Path | None) -> str:
    """The absolute URI of a stored file.

    Args:
        uri: as stored in the ledger.
        home: the database's folder, if it has one; relative URIs are relative to it.

    Raises:
        StorageError: the URI is relative, and there is no `home`.
    """
    if "://" in uri:
        return uri
    if home is None:
        raise StorageError(f"artifact '{uri}' lies beside a SQLite file, and the study is elsewhere now")
    return f"file://{(home / uri).as_posix()}"  # unescaped, as fsspec expects


def copy_stored(uri: str, target: Path) -> None:
    """Copy a stored file to this machine.

    Args:
        uri: as `located` returns it.
        target: path of the copy.

    Raises:
        StorageError: it is missing or cannot be read.
        StorageUnavailable: its store does not answer.
        OSError: the copy cannot be written.
    """
    with target.open("wb") as copy:
        for block in _blocks(uri):
            copy.write(block)


def _blocks(uri: str) -> Iterator[bytes]:
    """The content of a stored file, part by part."""
    with _failures(f"'{uri.removeprefix('file://')}' cannot be copied"):
        files, path = file_system(uri)
        if not _exists(files, path):
            raise StorageError(
                f"the weights are looked for in '{uri.removeprefix('file://')}' and are not there; mount the"
                " place or move the folder back"
            )
        with files.open(path, "rb") as source:
            while block := source.read(_BLOCK):
                yield block


def _storage_error(failure: str, error: BaseException) -> StorageError:
    """Convert an error of a file system to a StorageError of the right kind.

    Args:
        failure: what failed; the message begins with it.
        error: the error.
    """
    if getattr(error, "errno", None) in _FULL:
        return StorageFull(f"{failure}, since no space is left there: {one_line(error)}; {_MAKE_ROOM}")
    if _is_away(error):
        return StorageUnavailable(f"{failure}, since its store does not answer: {one_line(error)}")
    return StorageError(f"{failure}: {one_line(error)}")


@contextmanager
def _failures(failure: str, kinds: type[Exception] = Exception) -> Iterator[None]:
    """Convert errors of the block to StorageError; each file system of fsspec has errors of its own."""
    try:
        yield
    except (StorageError, CheckpointError):
        raise
    except kinds as error:
        raise _storage_error(failure, error) from error


def _exists(files: Any, path: str) -> bool:
    """Whether a file exists; `AbstractFileSystem.exists` returns False for every failure."""
    try:
        files.info(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if _is_away(error):
            raise
        return False
    return True


def _is_away(error: BaseException) -> bool:
    """Whether a store did not answer; some backends raise FileNotFoundError with the reason as its cause."""
    cause: BaseException | None = error
    while cause is not None:
        names = [kind.__name__ for kind in type(cause).__mro__]
        if getattr(cause, "errno", None) in _AWAY or any(
            part in name for part in _AWAY_NAMES for name in names
        ):
            return True
        cause = cause.__cause__
    return False


def _walk(folder: str) -> Iterator[str]:
    """Files below a folder, and temporary folders as a whole."""
    for parent, folders, names in os.walk(folder):
        drafts = [name for name in folders if name.startswith(DRAFT)]
        folders[:] = [name for name in folders if name not in drafts]
        yield from (f"{parent}/{name}" for name in (*drafts, *names))


def _has_room(folder: Path) -> bool:
    """Whether a file of one block can be written into a folder; it is deleted again."""
    probe = folder / "room"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in _FULL:
            return False
        raise
    probe.unlink()
    return True


def _is_full(folder: Path, error: BaseException) -> bool:
    """Whether writing a draft failed because the disk is full; some libraries do not report the reason."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in _FULL or any(text in str(cause) for text in _FULL_TEXTS):
            return True
        cause = cause.__cause__ or cause.__context__
    try:
        with (folder / "probe").open("wb") as probe:
            probe.seek(sum(path.stat().st_size for path in folder.iterdir()))
            probe.write(bytes(_BLOCK))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as refusal:
        return refusal.errno in _FULL
    return False
