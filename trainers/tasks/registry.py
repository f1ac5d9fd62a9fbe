"""From a task's name to the task: one dict of those that ship, a class by its path, or an entry point."""

from importlib import import_module
from importlib.metadata import entry_points

from space.catalog import SuiteRecord
from space.errors import NotFoundError, TaskError, nearest
from trainers.tasks.base import Task
from trainers.tasks.tokenizer import suite_tokenizer
from trainers.tokens.text import Tokenizer

ENTRY_POINTS = "pathfront.tasks"
SHIPPED = {
    "python-docs": "trainers.tasks.documents:PythonDocs",
    "digits": "trainers.tasks.digits:Digits",
    "shape-captions": "trainers.tasks.shapes:ShapeCaptions",
    "dialled-digits": "trainers.tasks.dial:DialledDigits",
    "taxi": "trainers.tasks.taxi:Taxi",
    "babyai-goto-redball-grey": "trainers.tasks.babyai:GoToRedBallGrey",
    "cartpole": "trainers.tasks.cartpole:CartPole",
    "metaworld-reach": "trainers.tasks.metaworld:Reach",
}


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
    return task_class(name)(suite, tokenizer or suite_tokenizer(suite), train_episodes)


def task_class(name: str) -> type:
    """The class of a task.

    Raises:
        NotFoundError: there is no such task, module or class.
        TaskError: what the name leads to is no class.
    """
    path = name if ":" in name else SHIPPED.get(name) or _entry_point(name)
    module, _, attribute = path.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise
        raise NotFoundError(f"task '{name}': no module is called '{error.name}'") from None
    except AttributeError:
        raise NotFoundError(f"task '{name}': module '{module}' has no '{attribute}'") from None
    if not isinstance(found, type):
        raise TaskError(f"a task is a class, got '{path}', which is a {type(found).__name__}")
    return found


def _entry_point(name: str) -> str:
    found = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        raise NotFoundError(f"no task is called '{name}'{nearest(name, SHIPPED.keys() | found.keys())}")
    return found[name]
