"""Make all generated data of a suite ahead of training, several tasks at once."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from space.catalog import SuiteRecord
from space.errors import TaskError
from trainers.tasks.base import Task
from trainers.tasks.registry import load_task
from trainers.tasks.sessions import BaseTask
from trainers.tasks.tokenizer import suite_tokenizer

Progress = Callable[[str, int, int], None]


def prepare(suite: SuiteRecord, workers: int, progress: Progress) -> None:
    """Make the tokenizer and every task's expert episodes, unless they are on the disk, undamaged.

    Args:
        suite: the tasks and their sequence settings.
        workers: processes that make data side by side.
        progress: is told the task that has just become ready, how many are ready, and how many there are.

    Raises:
        TaskError: a process died.
    """
    suite_tokenizer(suite)
    tasks = {name: load_task(name, suite) for name in suite.tasks}
    missing = [name for name, task in tasks.items() if not _is_prepared(task)]
    ready = [name for name in tasks if name not in missing]
    for count, name in enumerate(ready, start=1):
        progress(name, count, len(tasks))
    if not missing:
        return
    with ProcessPoolExecutor(min(workers, len(missing)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_make, name, suite): name for name in missing}
        for count, future in enumerate(as_completed(futures), start=len(ready) + 1):
            try:
                future.result()
            except BrokenProcessPool:
                raise TaskError(f"task '{futures[future]}': the process that made its data died") from None
            progress(futures[future], count, len(tasks))


def _is_prepared(task: Task) -> bool:
    return isinstance(task, BaseTask) and task.is_prepared()


def _make(name: str, suite: SuiteRecord) -> None:
    load_task(name, suite).episodes()
