"""Resources of this machine: the CPU cores a process may use, and the folders for generated files.

This module imports neither torch nor a database, so that both the search and the trainers can use it.
"""

import errno
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from space.errors import MachineError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
PROBE = 4096  # bytes written to test a folder
ESCAPED = re.compile(r"\\([0-7]{3})")


def cpu_count(root: Path = Path("/")) -> int:
    """CPU cores that this process may use, by its affinity and the quotas of its control groups.

    Args:
        root: folder that contains /proc and the mounted control groups.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in cpu_quotas(root))]))


def cpu_quotas(root: Path = Path("/")) -> Iterator[float]:
    """CPU quotas, in cores, of this process's control group and of its parents (versions 1 and 2).

    See https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max, and
    https://docs.kernel.org/scheduler/sched-bwc.html for version 1. A system without control groups has none.
    """
    for mount, inside, version in _cpu_mounts(root):
        group = _group(root, version)
        if group is None:
            continue
        for folder in _upwards(root / mount.lstrip("/"), inside, group):
            quota = _quota_v2(folder) if version == 2 else _quota_v1(folder)
            if quota is not None:
                yield quota


@dataclass(frozen=True)
class Place:
    """A folder on this machine that an environment variable can move.

    Attributes:
        what: what the folder contains, as a plural noun for error messages.
        variable: the environment variable.
        default: returns the folder if the variable is not set.
    """

    what: str
    variable: str
    default: Callable[[], str]

    @property
    def folder(self) -> Path:
        """The folder; it need not exist.

        Raises:
            MachineError: the user has no home folder.
        """
        folder = os.environ.get(self.variable) or self.default()
        if folder.startswith("~"):
            raise MachineError(
                f"{self.what} are kept in the user's home folder, and there is none;"
                f" name a folder with {self.variable}"
            )
        return Path(folder)

    def check_writable(self) -> None:
        """Check that the folder can be written; see the function `check_writable`.

        Raises:
            MachineError: the folder cannot be written, or its disk is full.
        """
        check_writable(self.folder, self.what, self.variable)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Convert an OSError about the folder.

        Raises:
            MachineError: the folder cannot be used, or its disk is full.
        """
        try:
            yield
        except OSError as error:
            raise folder_error(error, self.folder, self.what, self.variable) from error


def check_writable(folder: Path, what: str, variable: str) -> None:
    """Write a temporary file into a folder, or into its nearest parent that exists.

    Args:
        folder: the folder.
        what: what the folder will contain, as a plural noun.
        variable: the environment variable that moves the folder.

    Raises:
        MachineError: the folder cannot be written, or its disk is full.
    """
    try:
        _probe(folder)
    except OSError as error:
        raise folder_error(error, folder, what, variable) from error


def check_output(path: Path) -> None:
    """Check that a file or a folder can be made, before the work of which it will hold the result.

    Raises:
        MachineError: its folder cannot be written, or the disk is full.
    """
    try:
        _probe(path.absolute().parent)
    except OSError as error:
        why = "its disk is full" if error.errno in FULL else error.strerror or error
        raise MachineError(f"'{path}' cannot be written: {why}") from error


def _probe(folder: Path) -> None:
    """Write a temporary file into a folder, or into its nearest parent that exists.

    Raises:
        OSError: it cannot be written.
    """
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    with tempfile.TemporaryFile(dir=nearest) as file:
        file.write(bytes(PROBE))
        file.flush()


def folder_error(error: OSError, folder: Path, what: str, variable: str) -> MachineError:
    """The error for a folder that cannot be used: its content, the reason, and the variable that moves it."""
    if error.errno in FULL:
        return MachineError(
            f"the disk of '{folder}' is full, where {what} are kept; make room, or name another folder"
            f" with {variable}"
        )
    return MachineError(
        f"{what} are kept in '{folder}', which cannot be used: {error.strerror or error};"
        f" name another folder with {variable}"
    )


def _cpu_mounts(root: Path) -> Iterator[tuple[str, str, int]]:
    """Mount point, mounted group and version of each control-group hierarchy that may limit CPU cores."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        inside, mount = (_unescaped(name) for name in before.split()[3:5])
        kind, _, options = after.split(maxsplit=2)
        if kind == "cgroup2":
            yield mount, inside, 2
        elif kind == "cgroup" and "cpu" in options.split(","):
            yield mount, inside, 1


def _group(root: Path, version: int) -> str | None:
    """This process's control group in the hierarchy that limits CPU cores."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if (not controllers and version == 2) or ("cpu" in controllers.split(",") and version == 1):
            return path
    return None


def _upwards(mount: Path, inside: str, group: str) -> Iterator[Path]:
    """The folder of a control group and of its parents, as far as they are mounted here."""
    try:
        below = PurePosixPath(group).relative_to(inside).parts
    except ValueError:  # a container that sees only its own group, by the host's name for it
        below = ()
    if ".." in below:
        below = ()
    for depth in range(len(below), -1, -1):
        yield mount.joinpath(*below[:depth])


def _quota_v2(folder: Path) -> float | None:
    for line in _lines(folder / "cpu.max"):
        quota, period = line.split()
        return None if quota == "max" else int(quota) / int(period)
    return None


def _quota_v1(folder: Path) -> float | None:
    numbers = [int(line) for name in ("quota", "period") for line in _lines(folder / f"cpu.cfs_{name}_us")]
    return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[0] > 0 else None


def _lines(path: Path) -> list[str]:
    """Lines of a file in /proc or /sys; none if it does not exist or cannot be read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _unescaped(name: str) -> str:
    return ESCAPED.sub(lambda found: chr(int(found[1], 8)), name)
