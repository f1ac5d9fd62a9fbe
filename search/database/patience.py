"""Retry calls while the storage is unavailable: its server restarts, or a connection is lost."""

import os
import random
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from space.errors import StorageUnavailable, StudyFileError

DEFAULT_MINUTES = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds
SLICE = 0.25  # seconds between two calls of `stopping`

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Patient")


class Patient(Protocol):
    """What `patient` needs of the object whose methods it decorates.

    Attributes:
        patience: seconds to keep retrying while the storage is unavailable.
    """

    patience: float

    def on_wait(self, error: StorageUnavailable, seconds: float) -> None:
        """Called before each pause with the error and the pause in seconds."""
        ...

    def stopping(self) -> bool:
        """Whether to stop retrying."""
        ...


def patience_seconds() -> float:
    """How long to wait for a storage: PATHFRONT_PATIENCE in minutes, else ten minutes.

    Returns:
        Seconds; 0 to give up at the first failure.

    Raises:
        StudyFileError: PATHFRONT_PATIENCE is no number of minutes.
    """
    given = os.environ.get("PATHFRONT_PATIENCE") or str(DEFAULT_MINUTES)
    try:
        found = float(given)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise StudyFileError(f"PATHFRONT_PATIENCE: minutes of 0 or more, got '{given}'")
    return found * 60


def say_waiting(error: StorageUnavailable, seconds: float) -> None:
    """Print that the database does not answer, and when it is tried again."""
    print(f"{error}; trying again in {seconds:.0f} s", file=sys.stderr, flush=True)


def patiently(
    call: Callable[[], T],
    seconds: float,
    on_wait: Callable[[StorageUnavailable, float], object] = lambda error, pause: None,
    stopping: Callable[[], bool] = lambda: False,
) -> T:
    """Repeat a call while the storage is unavailable, with pauses that grow from 0.5 to 15 seconds.

    A transaction whose connection is lost during its commit may have been committed, so `call` must be safe
    to repeat.

    Args:
        call: the function to call, possibly many times.
        seconds: time after the first failure during which it is repeated.
        on_wait: called before each pause with the error and the pause in seconds.
        stopping: whether to stop retrying; called several times a second.

    Returns:
        What `call` returned.

    Raises:
        StorageUnavailable: the last one, after `seconds` or once `stopping`. Other errors pass at once.
    """
    deadline = None
    pause = FIRST_PAUSE
    while True:
        try:
            return call()
        except StorageUnavailable as error:
            now = time.monotonic()
            deadline = now + seconds if deadline is None else deadline
            if now >= deadline or stopping():
                raise
            wait = min(pause * random.uniform(0.75, 1.25), LONGEST_PAUSE, deadline - now)  # many workers wait
            on_wait(error, wait)
            if _stopped_within(wait, stopping):
                raise
            pause = min(2 * pause, LONGEST_PAUSE)


def patient(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Decorate a method of a `Patient` object so that it is retried; see `patiently`."""

    @wraps(method)
    def waiting(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        return patiently(lambda: method(self, *args, **kwargs), self.patience, self.on_wait, self.stopping)

    return waiting


def _stopped_within(seconds: float, stopping: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if stopping():
            return True
        time.sleep(min(left, SLICE))
    return stopping()
