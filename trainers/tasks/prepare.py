"""Make all generated data of a suite and their fingerprints ahead of training, several tasks at once."""

from collections.abc import Callable
from functools import partial

from space.records import SuiteRecord
from trainers.tasks.base import Task
from trainers.tasks.cache import CACHE
from trainers.tasks.episodes import Episodes
from trainers.tasks.fingerprint import fingerprint, is_fingerprinted
from trainers.tasks.processes import in_processes
from trainers.tasks.registry import blamed, load_task
from trainers.tasks.sessions import BaseTask

Progress = Callable[[str, int, int], None]


def prepare(suite: SuiteRecord, workers: int, progress: Progress) -> None:
    """Make every task's expert episodes and their fingerprint, unless they are on disk and undamaged.

    Args:
        suite: the tasks and their sequence settings.
        workers: processes that make data side by side.
        progress: called with the name of a finished task, the number of finished tasks, and their total.

    Raises:
        TaskError: a process died.
        MachineError: the cache cannot be read or written, or its disk is full.
    """
    tasks = {name: load_task(name, suite) for name in suite.tasks}
    missing = [name for name, task in tasks.items() if not _is_prepared(task)]
    ready = [name for name in tasks if name not in missing]
    for count, name in enumerate(ready, start=1):
        progress(name, count, len(tasks))
    if not missing:
        return
    if any(isinstance(tasks[name], BaseTask) for name in missing):
        CACHE.check_writable()
    # a suite lists its senses from text to control, and simulation takes longest: the last ones first
    done = in_processes(partial(_make, suite=suite), missing[::-1], workers)
    for count, (name, result) in enumerate(done, start=len(ready) + 1):
        result()
        progress(name, count, len(tasks))


def data_tokens(suite: SuiteRecord) -> dict[str, int]:
    """Tokens of each task's training data on this machine; those in a suite's record are partly estimates.

    Args:
        suite: the tasks, whose data are prepared.

    Raises:
        MachineError: the cache cannot be read.
    """
    tasks = {name: load_task(name, suite) for name in suite.tasks}
    return {name: len(Episodes.of(task.episodes()).tokens) for name, task in tasks.items()}


def _is_prepared(task: Task) -> bool:
    return isinstance(task, BaseTask) and task.is_prepared() and is_fingerprinted(task)


def _make(name: str, suite: SuiteRecord) -> None:
    with blamed(name):
        task = load_task(name, suite)
        task.episodes()
        fingerprint(task)
