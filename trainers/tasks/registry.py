"""From a name to the task: of a family that ships, a class by its path, an entry point, an added data set.

A family is a module with a dict `TASKS`: the name of a task -> what opens it, a class or a partial of one.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from space.catalog import SuiteRecord, load_catalog
from space.errors import NotFoundError, TaskError, nearest
from trainers.tasks.base import Task
from trainers.tasks.tokenizer import suite_tokenizer
from trainers.tokens.text import Tokenizer

ENTRY_POINTS = "pathfront.tasks"
FAMILIES = {
    "babyai": "trainers.tasks.families.babyai",
    "box2d": "trainers.tasks.families.box2d",
    "classic-control": "trainers.tasks.families.classic_control",
    "concepts": "trainers.tasks.families.concepts",
    "dm-control": "trainers.tasks.families.dm_control",
    "images": "trainers.tasks.families.images",
    "metaworld": "trainers.tasks.families.metaworld",
    "minigrid": "trainers.tasks.families.minigrid",
    "mujoco": "trainers.tasks.families.mujoco_pendulums",
    "shapes": "trainers.tasks.families.shapes",
    "sounds": "trainers.tasks.families.sounds",
    "symbols": "trainers.tasks.families.symbols",
    "tabular": "trainers.tasks.families.tabular",
    "text": "trainers.tasks.families.text",
    "toy-text": "trainers.tasks.families.toy_text",
}
ADDED = "trainers.tasks.families.added"  # data sets of the user

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
    """What opens a task.

    Raises:
        NotFoundError: there is no such task, module or class.
        TaskError: what the name leads to cannot be called.
    """
    if ":" in name:
        return _by_path(name, name)
    known = load_catalog().tasks.get(name)
    if known is not None and known.family in FAMILIES:  # the catalog spares importing the other families
        found = family_tasks(known.family).get(name)
        if found is not None:
            return found
    points = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    if name in points:
        return _by_path(points[name], name)
    added = import_module(ADDED)
    if (mine := added.open_added(name)) is not None:
        return mine
    shipped = shipped_tasks()
    if name not in shipped:
        names = [*shipped, *points, *added.added_names()]
        raise NotFoundError(f"no task is called '{name}'{nearest(name, names)}")
    return shipped[name]


def family_tasks(family: str) -> Mapping[str, Factory]:
    """The tasks of a family that ships, by name.

    Raises:
        NotFoundError: no family bears that name.
    """
    if family not in FAMILIES:
        raise NotFoundError(f"no family is called '{family}'{nearest(family, FAMILIES)}")
    return import_module(FAMILIES[family]).TASKS


def shipped_tasks() -> dict[str, Factory]:
    """All tasks that ship, by name; imports every family."""
    return {name: factory for family in FAMILIES for name, factory in family_tasks(family).items()}


def _by_path(path: str, name: str) -> Factory:
    module, _, attribute = path.partition(":")
    try:
        found: Any = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise
        raise NotFoundError(f"task '{name}': no module is called '{error.name}'") from None
    except AttributeError:
        raise NotFoundError(f"task '{name}': module '{module}' has no '{attribute}'") from None
    if not callable(found):
        raise TaskError(f"a task is a class, got '{path}', which is a {type(found).__name__}")
    return cast(Factory, found)
