"""Data sets of the user: each a folder with a manifest and arrays, made once and checked on every read.

A folder is written atomically (temporary folder, fsync, rename); its manifest has the digest of its arrays.
`folders` reads the files of the user, `tasks` makes a task of a data set.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

import numpy as np
import platformdirs
from pydantic import Field

from space.catalog import load_catalog
from space.errors import NotFoundError, StudyFileError, TaskError, nearest
from space.files import delete_folder, sync, write_folder_atomically
from space.machine import Place
from space.records import SPLITS, Frozen, Split
from trainers.tasks.begun import Begun
from trainers.tasks.cache import BEGUN, forget
from trainers.tasks.datasets.content import MAPPED, Arrays, Content, Kind, LeftOut, Progress, open_content
from trainers.tasks.datasets.folders import Told, find_licence, read_folder
from trainers.tasks.mapped import pieces
from trainers.tasks.registry import ENTRY_POINTS

ENVIRONMENT = "PATHFRONT_DATA"
DATA = Place("data sets", ENVIRONMENT, lambda: f"{platformdirs.user_data_dir('pathfront')}/data")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MANIFEST, ARRAYS = "manifest.json", "arrays.npz"
SCHEMA_VERSION = 1


class Manifest(Frozen):
    """Facts of a data set, without its arrays.

    Attributes:
        schema_version: of this record.
        name: the name of its task.
        kind: images, sounds, text, pairs or control.
        source: the folder or the URL that it came from.
        items: images, sounds, documents, pairs or demonstrations in all.
        splits: how many of them each split has.
        rule: how the splits were chosen, in words.
        left_out: repeated items and paragraphs that were removed.
        unreadable: items that were left out because they could not be read.
        labels: names of the labels, by index; empty for text.
        side: pixels that the shorter side of an image has at most; None where only thumbnails are kept.
        seconds: that a sound has at most; None where only one second is kept.
        licence: as the source states it, if it does.
        facts: of pairs: which fields they were made of, `metric` and why.
        sha256: digest of kind, labels, metric and arrays.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    kind: Kind
    source: str
    items: int
    splits: dict[Split, int]
    rule: str
    left_out: int
    unreadable: int = 0
    labels: tuple[str, ...]
    side: int | None = None
    seconds: float | None = None
    licence: str | None
    facts: dict[str, str] = Field(default_factory=dict)
    sha256: str


def data_folder() -> Path:
    """The folder of all data sets: $PATHFRONT_DATA, or a folder in the user's home.

    Raises:
        MachineError: the user has no home folder.
    """
    return DATA.folder


def dataset_names() -> list[str]:
    """Names of all data sets that were added.

    Raises:
        MachineError: the folder of data sets cannot be read.
    """
    with DATA.errors(), contextlib.suppress(FileNotFoundError):
        return sorted(p.name for p in data_folder().iterdir() if NAME.fullmatch(p.name) and p.is_dir())
    return []


class Dataset:
    """A data set on disk; its arrays are read once, when they are first needed.

    Args:
        folder: with manifest and arrays.
        manifest: what the folder's says.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @cached_property
    def arrays(self) -> Arrays:
        """As in `Content`; read-only.

        Raises:
            TaskError: they are damaged, or were replaced since the data set was opened.
            MachineError: they cannot be read.
        """
        arrays = self._mapped() if self._is_mapped else self._unpacked()
        if (
            _digest(self.manifest.kind, self.manifest.labels, arrays, self.manifest.facts)
            != self.manifest.sha256
        ):
            if _read_dataset(self.folder).manifest != self.manifest:
                raise TaskError(f"data set '{self.manifest.name}' was replaced meanwhile; start again")
            raise _damaged(self.folder)
        for array in arrays.values():
            array.flags.writeable = False
        return arrays

    @property
    def _is_mapped(self) -> bool:
        """Whether the arrays are files of their own; older ones are not."""
        return not (self.folder / ARRAYS).exists()

    def _mapped(self) -> Arrays:
        with DATA.errors():
            try:
                return open_content(self.manifest.kind, self.folder)
            except (FileNotFoundError, ValueError):
                raise _damaged(self.folder) from None

    def _unpacked(self) -> Arrays:
        content = io.BytesIO(_bytes(self.folder / ARRAYS))
        try:
            with np.load(content, allow_pickle=False) as found:
                return dict(found)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
            raise _damaged(self.folder) from None

    @property
    def content_digest(self) -> str:
        """SHA-256 of the data, used in cache keys instead of the data."""
        return self.manifest.sha256

    @property
    def size(self) -> int:
        """Bytes on disk.

        Raises:
            TaskError: a file is missing or was cut off.
        """
        with DATA.errors():
            if self._is_mapped:
                self._mapped()
            elif not zipfile.is_zipfile(self.folder / ARRAYS):
                raise _damaged(self.folder)
            return sum(path.stat().st_size for path in self.folder.iterdir())

    def places(self, split: Split) -> np.ndarray:
        """Places of a split's items or documents among all, ascending."""
        return np.flatnonzero(self.arrays["splits"] == SPLITS.index(split))


def open_dataset(name: str) -> Dataset:
    """A data set by its name; the same object while its manifest is unchanged.

    Raises:
        NotFoundError: there is no data set of that name.
        TaskError: its manifest is damaged, or of another version of Pathfront.
        MachineError: it cannot be read.
    """
    if name not in dataset_names():
        raise NotFoundError(f"no data set is called '{name}'{nearest(name, dataset_names())}")
    return _read_dataset(data_folder() / name)


def check_name(name: str) -> None:
    """Check that a name is valid and that no task or suite has it.

    Raises:
        StudyFileError: it is invalid or taken.
    """
    if not NAME.fullmatch(name):
        raise StudyFileError(f"a data set's name has small letters, digits and single hyphens, got '{name}'")
    if (other := taken_by(name)) is not None:
        raise StudyFileError(f"a data set's name is its own, '{name}' is {other}; choose another name")


def taken_by(name: str) -> str | None:
    """What has this name and takes precedence over a data set, in words; None if nothing does."""
    if name in load_catalog().tasks:
        return "a task that ships"
    if name in load_catalog().suites:
        return "a suite that ships"
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return f"a task of the installed package '{point.dist.name if point.dist else point.value}'"
    return None


def add_dataset(
    name: str,
    source: Path,
    progress: Progress,
    kind: Kind | None = None,
    replace: bool = False,
    origin: str | None = None,
    licence: str | None = None,
    left_out: LeftOut | None = None,
    told: Told = Told(),  # noqa: B008 - it is frozen
) -> Dataset:
    """Read a folder or a file and keep it as a data set.

    An add that was interrupted goes on where it was if all arguments and the source are the same.

    Args:
        name: small letters, digits and hyphens.
        source: the folder or the file.
        progress: called with the number of items read and their total, of text with bytes.
        kind: of its content; found from the files if None.
        replace: whether to replace another data set of that name.
        origin: where the source comes from; its path when None.
        licence: of the data; read from the files beside them when None.
        left_out: what is not in the data set is noted there; it says how many items may be unreadable.
        told: what else the user says about the source.

    Raises:
        StudyFileError: the name is invalid, or belongs to other data.
        NotFoundError: there is no such folder.
        TaskError: the source cannot be read as a data set.
        MachineError: the folder of data sets cannot be written, its disk is full, or another process is
            adding a data set of that name.
    """
    check_name(name)
    if not source.exists():
        raise NotFoundError(f"a data set is read from a folder or a file, there is no '{source}'")
    DATA.check_writable()
    licence = licence or find_licence(source)
    left_out = left_out or LeftOut()
    with _begun(name, stays=origin is None) as begun:  # a copy that is deleted is never read again
        with DATA.errors():
            content = read_folder(source, kind, progress, left_out, begun, told)
        facts = {"name": name, "source": origin or str(source.resolve()), "licence": licence}
        manifest = _manifest(content, left_out.bad, **facts)
        if name in dataset_names() and not replace:
            there = open_dataset(name)
            known = there.manifest
            if known.sha256 != manifest.sha256:
                raise StudyFileError(
                    f"a data set keeps its content, '{name}' has {known.items:,} {known.kind} items from"
                    f" '{known.source}'; choose another name or give --replace"
                )
            assert there.arrays, "the data are undamaged"
            return there
        _write(manifest, content, begun.folder)
    return open_dataset(name)


def remove_dataset(name: str) -> None:
    """Delete a data set, whole, damaged or begun, and what was generated from it.

    Raises:
        NotFoundError: there is no data set of that name.
        MachineError: it cannot be deleted, or another process is adding it.
    """
    if name not in dataset_names() and not is_begun(name):
        raise NotFoundError(f"no data set is called '{name}'{nearest(name, dataset_names())}")
    with _begun(name), DATA.errors(), contextlib.suppress(FileNotFoundError):
        delete_folder(data_folder() / name)
    forget(name)


def is_begun(name: str) -> bool:
    """Whether an add of that name was interrupted and can go on.

    Raises:
        MachineError: the folder of data sets cannot be read.
    """
    with DATA.errors():
        return NAME.fullmatch(name) is not None and _begun_folder(name).is_dir()


def _begun_folder(name: str) -> Path:
    return data_folder() / f".{name}{BEGUN}"


@contextmanager
def _begun(name: str, stays: bool = True) -> Iterator[Begun]:
    """What was converted of a data set before, held by this process; deleted at the end if there is one."""
    with contextlib.ExitStack() as held:
        held.callback(_leave_nothing)
        with DATA.errors():
            begun = held.enter_context(Begun(_begun_folder(name), f"the data set '{name}'", stays))
        yield begun


def _leave_nothing() -> None:
    """Delete the folder of all data sets where it was made for nothing."""
    with contextlib.suppress(OSError):
        data_folder().rmdir()


def _manifest(content: Content, unreadable: int, name: str, source: str, licence: str | None) -> Manifest:
    return Manifest(
        name=name,
        kind=content.kind,
        source=source,
        items=len(content.arrays["splits"]),
        splits=content.sizes,
        rule=content.rule,
        left_out=content.left_out,
        unreadable=unreadable,
        labels=content.labels,
        side=content.side,
        seconds=content.seconds,
        licence=licence,
        facts=content.facts,
        sha256=_digest(content.kind, content.labels, content.arrays, content.facts),
    )


def _write(manifest: Manifest, content: Content, scratch: Path) -> None:
    """Write a data set into a new folder, which then replaces any other of its name.

    Its files are those in the scratch folder, which move. All that takes long or needs room is done before.
    """
    files = [*(f"{array}.bin" for array in MAPPED[content.kind]), MANIFEST]
    with DATA.errors():
        (scratch / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for file in files:
            sync(scratch / file)
        with write_folder_atomically(data_folder() / manifest.name, replace=True) as new:
            for file in files:
                os.replace(scratch / file, new / file)


def _bytes(path: Path) -> bytes:
    """Read a file of a data set; a missing one is a damaged data set, an unreadable one a MachineError."""
    with DATA.errors():
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise _damaged(path.parent) from None


def _read_dataset(folder: Path) -> Dataset:
    """The data set in a folder; a manifest that cannot be parsed is a damaged data set."""
    try:
        return _opened(folder, _bytes(folder / MANIFEST))
    except ValueError:
        raise _damaged(folder) from None


@lru_cache(maxsize=64)
def _opened(folder: Path, text: bytes) -> Dataset:
    found = json.loads(text)
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise TaskError(
            f"a data set has schema version {SCHEMA_VERSION}, '{folder.name}' has {version};"
            " add it again with --replace"
        )
    manifest = Manifest.model_validate(found)
    if manifest.name != folder.name:
        raise _damaged(folder)
    return Dataset(folder, manifest)


def _digest(kind: Kind, labels: tuple[str, ...], arrays: Arrays, facts: dict[str, str]) -> str:
    """SHA-256 of the content of a data set, independent of its compression."""
    metric = [facts["metric"]] if "metric" in facts else []
    digest = hashlib.sha256(json.dumps([kind, labels, *metric]).encode())
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        for piece in pieces(array):
            digest.update(piece)
    return digest.hexdigest()


def _damaged(folder: Path) -> TaskError:
    return TaskError(f"data set '{folder.name}' is damaged in '{folder}'; add it again with --replace")
