"""Find a task by name: in a family that ships, by class path, by entry point, or among added data sets.

A family is a module with a dict `TASKS`: name of a task -> a class or a partial of one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from space.catalog import load_catalog
from space.errors import MachineError, NotFoundError, PathfrontError, TaskError, nearest
from space.plugins import describe_error, load_object
from space.records import SuiteRecord
from trainers.tasks.base import Task
from trainers.tasks.simulators import missing_simulator
from trainers.tasks.tokenizer import suite_tokenizer
from trainers.tokens.text import Tokenizer

ENTRY_POINTS = "pathfront.tasks"
FAMILIES = {
    "babyai": "trainers.tasks.families.babyai",
    "box2d": "trainers.tasks.families.box2d",
    "classic-control": "trainers.tasks.families.classic_control",
    "concepts": "trainers.tasks.families.concepts",
    "dm-control": "trainers.tasks.families.dm_control.tasks",
    "images": "trainers.tasks.families.images",
    "metaworld": "trainers.tasks.families.metaworld.tasks",
    "minigrid": "trainers.tasks.families.minigrid.tasks",
    "mujoco": "trainers.tasks.families.mujoco_pendulums",
    "shapes": "trainers.tasks.families.shapes",
    "sounds": "trainers.tasks.families.sounds.tasks",
    "symbols": "trainers.tasks.families.symbols",
    "tabular": "trainers.tasks.families.tabular",
    "text": "trainers.tasks.families.text",
    "toy-text": "trainers.tasks.families.toy_text.tasks",
}
ADDED = "trainers.tasks.datasets.tasks"  # data sets of the user

Factory = Callable[[SuiteRecord, Tokenizer, int | None], Task]


def load_task(
    name: str,
    suite: SuiteRecord,
    tokenizer: Tokenizer | None = None,
    train_episodes: int | None = None,
) -> Task:
    """Open a task.

    Args:
        name: of a shipped task, of an entry point in the group `pathfront.tasks`, or "package.module:Class".
        suite: sequence settings.
        tokenizer: the suite's own when None.
        train_episodes: how many expert episodes it has; its own number when None.

    Raises:
        NotFoundError: there is no such task, module or class.
    """
    return task_factory(name)(suite, tokenizer or suite_tokenizer(suite), train_episodes)


def task_factory(name: str) -> Factory:
    """The class of a task, or a partial of it.

    Raises:
        NotFoundError: there is no such task, module or class.
        MachineError: its module, or the simulator that it needs, cannot be imported here.
        TaskError: what the name leads to cannot be called.
    """
    if ":" in name:
        return _by_path(name, name)
    known = load_catalog().tasks.get(name)
    if known is not None and known.family in FAMILIES:  # so that other families are not imported
        found = family_tasks(known.family).get(name)
        if found is not None:
            return found
    points = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    if name in points:
        return _by_path(points[name], name)
    added = import_module(ADDED)
    if (mine := added.open_added(name)) is not None:
        return mine
    shipped = _importable_tasks()
    if name not in shipped:
        names = [*load_catalog().tasks, *shipped, *points, *added.added_names()]
        raise NotFoundError(f"no task is called '{name}'{nearest(name, set(names))}")
    return shipped[name]


def require(tasks: Iterable[str]) -> None:
    """Import the classes of some tasks, so that a missing one is found before anything is made.

    Raises:
        NotFoundError: one of them does not exist, as when its file is in another folder.
        MachineError: its module, or the simulator that it needs, cannot be imported here.
        TaskError: what a name leads to cannot be called.
    """
    for name in tasks:
        task_factory(name)


def family_tasks(family: str) -> Mapping[str, Factory]:
    """The tasks of a family that ships, by name.

    Raises:
        NotFoundError: there is no family of that name.
        MachineError: the simulator of its tasks cannot be imported here; the message says how to install it.
    """
    if family not in FAMILIES:
        raise NotFoundError(f"no family is called '{family}'{nearest(family, FAMILIES)}")
    missing = missing_simulator(family)
    if missing is not None:
        raise MachineError(f"tasks of family '{family}' need {missing}")
    try:
        return import_module(FAMILIES[family]).TASKS
    except (ImportError, OSError) as error:  # a library of the system that the simulator loads
        raise MachineError(
            f"tasks of family '{family}' cannot be used here: {describe_error(error)}"
        ) from error


def shipped_tasks() -> dict[str, Factory]:
    """All tasks that ship, by name; imports every family.

    Raises:
        MachineError: a simulator cannot be imported here.
    """
    return {name: factory for family in FAMILIES for name, factory in family_tasks(family).items()}


def ships(name: str) -> bool:
    """Whether a task ships with Pathfront."""
    return ":" not in name and (name in load_catalog().tasks or name in _importable_tasks())


@contextmanager
def blamed(task: str) -> Iterator[None]:
    """Convert errors of a task's own code to one line that names the task, the file and the line.

    Raises:
        MachineError: an import fails on this machine.
        TaskError: any other error, except those of Pathfront and of the operating system.
    """
    try:
        yield
    except (PathfrontError, OSError, MemoryError):
        raise
    except ImportError as error:
        raise MachineError(f"task '{task}' cannot be used here: {describe_error(error)}") from error
    except Exception as error:
        raise TaskError(f"task '{task}' raises {describe_error(error)}") from error


def _importable_tasks() -> dict[str, Factory]:
    """The tasks that ship of all families whose simulators can be imported here."""
    found: dict[str, Factory] = {}
    for family in FAMILIES:
        with suppress(MachineError):
            found.update(family_tasks(family))
    return found


def _by_path(path: str, name: str) -> Factory:
    whose = "your own task" if path == name else f"task '{name}' of an installed package"
    found = load_object(path, f"{whose}: a class as package.module:Class")
    if not callable(found):
        raise TaskError(f"a task is a class, got '{path}', which is a {type(found).__name__}")
    return cast(Factory, found)
