"""Find, measure and delete the files of one study.

A study with an id has a folder of its own, named after study and id; the whole folder is deleted. A study of
version 1 of the tables has no id, and a study of another database may share its folder; only files that its
rows name are deleted.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from search.store.artifacts import LOGS, file_system
from search.store.study_files import study_folder
from space.errors import StorageError, one_line


@dataclass(frozen=True)
class Removed:
    """What was deleted.

    Attributes:
        left: folders of the study in which files without a row remain.
    """

    files: int
    bytes: int
    left: tuple[str, ...]


def exists(place: str) -> bool:
    """Whether a file or a folder exists, by its URL or path.

    Raises:
        StorageError: its store does not answer.
    """
    try:
        files, path = file_system(place)
        return _info(files, path) is not None
    except Exception as error:  # each file system has errors of its own
        raise StorageError(f"'{_shown(place)}' cannot be looked for: {one_line(error)}") from error


class StudyRemoval:
    """The files of one study that are to be deleted.

    Args:
        study: the study's name.
        artifacts_id: its random id; empty for a study of version 1 of the tables.
        root: URL or path of the artifacts, for files that no row names.
        urls: URLs of its checkpoints.

    Raises:
        StorageError: fsspec does not support one of the URLs.
    """

    def __init__(self, study: str, artifacts_id: str, root: str, urls: Sequence[str]) -> None:
        name = study_folder(study, artifacts_id)
        self._own = bool(artifacts_id)
        self._urls = list(dict.fromkeys(_canonical(url) for url in urls))
        places = [url.rpartition(f"/{name}/")[0] for url in self._urls if f"/{name}/" in url]
        self._named = list(dict.fromkeys(f"{place}/{name}" for place in places))
        roots = [_canonical(root), _canonical(str(Path.cwd() / LOGS))]
        self._folders = list(dict.fromkeys([*self._named, *(f"{place}/{name}" for place in roots)]))

    def missing(self) -> list[str]:
        """Folders that held checkpoints and do not exist now, as paths or URLs for messages.

        Raises:
            StorageError: their store does not answer.
        """
        return [_shown(folder) for folder in self._named if not exists(folder)]

    def size(self) -> int:
        """Bytes of all files that would be deleted.

        Raises:
            StorageError: their store does not answer.
        """
        return sum(self._found().values())

    def remove(self) -> Removed:
        """Delete the files that exist, and the folders that are then empty.

        Raises:
            StorageError: a file cannot be deleted.
        """
        found = self._found()
        for url in found:
            try:
                files, path = file_system(url)
                os.unlink(path) if _is_local(files) else files.rm_file(path)
            except FileNotFoundError:
                continue
            except Exception as error:  # each file system has errors of its own
                raise StorageError(f"'{_shown(url)}' cannot be deleted: {one_line(error)}") from error
        left = [_shown(folder) for folder in self._folders if not _prune(folder)]
        return Removed(len(found), sum(found.values()), tuple(left))

    def _found(self) -> dict[str, int]:
        """URL -> bytes of all files that exist."""
        found: dict[str, int] = {}
        for place in [*self._urls, *(self._folders if self._own else ())]:
            try:
                files, path = file_system(place)
                found |= {files.unstrip_protocol(name): size for name, size in _sizes(files, path)}
            except Exception as error:  # each file system has errors of its own
                raise StorageError(f"'{_shown(place)}' cannot be listed: {one_line(error)}") from error
        return found


def _is_local(files: Any) -> bool:
    return isinstance(files, LocalFileSystem)


def _canonical(place: str) -> str:
    try:
        files, path = file_system(place)
    except Exception as error:  # each file system has errors of its own
        raise StorageError(f"the artifacts '{_shown(place)}' cannot be used: {one_line(error)}") from error
    return files.unstrip_protocol(path).rstrip("/")


def _info(files: Any, path: str) -> dict[str, Any] | None:
    """Fsspec's description of a file or a folder; None if it does not exist. Its `exists` hides failures."""
    try:
        return files.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sizes(files: Any, path: str) -> Iterator[tuple[str, int]]:
    """Path and bytes of a file, or of all files below a folder; links are not followed."""
    info = _info(files, path)
    if info is None:
        return
    if info["type"] != "directory":
        yield path, int(info.get("size") or 0)
    elif not _is_local(files):
        found = files.find(path, detail=True)
        yield from ((name, int(below.get("size") or 0)) for name, below in found.items())
    else:
        for folder, folders, names in os.walk(path):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in [*names, *links]:
                file = os.path.join(folder, name)
                yield file, os.lstat(file).st_size


def _prune(folder: str) -> bool:
    """Delete a folder and its subfolders if they are empty; returns whether the folder is gone."""
    files, path = file_system(folder)
    if not _is_local(files):
        return _info(files, path) is None  # object stores have no empty folders
    top = Path(path)
    if not top.is_dir():
        return True
    for place in [*sorted((below for below in top.rglob("*") if below.is_dir()), reverse=True), top]:
        if not any(place.iterdir()):
            place.rmdir()
    return not top.exists()


def _shown(place: str) -> str:
    return place.removeprefix("file://")
