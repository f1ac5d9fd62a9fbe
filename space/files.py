"""Files: written atomically and durably, with the mode of the user's umask, and hashed.

A reader sees the old content or the new one, never a part. After a power failure as well: a file is synced
before it takes its name, and its folder is synced after that.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from space.errors import StudyFileError
from space.machine import FULL, check_output

PART = ".part"  # ends the names of files and folders that are being written; they begin with a dot


def write_atomically(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    """Write a file, or replace it: whatever happens, `path` holds all of the old content or all of the new.

    The new file has the mode that the umask gives. A process that is killed leaves a hidden file whose name
    ends in `.part` beside the target; an error leaves nothing.

    Args:
        path: the file; its folder exists.
        content: text (UTF-8, written as it is), bytes, or a function that writes one file at the path that it
            is given.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.
    """
    part = _part_of(path)
    try:
        with _errors_name(path, part):
            if callable(content):
                with umask_mode(part):
                    content(part)
            else:
                part.write_bytes(content.encode() if isinstance(content, str) else content)
            move_durably(part, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says why
            part.unlink(missing_ok=True)
        raise


@contextmanager
def write_folder_atomically(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Fill a new folder within the block; it takes its name at the end, with all of its files synced.

    An error in the block removes what was written.

    Args:
        folder: the folder's path; its parents are made.
        replace: whether the new folder replaces an older one. Of several writers at once, the last one wins.

    Yields:
        An empty folder beside `folder`.

    Raises:
        OSError: the folder cannot be written, or `folder` exists with files in it and `replace` is false.
    """
    folder = folder.absolute()
    part = _part_of(folder)
    old = part.with_suffix(".old")
    with _errors_name(folder, part):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
    try:
        with _errors_name(folder, part):
            yield part
            _sync_all(part)
        while True:
            if replace:
                with contextlib.suppress(FileNotFoundError):
                    folder.rename(old)
            try:
                os.replace(part, folder)
                break
            except OSError as error:
                if not replace or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            shutil.rmtree(old, ignore_errors=True)  # another writer has replaced it since
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _errors_name(target: Path, part: Path) -> Iterator[None]:
    """Let an OSError name what is written, not the hidden file; a full disk names no file by itself."""
    try:
        yield
    except OSError as error:
        named = str(error.filename or "")
        if named.startswith(str(part)):
            error.filename = named.replace(str(part), str(target), 1)
        elif not named and error.errno in FULL:
            error.filename = str(target)
        raise


def require_new(folder: Path, what: str = "an export goes", option: str = "-o") -> None:
    """Check that an output folder does not exist, and can be made, before the work for it.

    Args:
        folder: its path.
        what: goes into it, for the message.
        option: names it.

    Raises:
        StudyFileError: the folder exists.
        MachineError: it cannot be made.
    """
    if folder.exists():
        raise StudyFileError(f"{what} into a new folder, and '{folder}' exists; choose another with {option}")
    check_output(folder)


def delete_folder(folder: Path) -> None:
    """Delete a folder with everything in it: it loses its name first, in one step.

    Raises:
        OSError: it cannot be deleted.
    """
    gone = _part_of(folder)
    folder.rename(gone)
    shutil.rmtree(gone)


def move_durably(source: Path, target: Path) -> None:
    """Sync a file, or a folder with all of its files, and move it to its name on the same file system.

    Args:
        source: the file or folder.
        target: where it goes; a file replaces an older one.

    Raises:
        OSError: it cannot be synced or moved.
    """
    _sync_all(source)
    os.replace(source, target)
    sync(target.parent)


def sync(path: Path) -> int:
    """Make the content of a file, or the names in a folder, survive a power failure.

    Returns:
        The file's size in bytes.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        status = os.fstat(handle)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno != errno.EINVAL or not stat.S_ISDIR(status.st_mode):
                raise  # some file systems cannot sync a folder, and say so by EINVAL
        return status.st_size
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def umask_mode(path: Path) -> Iterator[None]:
    """Give a file that is written in the block the mode of the umask; an older file is deleted first.

    Libraries that write a temporary file first (safetensors, `tempfile`) leave it at mode 600, whatever the
    umask, so that colleagues and services cannot read it.

    Raises:
        FileNotFoundError: the block wrote no file.
    """
    path.unlink(missing_ok=True)
    path.touch()
    mode = path.stat().st_mode & 0o777
    path.unlink()
    yield
    path.chmod(mode)


def _sync_all(place: Path) -> None:
    """Sync a file, or a folder with everything in it."""
    for path in (*place.rglob("*"), place):
        if not path.is_symlink():
            sync(path)


def _part_of(path: Path) -> Path:
    """A new name beside a path, for what is being written."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
