"""Ctrl-C: the first asks for a stop at the next checkpoint, the second stops at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from search.commands.output import say


@contextmanager
def drain_on_interrupt(message: str) -> Iterator[Callable[[], bool]]:
    """Within the block, the first Ctrl-C prints a message and makes the yielded function true.

    The second raises KeyboardInterrupt, as without the block.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        say(message)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
