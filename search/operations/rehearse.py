"""Import and build everything that a launch needs, before anything is written.

A misspelt logger or a trainer that cannot be imported would fail every candidate. So trainer, tasks, logger,
sampler and engine are created here as a launch creates them, and the cheapest and the most expensive network
are built on torch's meta device. Nothing is trained, and no data is generated.
"""

import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from search.operations.console import say
from space.errors import PathfrontError, StudyFileError, one_line
from space.tokenizer import UNTRAINED

if TYPE_CHECKING:
    from space.records import SuiteRecord
    from space.study import StudyConfig

ARGUMENTS = ("candidate", "suite", "budget", "resume", "report")
ENDS = ("cheapest", "most expensive")
BELIEFS = ("priors:", "priors.", "warm:", "warm.")  # keys that the sampler's check reports, too


def rehearse(config: "StudyConfig") -> None:
    """Import and build what a study names.

    Every mistake is reported on one line: all but the last are printed on stderr, the last one is raised.

    Raises:
        StudyFileError: something cannot be imported or built.
    """
    mistakes = [mistake for check in _checks(config) if (mistake := _mistake(*check)) is not None]
    for mistake in mistakes[:-1]:
        say(f"error: {mistake}")
    if mistakes:
        raise StudyFileError(mistakes[-1])


def _checks(config: "StudyConfig") -> Iterator[tuple[str, Callable[[], object]]]:
    """The checks: a key of the study file, and a call that raises if something is wrong with it."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a worker finds the user's own modules
    suite = opened = config.suite_record()
    if suite.tokenizer == UNTRAINED:
        opened = config.model_copy(update={"tokenizer": None}).suite_record()
    yield "trainer", lambda: _trainer(config)
    for task in suite.tasks:
        yield "suite", lambda task=task: _task(task, opened)
    yield "search.sampler", lambda: _sampler(config, suite)
    yield "engine", lambda: _engine(config)
    yield "logger", lambda: _logger(config)
    if config.trainer is None:
        priced = config.space.feasible(suite, config.limits)
        for end, (architecture, _) in zip(ENDS, (priced[0], priced[-1]), strict=True):
            yield f"space: the {end} network", lambda architecture=architecture: _network(architecture, suite)


def _mistake(key: str, check: Callable[[], object]) -> str | None:
    """The mistake on one line that begins with the key; None if the check passes."""
    try:
        check()
    except PathfrontError as error:
        line = str(error)
    except (Exception, SystemExit) as error:  # a user's own module may raise anything
        line = f"{type(error).__name__}: {error}"
    else:
        return None
    line, section = one_line(line), key.rpartition(".")[0]
    named = line.startswith((f"{key}:", f"{key}_", *BELIEFS)) or (section and line.startswith(f"{section}."))
    return line if named else f"{key}: {line}"


def _trainer(config: "StudyConfig") -> None:
    from search.trainer import load_trainer

    trainer = load_trainer(config)
    try:
        inspect.signature(trainer).bind(*ARGUMENTS)
    except TypeError:
        raise StudyFileError(
            f"trainer: a function of ({', '.join(ARGUMENTS)}), and '{config.trainer}' takes"
            f" {inspect.signature(trainer)}"
        ) from None


def _sampler(config: "StudyConfig", suite: "SuiteRecord") -> None:
    from search.choose.rehearsal import rehearse_sampler

    rehearse_sampler(config, suite)


def _engine(config: "StudyConfig") -> None:
    from search.engines.engines import make_engine

    make_engine(config)


def _task(name: str, suite: "SuiteRecord") -> None:
    from trainers.tasks.registry import load_task

    load_task(name, suite)


def _logger(config: "StudyConfig") -> None:
    """Create the logger, in a temporary folder."""
    if config.logger == "none":
        return
    from trainers.loggers import make_logger

    with tempfile.TemporaryDirectory(prefix="pathfront-") as folder:
        budget = config.rungs.budget(0, logger=config.logger, log_dir=folder)
        made: Any = make_logger(budget)
        made.finalize("success")


def _network(architecture: Any, suite: "SuiteRecord") -> None:
    """Build a network on torch's meta device, on which weights need no memory."""
    import torch

    from trainers.model.decoder import Decoder

    with torch.device("meta"):
        Decoder(architecture, suite)
