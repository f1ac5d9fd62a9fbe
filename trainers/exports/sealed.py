"""Files with their SHA-256 beside them, and a report that keeps a training's checkpoints as such files."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from space.contract import CheckpointKind
from space.errors import CheckpointError
from space.files import umask_mode
from space.recipe import WEIGHTS_FILE

Progress = Callable[[int, float, float | None], None]  # tokens so far, loss, tokens per second since the last


def write_sealed(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a file aside, put its SHA-256 beside it, and move it into place."""
    aside = path.with_name(f".{path.name}.part")
    with umask_mode(aside):
        save(aside)
    with aside.open("rb+") as file:
        os.fsync(file.fileno())
    with _seal(path).open("w", encoding="ascii") as file:
        file.write(f"{file_sha256(aside)}  {path.name}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def check_seal(path: Path) -> None:
    """Check a file against the SHA-256 beside it.

    Raises:
        CheckpointError: one of the two is missing, or they disagree.
    """
    seal = _seal(path)
    if not seal.is_file():
        raise CheckpointError(f"'{path}' has its SHA-256 beside it in '{seal.name}', which is missing")
    check_sha256(path, seal.read_text(encoding="utf-8", errors="replace").split(" ")[0])


def check_sha256(path: Path, expected: str) -> None:
    """Check that a file of an export is there and is what it was.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"an export holds '{path.name}', and '{path.parent}' has none")
    found = file_sha256(path)
    if found != expected:
        raise CheckpointError(
            f"'{path}' is damaged: its SHA-256 is {expected[:12]}..., got {found[:12]}...;"
            " remove it, or restore it from a copy"
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_sealed(path: Path) -> None:
    """Delete a file and its SHA-256; neither need exist."""
    path.unlink(missing_ok=True)
    _seal(path).unlink(missing_ok=True)


def _seal(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


class FolderReport:
    """Checkpoints into a folder, progress to a function.

    Args:
        home: the folder.
        progress: told of each point of the curve.
        stopping: asked whether to stop.
        before_weights: called before the decayed weights are replaced.
    """

    def __init__(
        self,
        home: Path,
        progress: Progress,
        stopping: Callable[[], bool],
        before_weights: Callable[[], None] = lambda: None,
    ) -> None:
        self.home = home
        self._tell = progress
        self._stopping = stopping
        self._before_weights = before_weights
        self._last: tuple[float, int] | None = None

    @property
    def stopping(self) -> bool:
        """Whether the caller wants to stop."""
        return self._stopping()

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Pass a point of the curve on, with the speed since the last one, which the first has not."""
        now = time.monotonic()
        speed = None
        if self._last is not None and now > self._last[0]:
            speed = (tokens - self._last[1]) / (now - self._last[0])
        self._last = (now, tokens)
        self._tell(tokens, loss, speed)

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Keep the last checkpoints of trunk and decay branch, and the decayed weights."""
        if kind == "decayed":
            self._before_weights()
            write_sealed(self.home / WEIGHTS_FILE, save)
            return
        path = self.home / f"{kind}-{tokens:015d}.ckpt"
        write_sealed(path, save)
        for older in self._checkpoints(kind):
            if older != path:
                remove_sealed(older)

    def last(self, kind: CheckpointKind) -> Path | None:
        """The last checkpoint of a kind, checked.

        Raises:
            CheckpointError: it is damaged.
        """
        found = self._checkpoints(kind)
        if not found:
            return None
        check_seal(found[-1])
        return found[-1]

    def drop_branch(self) -> None:
        """Delete the decay branch's checkpoints: it is over, or another one is wanted."""
        for path in self._checkpoints("branch"):
            remove_sealed(path)

    def _checkpoints(self, kind: CheckpointKind) -> list[Path]:
        return sorted(self.home.glob(f"{kind}-*.ckpt"))
