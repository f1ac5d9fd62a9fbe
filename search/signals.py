"""Signals that stop a process in two steps: the first one asks, a second one of the same kind stops at once.

Signals of different kinds are counted separately, because a service manager may send SIGTERM to a whole
process group while the launcher passes SIGINT on to its workers: together they are one request.

Every command that handles Ctrl-C does it with `stop_signals`, or with `stop_with_message`, which also turns
the interruption into one line and the right exit code.
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
    """The signals that have come so far.

    Attributes:
        first: the first signal; None if none has come.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._counts: Counter[int] = Counter()

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.first is not None

    def count(self, number: int) -> int:
        """Add a signal; returns how many of its kind have come."""
        self._counts[number] += 1
        self.first = self.first or signal.Signals(number)
        return self._counts[number]

    def error(self, message: str) -> Interrupted:
        """The error to end with: `Terminated` (exit 143) after SIGTERM, else `Interrupted` (exit 130)."""
        return Terminated(message) if self.first == signal.SIGTERM else Interrupted(message)


def interrupt(number: int) -> None:
    """Stop at once: the default for a second signal of the same kind.

    Raises:
        KeyboardInterrupt: always.
    """
    raise KeyboardInterrupt


@contextmanager
def stop_signals(
    ask: Callable[[], None] = lambda: None, insist: Callable[[int], None] = interrupt
) -> Iterator[StopRequest]:
    """Handle SIGINT, SIGTERM and SIGHUP within the block; outside the main thread, do nothing.

    An ignored SIGHUP stays ignored, as under `nohup`.

    Args:
        ask: called in the signal handler at the very first signal, after it is counted.
        insist: called with the signal's number at each further signal of a kind that has come before.

    Yields:
        The signals that have come so far.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        before = request.asked
        again = request.count(number) > 1
        if again:
            insist(number)
        elif not before:
            ask()

    handled = [
        which for which in SIGNALS if which != signal.SIGHUP or signal.getsignal(which) != signal.SIG_IGN
    ]
    previous = {which: signal.signal(which, handle) for which in handled}
    try:
        yield request
    finally:
        for which, handler in previous.items():
            signal.signal(which, handler)


@contextmanager
def stop_with_message(
    ask: Callable[[], None], at_once: str, at_checkpoint: str | None = None
) -> Iterator[StopRequest]:
    """Handle signals as `stop_signals` does, and end the block with one line if they interrupt it.

    Args:
        ask: called in the signal handler at the very first signal; it may raise KeyboardInterrupt.
        at_once: the message if KeyboardInterrupt ends the block.
        at_checkpoint: the message if `Interrupted` ends the block; None keeps its own.

    Yields:
        The signals that have come so far.

    Raises:
        Interrupted: SIGINT or SIGHUP ended the block; `Terminated` after SIGTERM. Without a signal, what ends
            the block is raised unchanged.
    """
    request = StopRequest()
    try:
        with stop_signals(ask) as request:
            yield request
    except (Interrupted, KeyboardInterrupt) as error:
        message = at_once if isinstance(error, KeyboardInterrupt) else at_checkpoint
        if message is None or not request.asked:
            raise
        raise request.error(message) from None
