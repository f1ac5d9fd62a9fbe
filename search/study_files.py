"""The files of one study wherever its checkpoints lie: found, measured and removed.

A study of tables' version 2 has a folder of its own, named after the study and its random id: all in it goes.
The folder of an older study bears the study's name alone and may be shared with a study of another database:
only the files that this study's rows name are removed from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from space.errors import StorageError


@dataclass(frozen=True)
class Removed:
    """What was removed.

    Attributes:
        left: folders of the study with files that no row names.
    """

    files: int
    bytes: int
    left: tuple[str, ...]


def folder_name(study: str, artifacts_id: str) -> str:
    """The name of a study's folder under its artifacts' URL."""
    return f"{study}-{artifacts_id}" if artifacts_id else study


def exists(url: str) -> bool:
    """Whether a file is there.

    Raises:
        StorageError: its store does not answer.
    """
    try:
        files, path = fsspec.url_to_fs(url)
        return bool(files.exists(path))
    except Exception as error:  # each file system has its own errors
        raise StorageError(f"'{url}' cannot be looked for: {_line(error)}") from error


class StudyFiles:
    """The files of one study.

    Args:
        study: its name.
        artifacts_id: its random id; empty for a study of tables' version 1.
        root: where its checkpoints went, as far as its rows do not say.
        urls: of its checkpoints.
    """

    def __init__(self, study: str, artifacts_id: str, root: str, urls: Sequence[str]) -> None:
        name = folder_name(study, artifacts_id)
        self._own = bool(artifacts_id)
        self._urls = list(dict.fromkeys(_canonical(url) for url in urls))
        places = [url.rpartition(f"/{name}/")[0] for url in self._urls if f"/{name}/" in url]
        self._named = list(dict.fromkeys(f"{place}/{name}" for place in places))
        self._folders = list(dict.fromkeys([*self._named, f"{_canonical(root)}/{name}"]))

    def missing(self) -> list[str]:
        """Folders in which checkpoints lay and that are not there.

        Raises:
            StorageError: their store does not answer.
        """
        return [folder for folder in self._named if not exists(folder)]

    def size(self) -> int:
        """Bytes of all files that would be removed.

        Raises:
            StorageError: their store does not answer.
        """
        return sum(self._found().values())

    def remove(self) -> Removed:
        """Remove them; what is gone already is no error.

        Raises:
            StorageError: a file cannot be removed.
        """
        found = self._found()
        for url in found:
            try:
                files, path = fsspec.url_to_fs(url)
                files.rm_file(path)
            except FileNotFoundError:
                continue
            except Exception as error:  # each file system has its own errors
                raise StorageError(f"'{url}' cannot be deleted: {_line(error)}") from error
        left = [folder for folder in self._folders if not _prune(folder)]
        return Removed(len(found), sum(found.values()), tuple(left))

    def _found(self) -> dict[str, int]:
        """URL -> bytes of all files that are there."""
        found: dict[str, int] = {}
        for place in [*self._urls, *(self._folders if self._own else ())]:
            try:
                files, path = fsspec.url_to_fs(place)
                if files.exists(path):
                    sizes = files.find(path, detail=True)  # a file finds itself
                    found |= {files.unstrip_protocol(p): int(i["size"] or 0) for p, i in sizes.items()}
            except Exception as error:  # each file system has its own errors
                raise StorageError(f"'{place}' cannot be listed: {_line(error)}") from error
        return found


def _canonical(url: str) -> str:
    """A URL or a path as a URL with its protocol, without a slash at its end."""
    try:
        files, path = fsspec.url_to_fs(url)
    except Exception as error:  # each file system has its own errors
        raise StorageError(f"the artifacts '{url}' cannot be used: {_line(error)}") from error
    return files.unstrip_protocol(path).rstrip("/")


def _prune(folder: str) -> bool:
    """Remove the empty folders below and including a folder; returns whether nothing is left of it."""
    files, path = fsspec.url_to_fs(folder)
    if not isinstance(files, LocalFileSystem):
        return not files.exists(path)  # object stores have no empty folders
    top = Path(path)
    if not top.is_dir():
        return True
    below = sorted((place for place in top.rglob("*") if place.is_dir()), reverse=True)
    for place in [*below, top]:
        if not any(place.iterdir()):
            place.rmdir()
    return not top.exists()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
