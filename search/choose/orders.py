"""Make the order of promotion that a study names: one that ships, or a function of the user's."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from search.choose.promote import Order
from search.choose.sampler import Problem
from search.choose.samplers import blamed
from search.choose.snapshot import Snapshot, SnapshotTrial
from space.errors import StudyFileError
from space.plugins import load_object
from space.shipped import PROMOTIONS
from space.study import Search

KEY = "search.promotion"
RULE = f"{KEY}: a function order(trials, view, problem) as package.module:function"


def make_order(search: Search, problem: Problem) -> Order:
    """Import the order of promotion of a study.

    Args:
        search: names it.
        problem: the study's space, tasks, limits, rungs and seed; the function's third argument.

    Returns:
        A function of the trials that may be promoted and the study's snapshot: these trials, best first. It
        raises StudyFileError if the function raises an error or returns anything else.

    Raises:
        StudyFileError: there is no such function, or it takes other arguments.
    """
    name = search.promotion
    function: Any = load_object(PROMOTIONS.get(name, name), RULE, StudyFileError)
    if not callable(function) or isinstance(function, type):
        raise StudyFileError(f"{RULE}, and '{name}' is a {type(function).__name__}")
    try:
        inspect.signature(function).bind([], None, problem)
    except TypeError as error:
        raise StudyFileError(f"{RULE}, and '{name}' refuses these arguments: {error}") from None

    def order(trials: Sequence[SnapshotTrial], view: Snapshot) -> list[SnapshotTrial]:
        with blamed(KEY, name):
            return _checked(function, trials, view, problem)

    return order


def _checked(
    function: Callable[..., Any], trials: Sequence[SnapshotTrial], view: Snapshot, problem: Problem
) -> list[SnapshotTrial]:
    """Call an order of promotion, and check what it returns.

    Raises:
        StudyFileError: it is no list of the given trials, each at most once.
    """
    found = function(list(trials), view, problem)
    if not isinstance(found, Sequence) or not all(isinstance(trial, SnapshotTrial) for trial in found):
        raise StudyFileError(f"an order returns a list of the trials that it is given, got {found!r}")
    given = {trial.candidate for trial in trials}
    names = [trial.candidate for trial in found]
    strange = next((name for name in names if name not in given or names.count(name) > 1), None)
    if strange is not None:
        raise StudyFileError(
            f"an order returns trials that it is given, each at most once, got candidate {strange}"
            + (" twice" if strange in given else "")
        )
    return list(found)
