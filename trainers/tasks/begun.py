"""Folders of work that takes long: an interruption leaves one, and the same work goes on in it later.

One process at a time holds a folder. What is in it states of what it is made, and is deleted where that is
something else.
"""

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from space.errors import Interrupted, MachineError, PathfrontError
from space.files import PART, delete_folder, write_atomically
from trainers.tasks.processes import ProcessDied

LOCK, KEY = "lock", "key.json"
PASSING = (Interrupted, MachineError, ProcessDied)
"""Errors that are not in the data, after which the same work may succeed."""


class InUse(MachineError):  # noqa: N818
    """Another process holds a folder."""


class Begun:
    """A folder that is held within a block; it is deleted at the end unless the work was interrupted.

    An error in the data deletes it, too. On a file system without locks the folder is another one for each
    process, and never stays.

    Args:
        folder: its path.
        what: is made in it, for messages.
        stays: whether an interruption leaves it.

    Attributes:
        folder: where the work is done.
    """

    def __init__(self, folder: Path, what: str, stays: bool = True) -> None:
        self.folder, self._what = folder, what
        self._may_stay = stays
        self._is_ours = False  # what is in the folder belongs to this work
        self._stays = False

    def __enter__(self) -> Self:
        """Make the folder where it is missing, and hold it.

        Raises:
            InUse: another process holds it.
            OSError: it cannot be written.
        """
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # deleted meanwhile
                continue
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                raise InUse(
                    f"one process at a time makes {self._what}, another one does at this moment;"
                    " wait until it ends"
                ) from None
            except OSError:
                self._may_stay = False
                with suppress(OSError):
                    (self.folder / LOCK).unlink()
                    self.folder.rmdir()
                self.folder = Path(tempfile.mkdtemp(prefix=".", suffix=PART, dir=self.folder.parent))
                return self
            if self._is_held():
                return self
            os.close(self._lock)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the folder, or leave it if the work was interrupted; and let go of it."""
        in_data = isinstance(error, PathfrontError) and not isinstance(error, PASSING)
        useless = self._is_ours and (in_data or not self._stays)
        try:
            if error is None or useless or not self._content():
                with suppress(OSError):
                    delete_folder(self.folder)
        finally:
            os.close(self._lock)

    def resume(self, key: object) -> None:
        """Keep what is in the folder if it is made of the same, else delete it; from now on it may stay.

        Args:
            key: everything that the content depends on; it can be written as JSON.

        Raises:
            OSError: the folder cannot be read or written.
        """
        told = json.dumps(key, sort_keys=True)
        path = self.folder / KEY
        if not path.exists() or path.read_bytes() != told.encode():
            self.start_afresh()
            write_atomically(path, told)
        self._is_ours, self._stays = True, self._may_stay

    def start_afresh(self) -> None:
        """Delete what is in the folder; from now on an interruption deletes it, too.

        Raises:
            OSError: the folder cannot be written.
        """
        with suppress(FileNotFoundError):
            (self.folder / KEY).unlink()  # first, so that half of the rest is never taken for the whole
        for path in self._content():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._is_ours, self._stays = True, False

    def _content(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.name != LOCK]

    def _is_held(self) -> bool:
        """Whether the lock is still that of the folder: another process may have deleted it before."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._lock), os.stat(self.folder / LOCK))
        return False
