"""The folder of one study under the artifacts' URL: its name, its marker file, and how it is found.

The folder's name contains an id that is created with the study, so that studies of the same name in several
databases can share a place. The marker file proves that the folder exists: an empty place without it may be a
store that is not mounted, and checkpoints that cannot be reached must not count as lost.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, func, select

from search.database.storage import artifacts_home, reachable, resolve_artifacts
from search.database.tables import checkpoints, events, studies
from search.store.artifacts import Artifacts, Stored, located
from search.store.events import add_event
from space.errors import StorageError

MARKER = "study.json"
LOOKED_AT = 16  # newest checkpoints that a worker looks for if the marker is missing
_PLACED, _FORGOT = "files", "forgot"  # kinds of events: the folder was created; missing files were given up
_TRIAL_FOLDER = re.compile(r"rung(\d+)-seed(\d+)")

TrialKey = tuple[str, int, int]  # candidate, rung, seed


def study_folder(study: str, artifacts_id: str) -> str:
    """The name of a study's folder.

    Args:
        study: the study's name.
        artifacts_id: its `pf_studies.artifacts_id`; empty for a study from version 1 of the tables.
    """
    return f"{study}-{artifacts_id}" if artifacts_id else study


def trial_folder(candidate: str, rung: int, seed: int) -> str:
    """The path of a trial's checkpoints in its study's folder."""
    return f"{candidate}/rung{rung}-seed{seed}"


class StudyFiles:
    """The files of one study; see `open_files`.

    Args:
        artifacts: the place.
        study: the study's name.
        artifacts_id: its `pf_studies.artifacts_id`.
    """

    def __init__(self, artifacts: Artifacts, study: str, artifacts_id: str) -> None:
        self.artifacts = artifacts
        self.study = study
        self.artifacts_id = artifacts_id
        self.name = study_folder(study, artifacts_id)

    @property
    def place(self) -> str:
        """The path or URL of the study's folder, for messages."""
        return self.artifacts.shown(self.name)

    def is_marked(self) -> bool:
        """Whether the study's folder exists.

        Raises:
            StorageError: the store cannot be read.
        """
        return self.artifacts.holds(f"{self.name}/{MARKER}")

    def mark(self) -> None:
        """Create the folder with its marker file.

        Raises:
            StorageError: it cannot be created.
        """
        self.artifacts.make()
        text = json.dumps({"study": self.study, "artifacts_id": self.artifacts_id})
        self.artifacts.put(f"{self.name}/{MARKER}", lambda path: _write(path, text + "\n"))

    def require(self) -> None:
        """Check that the folder still exists.

        Raises:
            StorageError: it does not.
        """
        if not self.is_marked():
            raise StorageError(f"the folder '{self.place}' was there and has vanished; {self.advice}")

    @property
    def advice(self) -> str:
        """The part of an error message that says what to do about missing files."""
        return (
            "mount the place or move the folder back, then launch the study again; or give up what is"
            f" missing: pathfront retry {self.study} --forget-checkpoints"
        )

    def folder(self, name: str) -> Path:
        """A folder on this machine for the study's logs.

        Raises:
            StorageError: it cannot be created.
        """
        return self.artifacts.folder(f"{self.name}/{name}")

    def put(self, name: str, save: Callable[[Path], None]) -> Stored:
        """Store a file in the study's folder; see `Artifacts.put`.

        Raises:
            StorageError: it cannot be stored, or the study's folder is missing.
            StorageFull: no space is left for it.
        """
        self.require()
        return self.artifacts.put(f"{self.name}/{name}", save)

    def fetch(self, uri: str, sha256: str, folder: Path) -> Path:
        """The path of a stored file on this machine; see `Artifacts.fetch`.

        Raises:
            CheckpointError: the whole file was read, and its content is not what was stored.
            StorageError: it is missing or cannot be read.
            StorageUnavailable: its store does not answer.
        """
        found = self.find(uri)
        if found is None:
            where = located(uri, self.artifacts.home).removeprefix("file://")
            raise StorageError(f"a checkpoint of study '{self.study}' is missing: '{where}'; {self.advice}")
        return self.artifacts.fetch(found, sha256, folder)

    def find(self, uri: str) -> str | None:
        """The current URI of a stored file: its own, or in the place where the study's folder is now.

        Returns:
            The URI; None if the file does not exist.

        Raises:
            StorageError: the store cannot be read.
        """
        if self.artifacts.exists(uri):
            return uri
        name = self._name(uri)
        return self.artifacts.uri(name) if name is not None and self.artifacts.holds(name) else None

    def remove(self, uris: Iterable[str]) -> None:
        """Delete stored files, except those outside a folder of the study's name.

        Raises:
            StorageError: a file cannot be deleted.
        """
        for uri in uris:
            if self._name(uri) is not None:
                self.artifacts.remove(uri)

    def sweep(self, candidate: str, look: Callable[[], tuple[set[TrialKey], Sequence[str]]]) -> None:
        """Delete files that killed workers left in the folders of trials that have ended.

        Files of other trials, and other files in the study's folder, are kept.

        Args:
            candidate: look only in this candidate's folder; everywhere if empty.
            look: reads which trials have ended, and the URIs of the study's stored files. It is called after
                the files are listed, so that a file that gets its row meanwhile does not count as a leftover.

        Raises:
            StorageError: the folder cannot be listed, or a file cannot be deleted.
        """
        if not self.artifacts_id:  # version 1: another database may use the same folder
            return
        listed = self.artifacts.listing(f"{self.name}/{candidate}".rstrip("/"))
        over, uris = look()
        kept = {self._name(uri) for uri in uris}  # independent of where the folder was when they were stored
        for name in listed:
            if self._trial(name) in over and name not in kept:
                self.artifacts.discard(name)

    def _name(self, uri: str) -> str | None:
        """A stored file's path from the study's folder on; None if it is not in such a folder."""
        _, folder, rest = f"/{uri}".rpartition(f"/{self.name}/")
        return f"{self.name}/{rest}" if folder else None

    def _trial(self, name: str) -> TrialKey | None:
        """The trial in whose folder a file is; None if it is in none."""
        candidate, _, rest = name.removeprefix(f"{self.name}/").partition("/")
        found = _TRIAL_FOLDER.fullmatch(rest.partition("/")[0])
        return (candidate, int(found[1]), int(found[2])) if found else None


def open_files(engine: Engine, url: str, study: str, root: str) -> StudyFiles:
    """Find a study's folder, or create it if the study has no files yet.

    The place may change while the files in the old place can still be reached. For a database on a server, if
    the user names no place, it is the study's last place and not the default in the working folder.

    Args:
        engine: the database, open for writing.
        url: its URL.
        study: name of a study that exists.
        root: the artifacts' URL.

    Raises:
        StorageError: the study has files and none of them can be found, or nothing can be stored there.
        StorageUnavailable: the store does not answer.
    """
    with reachable(url), engine.connect() as connection:
        artifacts_id = connection.scalar(select(studies.c.artifacts_id).where(studies.c.name == study)) or ""
        newest = select(checkpoints.c.uri).where(checkpoints.c.study == study)
        uris = connection.scalars(newest.order_by(checkpoints.c.created_at.desc()).limit(LOOKED_AT)).all()
        noted = _places(connection, study)
        total = connection.scalar(select(func.count()).where(checkpoints.c.study == study)) or 0
    files = StudyFiles(Artifacts(root, artifacts_home(url)), study, artifacts_id)
    marked = files.is_marked()
    if not marked and noted and _nobody_chose(url, root):
        first = StudyFiles(Artifacts(noted[-1].rpartition("/")[0]), study, artifacts_id)
        files, marked = (first, True) if first.is_marked() else (files, False)
    if not marked and not _within_reach(files, uris, noted):
        what = f"{total} checkpoints" if total else "a folder"
        earlier = f" (it was '{noted[-1]}')" if noted and noted[-1] != files.place else ""
        raise StorageError(
            f"study '{study}' has {what}, and '{files.place}', where its files are looked for, is not"
            f" there{earlier}; {files.advice}"
        )
    if marked:
        files.artifacts.make()  # raises if it cannot be written
    else:
        files.mark()
    if files.place not in noted:
        with reachable(url), engine.begin() as connection:
            add_event(connection, study, _PLACED, files.place)
    return files


def this_checkpoint(row: Row[Any]) -> Any:
    """The condition for this row of `pf_checkpoints`, as long as it names the same file."""
    columns = (*checkpoints.primary_key.columns, checkpoints.c.uri)
    return and_(*(column == getattr(row, column.name) for column in columns))


def _within_reach(files: StudyFiles, uris: Sequence[str], noted: Sequence[str]) -> bool:
    """Whether a study without a folder under this root may create one there without losing files."""
    if any(files.find(uri) is not None for uri in uris):
        return True
    if uris:
        return False
    if not noted or files.artifacts.home is not None:  # nothing would be lost, and only one machine uses it
        return True
    return any(Artifacts(place).holds(MARKER) for place in noted)


def _nobody_chose(url: str, root: str) -> bool:
    """Whether the place is the default for a database without a folder, and not the user's choice."""
    chosen = os.environ.get("PATHFRONT_ARTIFACTS")
    return not chosen and artifacts_home(url) is None and root == resolve_artifacts(url)


def _places(connection: Connection, study: str) -> list[str]:
    """Places where the study's folder was created, since missing files were last given up."""
    found = connection.execute(
        select(events.c.kind, events.c.text)
        .where(events.c.study == study, events.c.kind.in_((_PLACED, _FORGOT)))
        .order_by(events.c.id)
    )
    places: list[str] = []
    for kind, text in found:
        places = [*places, text] if kind == _PLACED else []
    return places


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
