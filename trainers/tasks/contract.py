"""The contract of tasks: a list of rules, each of which a task keeps, breaks, or cannot be held to.

`pathfront tasks check` prints the verdict of each rule on each task. A rule that cannot apply to a kind of
task gives the reason. A task may state the reason itself, in an attribute `inapplicable`: a mapping of the
rule's name to a sentence.
"""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Literal

from space.errors import TaskError, nearest
from space.records import SuiteRecord
from trainers.tasks import rules
from trainers.tasks.base import Task
from trainers.tasks.registry import blamed, load_task
from trainers.tasks.rules import Checked
from trainers.tokens.vocabulary import Vocabulary

CHECKED_EPISODES = 200  # expert episodes that commands make for a check


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: in commands and in a task's `inapplicable`.
        states: what every task keeps to.
        check: returns None if the rule holds, or why it cannot apply; raises `TaskError` if it is broken.
    """

    name: str
    states: str
    check: Callable[[Checked], str | None]


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a task.

    Attributes:
        rule: the rule's name.
        result: whether the task keeps the rule.
        reason: why it fails or cannot apply; empty if it passes.
    """

    rule: str
    result: Literal["passed", "failed", "inapplicable"]
    reason: str = ""


RULES = (
    Rule(
        "well-formed",
        "Training episodes have ids and positions in range, a placeholder for each patch and something to"
        " learn; an instruction and a timestep fit into the context.",
        rules.check_chunks,
    ),
    Rule(
        "repeatable",
        "Demonstrations and scores are the same each time; fewer held-out episodes are the first ones.",
        rules.check_deterministic,
    ),
    Rule(
        "sessions",
        "Episodes end and do not depend on each other; observations hold no targets; actions of the expert"
        " and of random play are legal, and the expert acts within 5 s.",
        rules.check_sessions,
    ),
    Rule(
        "disjoint",
        "Train, select and report share no episode; of text, no paragraph and no document.",
        rules.check_disjoint,
    ),
    Rule(
        "round-trip",
        "Actions, answers and text come back from their tokens; floats within half a bin.",
        rules.check_actions,
    ),
    Rule(
        "no-leak",
        "A policy that sees shuffled observations stays near the floor; of held-out text, at most 5% of the"
        " passages of 32 tokens are in training text.",
        rules.check_leakage,
    ),
    Rule(
        "expert",
        "The expert scores better than each floor by two standard errors.",
        rules.check_expert,
    ),
)
NOT_RUN = "not run, since an earlier rule raised an error"
SILENT = "silent"  # holds while all others are checked
ALL_RULES = {rule.name: rule.states for rule in RULES} | {SILENT: "A task prints nothing."}


def check_by_name(name: str, suite: SuiteRecord, train_episodes: int | None = None) -> None:
    """Run every check on a task by its name, in this process.

    Args:
        name: as study files call it.
        suite: sequence settings.
        train_episodes: how many expert episodes are made for it; the task's own number when None.

    Raises:
        TaskError: the task breaks a rule, or its code raises an error.
        NotFoundError: there is no such task.
        MachineError: it cannot be imported here.
    """
    _raise_first(verdicts_by_name(name, suite, train_episodes))


def verdicts_by_name(name: str, suite: SuiteRecord, train_episodes: int | None = None) -> tuple[Verdict, ...]:
    """The verdict of every rule on a task; arguments as those of `check_by_name`.

    Where the task's code raises an error while a rule is checked, that rule fails with the error as the
    reason, and the rules after it are not run.

    Raises:
        TaskError: the task's code raises an error when the task is opened.
        NotFoundError: there is no such task.
        MachineError: it cannot be imported here.
    """
    with blamed(name):
        return verdicts(
            lambda: load_task(name, suite, train_episodes=train_episodes),
            Vocabulary.of(suite),
            suite.context,
            partial(blamed, name),
        )


def unopened(reason: str) -> tuple[Verdict, ...]:
    """The verdicts on a task that cannot be opened: the first rule fails, the others are not run."""
    first, *others = ALL_RULES
    return (Verdict(first, "failed", reason), *(Verdict(name, "inapplicable", NOT_RUN) for name in others))


def check_task(make: Callable[[], Task], vocabulary: Vocabulary, context: int) -> None:
    """Run every check on a task.

    Args:
        make: opens the task, once per call.
        vocabulary: of its suite.
        context: of its suite.

    Raises:
        TaskError: the task breaks a rule.
    """
    _raise_first(verdicts(make, vocabulary, context))


def verdicts(
    make: Callable[[], Task],
    vocabulary: Vocabulary,
    context: int,
    blame: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[Verdict, ...]:
    """The verdict of every rule on a task.

    Args:
        make: opens the task, once per call.
        vocabulary: of its suite.
        context: of its suite.
        blame: makes a context in which each rule is checked. It converts errors of the task's code to
            `TaskError`, with which the rule then fails; without it these errors are raised.

    Raises:
        TaskError: the task states that an unknown rule cannot apply, or gives no reason.
    """
    printed = io.StringIO()
    checked = Checked(make, vocabulary, context)
    found: list[Verdict] = []
    raised = False
    with redirect_stdout(printed), redirect_stderr(printed):
        stated = _stated(checked.task)
        for rule in RULES:
            if raised:
                found.append(Verdict(rule.name, "inapplicable", NOT_RUN))
                continue
            try:
                with blame():
                    found.append(_verdict(rule, checked, stated.get(rule.name)))
            except TaskError as error:  # a broken rule is a verdict already: the task's code raised
                found.append(Verdict(rule.name, "failed", str(error)))
                raised = True
    found.append(_silent(checked.task, printed.getvalue(), raised))
    return tuple(found)


def _silent(task: Task, printed: str, raised: bool) -> Verdict:
    if printed:
        return Verdict(SILENT, "failed", f"task '{task.name}': a task prints nothing, got {printed[:80]!r}")
    return Verdict(SILENT, "inapplicable", NOT_RUN) if raised else Verdict(SILENT, "passed")


def _verdict(rule: Rule, checked: Checked, stated: str | None) -> Verdict:
    if stated is not None:
        return Verdict(rule.name, "inapplicable", stated)
    try:
        reason = rule.check(checked)
    except TaskError as error:
        return Verdict(rule.name, "failed", str(error))
    return Verdict(rule.name, "inapplicable", reason) if reason else Verdict(rule.name, "passed")


def _stated(task: Task) -> dict[str, str]:
    """Rules that the task says cannot apply to it, with the reasons."""
    stated = dict(getattr(task, "inapplicable", {}))
    known = [rule.name for rule in RULES]
    for name, reason in stated.items():
        if name not in known:
            raise TaskError(
                f"task '{task.name}': no rule is called '{name}'{nearest(name, known)};"
                f" rules that a task may be exempt from are {', '.join(known)}"
            )
        if not isinstance(reason, str) or len(reason.split()) < 3:
            raise TaskError(
                f"task '{task.name}': `inapplicable` gives a reason in words for each rule,"
                f" got {reason!r} for '{name}'"
            )
    return stated


def _raise_first(found: tuple[Verdict, ...]) -> None:
    for verdict in found:
        if verdict.result == "failed":
            raise TaskError(verdict.reason)
