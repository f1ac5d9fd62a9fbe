"""Callbacks by which long work reports its progress."""

from collections.abc import Callable

Watch = Callable[[int, int, str], None]  # done, of how many, what is under way
Phases = Callable[[str, float, float, str], None]  # name of the phase, done, of how much, a few words


def unwatched(done: int, total: int, note: str) -> None:
    """Do nothing."""


def no_phases(phase: str, done: float, total: float, note: str) -> None:
    """Do nothing."""
