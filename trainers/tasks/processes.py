"""The same function on many tasks, in several processes."""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from types import ModuleType
from typing import TypeVar

from space.errors import TaskError

SAFE_PATH = "PYTHONSAFEPATH"  # as `python -P`

Item = TypeVar("Item")
Result = TypeVar("Result")


class ProcessDied(TaskError):  # noqa: N818
    """A process that worked on the data died; trying again may help."""


def in_processes(
    function: Callable[[str], Result], tasks: Sequence[str], workers: int
) -> Iterator[tuple[str, Callable[[], Result]]]:
    """Call a function with the name of each task, `workers` at a time.

    Args:
        function: can be pickled, as its results can.
        tasks: names, begun in this order.
        workers: processes.

    Yields:
        The name of a finished task, and a function that returns its result or raises its error, which is
        `ProcessDied` if the process died.
    """
    if not tasks:
        return
    with _pool(min(workers, len(tasks))) as pool:
        with _without_main():  # the pool starts its processes as work is submitted
            futures = {pool.submit(function, name): name for name in tasks}
        for future in as_completed(futures):
            yield futures[future], partial(_result, future, futures[future])


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Iterator[Result]:
    """Call a function with each item, `workers` at a time, and yield the results in the items' order.

    Args:
        function: can be pickled, as items and results can.
        items: taken only when a process will soon be free.
        workers: processes.
        ahead: items for each process that may be taken before the first result is.

    Raises:
        ProcessDied: a process died.
    """
    with _pool(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            with _without_main():
                waiting.append(pool.submit(function, item))
            if len(waiting) >= workers * ahead:
                yield _arrived(waiting.popleft())
        while waiting:
            yield _arrived(waiting.popleft())


def _arrived(future: "Future[Result]") -> Result:
    try:
        return future.result()
    except BrokenProcessPool:
        raise ProcessDied("a process that worked on the data died") from None


def _result(future: "Future[Result]", task: str) -> Result:
    try:
        return future.result()
    except BrokenProcessPool:
        raise ProcessDied(f"task '{task}': the process that worked on it died") from None


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are killed at once if the block fails."""
    with _safe_path():
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin)
        try:
            yield pool
        except BaseException:
            for process in active_children():
                process.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Start Python processes without the working folder in `sys.path`; they then get their parent's path.

    `multiprocessing` starts them with `python -c`, which puts the working folder first: a file `pickle.py` in
    it would hide the standard library's.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


@contextmanager
def _without_main() -> Iterator[None]:
    """Start Python processes that do not run the caller's script again.

    A spawned process imports the file of `__main__`; a script without `if __name__ == "__main__"` would begin
    anew in each. What the processes call is in modules, so they do not need it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _begin() -> None:
    """Set a process up: one thread, Ctrl-C left to the parent, and an end as soon as the parent ends.

    The processes share the cores; numpy and scikit-learn, not yet imported, read the variable.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop(SAFE_PATH, None)  # programs that a task starts are its own business
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a process of a pool has a parent"
    parent.join()
    os._exit(1)
