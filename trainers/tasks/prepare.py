"""Make all generated data of a suite ahead of training, several tasks at once."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context

from space.catalog import SuiteRecord
from space.errors import TaskError
from trainers.tasks.base import Task
from trainers.tasks.registry import load_task
from trainers.tasks.sessions import BaseTask

Progress = Callable[[str, int, int], None]


def prepare(suite: SuiteRecord, workers: int, progress: Progress) -> None:
    """Make every task's expert episodes, unless they are on the disk, undamaged.

    Args:
        suite: the tasks and their sequence settings.
        workers: processes that make data side by side.
        progress: is told the task that has just become ready, how many are ready, and how many there are.

    Raises:
        TaskError: a process died.
    """
    tasks = {name: load_task(name, suite) for name in suite.tasks}
    missing = [name for name, task in tasks.items() if not _is_prepared(task)]
    ready = [name for name in tasks if name not in missing]
    for count, name in enumerate(ready, start=1):
        progress(name, count, len(tasks))
    if not missing:
        return
    with _pool(min(workers, len(missing))) as pool:
        # a suite lists its senses from text to control, and simulation takes longest: the last ones first
        futures = {pool.submit(_make, name, suite): name for name in reversed(missing)}
        for count, future in enumerate(as_completed(futures), start=len(ready) + 1):
            try:
                future.result()
            except BrokenProcessPool:
                raise TaskError(f"task '{futures[future]}': the process that made its data died") from None
            progress(futures[future], count, len(tasks))


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that leave Ctrl-C to their parent, and die at once where the block fails."""
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=signal.signal, initargs=ignore)
    try:
        yield pool
    except BaseException:
        for process in active_children():
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _is_prepared(task: Task) -> bool:
    return isinstance(task, BaseTask) and task.is_prepared()


def _make(name: str, suite: SuiteRecord) -> None:
    load_task(name, suite).episodes()
