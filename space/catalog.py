"""The catalog of tasks and suites: their names, senses and references, as data.

`catalog.json` beside this file holds the tasks that ship; `pathfront-tasks.json` in the working folder
(`PATHFRONT_TASKS` moves it) those that a user measured. `pathfront tasks measure` writes both. This module
does not know how a task is played.
"""

import os
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from space.errors import NotFoundError, TaskError, closest, nearest
from space.files import write_atomically
from space.machine import check_writable, folder_error
from space.records import Frozen, SuiteRecord, TaskRecord

SHIPPED = Path(str(files("space") / "catalog.json"))
LOCAL_FILE = "pathfront-tasks.json"
LOCAL_ENVIRONMENT = "PATHFRONT_TASKS"
LOCAL_WHAT = "references of your own tasks"
OWN_SETTINGS = "gato"  # the suite whose sequence settings apply to tasks of users


class Catalog(Frozen):
    """All tasks and suites that ship with Pathfront."""

    tasks: dict[str, TaskRecord]
    suites: dict[str, SuiteRecord]

    def task(self, name: str) -> TaskRecord:
        """Find a task by its name.

        Raises:
            NotFoundError: there is no task of that name.
        """
        if name not in self.tasks:
            raise NotFoundError(f"no task is called '{name}'{nearest(name, self.tasks)}")
        return self.tasks[name]

    def suite(self, name: str) -> SuiteRecord:
        """Find a suite by its name, with the records of its tasks.

        Raises:
            NotFoundError: there is no suite of that name.
        """
        if name not in self.suites:
            raise NotFoundError(f"no suite is called '{name}'{nearest(name, self.suites)}")
        suite = self.suites[name]
        return suite.model_copy(update={"records": {task: self.task(task) for task in suite.tasks}})

    def of_tasks(self, tasks: tuple[str, ...], own: "Mapping[str, Measured]") -> SuiteRecord:
        """A suite of some tasks, with the sequence settings of the first suite that contains all of them.

        Args:
            tasks: names of the tasks.
            own: the user's measured tasks. A suite with one of them has the settings of `OWN_SETTINGS`.

        Raises:
            NotFoundError: a task is neither in the catalog nor among the measured ones.
        """
        for name in tasks:
            if name not in self.tasks and name not in own:
                raise NotFoundError(_unknown(name, [*self.tasks, *own]))
        mine = {name: own[name] for name in tasks if name not in self.tasks}
        shipped = [name for name in tasks if name not in mine]
        fitting = [s for s in self.suites.values() if not mine and set(shipped) <= set(s.tasks)]
        whole = fitting[0] if fitting else self.suites[OWN_SETTINGS]
        parts = {
            key: {name: getattr(whole, key)[name] for name in shipped if name in getattr(whole, key)}
            for key in ("patch_share", "episodes", "tokens", "lengths")
        }
        for name, task in mine.items():
            parts["patch_share"][name], parts["episodes"][name] = task.patch_share, task.episodes
            parts["tokens"][name], parts["lengths"][name] = task.tokens, task.length
        records = {name: mine[name].record if name in mine else self.task(name) for name in tasks}
        named = f"{whole.name}[{','.join(tasks)}]"
        return whole.model_copy(update={"name": named, "tasks": tasks, "records": records} | parts)


class Measured(Frozen):
    """A user's task, as `pathfront tasks measure` measured it.

    Attributes:
        record: its record, with references.
        patch_share: encoder -> share of its tokens that are patches, under the settings of `OWN_SETTINGS`.
        episodes: held-out episodes that score a trial.
        tokens: training tokens that its expert episodes have.
        length: tokens of an expert episode, the mean of the first 50.
        frames: of its training sounds, at evenly spaced ranks from the shortest to the longest; empty for a
            task without whole sounds.
    """

    record: TaskRecord
    patch_share: dict[str, float]
    episodes: int
    tokens: int
    length: float
    frames: tuple[int, ...] = ()


def local_path() -> Path:
    """The file of the user's own tasks; it need not exist."""
    return Path(os.environ.get(LOCAL_ENVIRONMENT) or LOCAL_FILE)


def local_catalog() -> dict[str, Measured]:
    """The user's own tasks by name; empty if the file does not exist.

    Raises:
        TaskError: the file is not one that `pathfront tasks measure` wrote.
    """
    path = local_path()
    if not path.is_file():
        return {}
    try:
        return _LOCAL.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise TaskError(
            f"'{path}' holds tasks as `pathfront tasks measure` writes them, and at {where}: {first['msg']}"
        ) from None


def write_local(measured: Measured) -> Path:
    """Add a task to the user's own tasks, replacing one of the same name; returns the file.

    Raises:
        MachineError: the file cannot be written.
    """
    return _keep_local(local_catalog() | {measured.record.name: measured})


def check_local() -> None:
    """Check that the file of the user's own tasks can be read and written, before a long measurement.

    Raises:
        TaskError: the file is not one that `pathfront tasks measure` wrote.
        MachineError: its folder cannot be written, or the disk is full.
    """
    local_catalog()
    check_writable(local_path().absolute().parent, LOCAL_WHAT, LOCAL_ENVIRONMENT)


def forget_local(name: str) -> None:
    """Remove a task from the user's own tasks, if it is there, because its references are outdated.

    Raises:
        MachineError: the file cannot be written.
    """
    known = local_catalog()
    if known.pop(name, None) is not None:
        _keep_local(known)


def _keep_local(tasks: "Mapping[str, Measured]") -> Path:
    path = local_path()
    try:
        write_atomically(path, _LOCAL.dump_json(dict(sorted(tasks.items())), indent=2) + b"\n")
    except OSError as error:
        raise folder_error(error, path.absolute().parent, LOCAL_WHAT, LOCAL_ENVIRONMENT) from error
    return path


_LOCAL = TypeAdapter(dict[str, Measured])


def _unknown(name: str, known: list[str]) -> str:
    if ":" in name:
        return f"task '{name}' has no references yet; measure them: pathfront tasks measure {name}"
    noted = (
        f"; tasks of your own data are noted in '{local_path()}' ({LOCAL_ENVIRONMENT} names another file);"
        f" note it there: pathfront tasks measure {name}"
    )
    return f"no task is called '{name}'{closest(name, known) or noted}"


@cache
def load_catalog() -> Catalog:
    """The catalog that ships with the package, read once."""
    return read_catalog()


def read_catalog() -> Catalog:
    """Read the catalog that ships with the package from its file, as it is now."""
    return Catalog.model_validate_json(SHIPPED.read_text(encoding="utf-8"))
