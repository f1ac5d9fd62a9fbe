"""All errors that a user sees as one line, as one tree of exceptions.

```
PathfrontError              exit 1
├── StudyFileError          exit 2   a study file, an option or a value breaks a rule
├── NotFoundError           exit 3   a study, a trial, a task or a folder does not exist
├── StorageError            exit 4   a database or an artifact folder cannot be used
│   ├── StorageUnavailable  exit 4   it does not answer now; the same call may succeed later
│   └── StorageFull         exit 4   no space is left for a file
├── MachineError            exit 1   this machine cannot train: its disk, cache, device or an import
├── TaskError               exit 1   a task breaks the contract of tasks
│   └── WeakExpert          exit 1   its expert does not clear its floor
├── CheckpointError         exit 1   a checkpoint or an export is damaged
├── Diverged                exit 1   the training of a candidate diverged: a result, not a crash
├── LeaseLost               exit 1   another worker has taken this trial over
└── Interrupted             exit 130 a signal or a user asked the run to stop
    └── Terminated          exit 143 by SIGTERM
```

Each message is one line: the rule, then the values that broke it, then the fix.
"""

from collections.abc import Iterable
from difflib import get_close_matches

LISTED = 12  # most names in an error line


class PathfrontError(Exception):
    """The base class of all errors that are shown to a user as one line."""

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
        errno: the error number of the operating system, if it is known, such as ENOSPC for a full disk.
    """

    exit_code = 4
    errno: int | None = None


class StorageUnavailable(StorageError):  # noqa: N818
    """A database or an artifact store does not answer now; the same call may succeed later."""


class StorageFull(StorageError):  # noqa: N818
    """No space is left for a file: the disk is full, or a quota or a limit on file sizes is reached."""


class MachineError(PathfrontError):
    """This machine cannot train: its disk, cache, device or an import fails. Candidates are not at fault."""


class TaskError(PathfrontError):
    """A task breaks the contract of tasks."""


class WeakExpert(TaskError):  # noqa: N818
    """An expert does not clear its task's floor by two standard errors."""


class CheckpointError(PathfrontError):
    """A checkpoint or an export is damaged."""


class Diverged(PathfrontError):  # noqa: N818 - a result, not a fault
    """The training of a candidate diverged. The trial fails without a retry, and counts as a result."""


class LeaseLost(PathfrontError):  # noqa: N818 - an event, not a fault
    """Another worker has taken this trial over."""


class Interrupted(PathfrontError):  # noqa: N818
    """A signal or a user asked the run to stop; it has reached a checkpoint."""

    exit_code = 130


class Terminated(Interrupted):
    """SIGTERM asked the run to stop; it has reached a checkpoint."""

    exit_code = 143


def one_line(error: object, most: int | None = None) -> str:
    """The message of an error, or any text, on one line.

    Args:
        error: an exception or its message; line breaks and runs of spaces become single spaces. An error of
            the operating system is the file's name and the reason, without its number.
        most: longest text; None does not cut it.

    Returns:
        The line; the exception's type where it has no message.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename2 is None:
        text = error.strerror if error.filename is None else f"'{error.filename}': {error.strerror}"
    text = " ".join(text.split())
    if not text and isinstance(error, BaseException):
        text = type(error).__name__
    return text if most is None else text[:most]


def closest(name: object, known: Iterable[str]) -> str:
    """Suggest the known name that is closest to a wrong one, for a line that lists the known ones itself.

    Returns:
        A clause that starts with "; ", for the end of an error line; empty if no name is close.
    """
    close = get_close_matches(str(name), sorted(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest(name: object, known: Iterable[str]) -> str:
    """Suggest the known name that is closest to a wrong one, or list the known names.

    Returns:
        A clause that starts with "; ", for the end of an error line; empty if no names are known.
    """
    names = sorted(known)
    likely = closest(name, names)
    if likely:
        return likely
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"; known: {', '.join(names[:LISTED])}{more}" if names else ""
