"""Signals that ask a process to stop: the first one asks, a second one of the same kind insists.

Signals of different kinds are counted apart, because a service manager may send SIGTERM to a whole process
group while the launcher passes SIGINT on to its workers: together they are still one request.
"""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from space.errors import Interrupted, Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """What the signals have asked so far.

    Attributes:
        first: the first signal; None while nobody asked.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._counts: Counter[int] = Counter()

    @property
    def asked(self) -> bool:
        """Whether a signal asked to stop."""
        return self.first is not None

    def count(self, number: int) -> int:
        """Note a signal; returns how many of its kind have come."""
        self._counts[number] += 1
        self.first = self.first or signal.Signals(number)
        return self._counts[number]

    def error(self, message: str) -> Interrupted:
        """The error to end with: `Terminated` (exit 143) after SIGTERM, else `Interrupted` (exit 130)."""
        return Terminated(message) if self.first == signal.SIGTERM else Interrupted(message)


def interrupt(number: int) -> None:
    """Stop at once: what a second signal of the same kind does by default.

    Raises:
        KeyboardInterrupt: always.
    """
    raise KeyboardInterrupt


@contextmanager
def stop_signals(
    ask: Callable[[], None] = lambda: None, insist: Callable[[int], None] = interrupt
) -> Iterator[StopRequest]:
    """Handle SIGINT, SIGTERM and SIGHUP within the block; outside the main thread, do nothing.

    SIGHUP stays ignored where it is, as under `nohup`.

    Args:
        ask: called in the signal handler at the first signal of all, after the request is noted.
        insist: called at each further signal of a kind that has come before.

    Yields:
        What has been asked so far.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        before = request.asked
        again = request.count(number) > 1
        if again:
            insist(number)
        elif not before:
            ask()

    heard = [
        which for which in SIGNALS if which != signal.SIGHUP or signal.getsignal(which) != signal.SIG_IGN
    ]
    previous = {which: signal.signal(which, handle) for which in heard}
    try:
        yield request
    finally:
        for which, handler in previous.items():
            signal.signal(which, handler)
