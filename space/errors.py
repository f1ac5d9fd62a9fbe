"""Everything that Pathfront refuses, as one tree.

```
PathfrontError              exit 1
├── StudyFileError          exit 2   a study file, an option or a value breaks a rule
├── NotFoundError           exit 3   a study, a trial, a task or a folder does not exist
├── StorageError            exit 4   a database or an artifact folder cannot be used
│   ├── StorageUnavailable  exit 4   it does not answer now, and may again in a while
│   └── StorageFull         exit 4   no room is left for a file
├── MachineError            exit 1   this machine cannot train: its disk, cache, device or an import
├── TaskError               exit 1   a task breaks the contract of tasks
├── CheckpointError         exit 1   a checkpoint or an export is damaged
├── LeaseLost               exit 1   another worker has taken this trial over
└── Interrupted             exit 130 somebody asked the run to stop
    └── Terminated          exit 143 by SIGTERM
```

Each message is one line: the rule, then the values that broke it, then the fix.
"""

from collections.abc import Iterable
from difflib import get_close_matches

LISTED = 12  # names that an error line lists at most


class PathfrontError(Exception):
    """The root of what is shown to a user as one line."""

    exit_code = 1


class StudyFileError(PathfrontError):
    """A study file, an option or a value breaks a rule."""

    exit_code = 2


class NotFoundError(PathfrontError):
    """A study, a trial, a task or a folder does not exist."""

    exit_code = 3


class StorageError(PathfrontError):
    """A database or an artifact folder cannot be used.

    Attributes:
        errno: the operating system's number, where it is known: ENOSPC for a full disk.
    """

    exit_code = 4
    errno: int | None = None


class StorageUnavailable(StorageError):  # noqa: N818
    """A database or an artifact store does not answer now; the same call may succeed later."""


class StorageFull(StorageError):  # noqa: N818
    """No room is left for a file: the disk is full, or a quota or a limit on a file's size is reached."""


class MachineError(PathfrontError):
    """This machine cannot train: its disk, cache, device or an import fails. No candidate is to blame."""


class TaskError(PathfrontError):
    """A task breaks the contract of tasks."""


class CheckpointError(PathfrontError):
    """A checkpoint or an export is damaged."""


class LeaseLost(PathfrontError):  # noqa: N818 - an event, named as the field names it
    """Another worker has taken this trial over."""


class Interrupted(PathfrontError):  # noqa: N818
    """Somebody asked the run to stop; it has reached a checkpoint."""

    exit_code = 130


class Terminated(Interrupted):
    """SIGTERM asked the run to stop; it has reached a checkpoint."""

    exit_code = 143


def one_line(error: object, most: int | None = None) -> str:
    """The message of an error, or any text, on one line.

    Args:
        error: an exception or its message; line breaks and runs of spaces become single spaces.
        most: longest text; None does not cut it.

    Returns:
        The line; the exception's type where it has no message.
    """
    text = " ".join(str(error).split())
    if not text and isinstance(error, BaseException):
        text = type(error).__name__
    return text if most is None else text[:most]


def nearest(name: object, known: Iterable[str]) -> str:
    """Say which known name is closest to a wrong one, or which names there are.

    Returns:
        A clause that starts with "; " and fits at the end of an error line; empty if nothing is known.
    """
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"; known: {', '.join(names[:LISTED])}{more}" if names else ""
