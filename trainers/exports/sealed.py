"""Files with their SHA-256 beside them, and a report that writes a training's checkpoints as such files.

The digest of `model.safetensors` is in `model.safetensors.sha256`, in the format of `sha256sum`.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from space.contract import CheckpointKind
from space.errors import CheckpointError
from space.files import PART, file_sha256, write_atomically
from space.recipe import WEIGHTS_FILE

Progress = Callable[[int, float, float | None], None]  # tokens so far, loss, tokens per second since the last


def write_sealed(path: Path, content: str | Callable[[Path], object]) -> None:
    """Write a file atomically, with its SHA-256 beside it.

    A process killed at any moment leaves the old file or the new one, and a digest that fits it. Only one
    process may write sealed files into a folder: what a killed one left half written is deleted here.

    Args:
        path: the file.
        content: text, or a function that writes one file at the path that it is given.

    Raises:
        OSError: it cannot be written; the old file and its digest are unchanged.
    """
    for left in path.parent.glob(f".*{PART}"):
        left.unlink()
    seal = _seal(path)
    before = seal.read_text(encoding="ascii") if seal.is_file() and path.is_file() else ""

    def save(part: Path) -> None:
        if callable(content):
            content(part)
        else:
            part.write_text(content, encoding="utf-8")
        # from here until the file has its name, the digests of the old and of the new one are both valid
        write_atomically(seal, f"{file_sha256(part)}  {path.name}\n{before}")

    write_atomically(path, save)
    if before:
        write_atomically(seal, seal.read_text(encoding="ascii").partition("\n")[0] + "\n")


def check_seal(path: Path) -> None:
    """Check a file against the SHA-256 beside it.

    Raises:
        CheckpointError: the file or its SHA-256 is missing, or they disagree.
    """
    seal = _seal(path)
    if not seal.is_file():
        raise CheckpointError(f"'{path}' has its SHA-256 beside it in '{seal.name}', which is missing")
    lines = seal.read_text(encoding="utf-8", errors="replace").splitlines()
    check_sha256(path, *(line.split(" ")[0] for line in lines or [""]))


def check_sha256(path: Path, *expected: str) -> None:
    """Check that a file exists and has one of the expected digests.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"an export holds '{path.name}', and '{path.parent}' has none")
    found = file_sha256(path)
    if found not in expected:
        raise CheckpointError(
            f"'{path}' is damaged: its SHA-256 is {expected[0][:12]}..., got {found[:12]}...;"
            " remove it, or restore it from a copy"
        )


def remove_sealed(path: Path) -> None:
    """Delete a file and its SHA-256, where they exist."""
    path.unlink(missing_ok=True)
    _seal(path).unlink(missing_ok=True)


def _seal(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


class FolderReport:
    """A `Report` that writes checkpoints into a folder and passes progress to a function.

    Args:
        home: the folder.
        progress: called for each point of the training curve.
        stopping: returns whether to stop at the next checkpoint.
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
        """Whether to stop at the next checkpoint."""
        return self._stopping()

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Pass on a point of the curve, with the tokens per second since the last one (None at the first)."""
        now = time.monotonic()
        speed = None
        if self._last is not None and now > self._last[0]:
            speed = (tokens - self._last[1]) / (now - self._last[0])
        self._last = (now, tokens)
        self._tell(tokens, loss, speed)

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Write a checkpoint; it replaces the last one of its kind."""
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
        """The last checkpoint of a kind, checked against its SHA-256; None if there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        found = self._checkpoints(kind)
        if not found:
            return None
        check_seal(found[-1])
        return found[-1]

    def drop_branch(self) -> None:
        """Delete the decay branch's checkpoints, when the branch is finished or the plan has changed."""
        for path in self._checkpoints("branch"):
            remove_sealed(path)

    def _checkpoints(self, kind: CheckpointKind) -> list[Path]:
        return sorted(self.home.glob(f"{kind}-*.ckpt"))
