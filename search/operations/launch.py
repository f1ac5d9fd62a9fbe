"""Run a study on this machine, from its configuration to its end."""

from collections.abc import Callable
from contextlib import ExitStack

from search.database.storage import require_writable, resolve_artifacts
from search.engines import launcher
from search.engines.devices import cpu_count
from search.operations.console import Meter, say
from search.operations.live import LaunchDisplay
from search.operations.rehearse import rehearse
from search.operations.tokenizers import with_tokenizer
from search.read.results import Reader
from search.store.environment import Environment, environment_here
from search.store.studies import MAY_CHANGE, create_or_resume, planned
from space.errors import Interrupted, NotFoundError
from space.records import SuiteRecord
from space.study import StudyConfig
from space.words import counted

MADE = ("warm.copied", "tokenizer.sha256")  # keys that a launch makes, so no file has them


def run_study(
    config: StudyConfig,
    url: str,
    workers: int | None = None,
    artifacts: str | None = None,
    accept_changes: bool = False,
    ticked: Callable[[Reader], object] | None = None,
    quiet: bool = False,
) -> Reader:
    """Run a study with its progress on stderr, or resume it, until it ends.

    Args:
        config: the study.
        url: the database.
        workers: parallel trials; None for the study's.
        artifacts: where checkpoints are stored; None for the default.
        accept_changes: whether data or code may differ from earlier trials.
        ticked: called about twice a second while workers run.
        quiet: whether to show no progress.

    Returns:
        A reader of the database.

    Raises:
        Interrupted: it was asked to stop; the study is saved at checkpoints.
        PathfrontError: the study cannot be run.
    """
    tell = (lambda text: None) if quiet else say
    require_writable(url)
    plan = planned(url, config)
    config, suite = plan.config, plan.suite
    for key, value in plan.kept.items():
        if key not in MADE:
            tell(f"{key}: not in the file, so study '{config.study}' keeps {value!r}")
    if _is_finished(url, config):
        tell(f"study '{config.study}' is finished; increase `stop` in its file to continue")
        return Reader(url)
    config, suite, tokenizer = with_tokenizer(url, config, suite, quiet)
    here = prepared_environment(config, suite, quiet)  # before the study is created, because it may fail
    if config.space.mixture.epochs is not None:  # exact, where the suite's record has estimates
        from trainers.tasks.prepare import data_tokens

        suite = suite.model_copy(update={"tokens": data_tokens(suite)})
        config.space.mixture.check(suite, config.rungs.whole_tokens)
    create_or_resume(url, config, here, accept_changes, suite, tokenizer)
    reader = Reader(url)
    run_workers(reader, config, url, workers, artifacts, ticked=ticked, quiet=quiet)
    return reader


def prepared_environment(config: StudyConfig, suite: SuiteRecord, quiet: bool = False) -> Environment:
    """Import what a study names, make its tasks' data, and return what its trials are trained with here.

    Raises:
        PathfrontError: something cannot be imported, built or made.
    """
    from trainers.tasks.fingerprint import data_fingerprints

    rehearse(config)
    _prepare(suite, quiet)
    data = data_fingerprints(suite) if config.trainer is None else {}
    return environment_here(config, suite.tasks, data)


def run_workers(
    reader: Reader,
    config: StudyConfig,
    url: str,
    workers: int | None,
    artifacts: str | None,
    what: str = "",
    ticked: Callable[[Reader], object] | None = None,
    quiet: bool = False,
) -> None:
    """Run a stored study's workers with its progress on stderr, until they end.

    Args:
        reader: of the database.
        config: as in `run_study`, like the arguments that are not described here.
        url: the database.
        workers: parallel trials.
        artifacts: where checkpoints are stored.
        what: what is run of the study, for the first message.
        ticked: called about twice a second.
        quiet: whether to show no progress.

    Raises:
        Interrupted: it was asked to stop; the study is saved at checkpoints.
        PathfrontError: the study cannot be run.
    """
    tell = (lambda text: None) if quiet else say
    alive = len(reader.status(config.study).workers)
    if alive:
        tell(f"{counted(alive, 'worker')} of another launch at work on study '{config.study}'; adding more")
    try:
        tell(f"running {what}study '{config.study}'; Ctrl-C stops it at checkpoints, a second one at once")
        with ExitStack() as stack:
            display = None if quiet else stack.enter_context(LaunchDisplay(reader, config.study))

            def tick() -> None:
                if display is not None:
                    display.tick()
                if ticked is not None:
                    ticked(reader)

            place = resolve_artifacts(url, artifacts)
            stopping = (lambda: None) if display is None else display.stop
            launcher.run(url, config.study, workers, place, tick, stopping, tell)
    except (Interrupted, KeyboardInterrupt) as error:
        kind = type(error) if isinstance(error, Interrupted) else Interrupted
        raise kind(f"study '{config.study}' is saved at its checkpoints") from None


def _prepare(suite: SuiteRecord, quiet: bool) -> None:
    """Make the data of a suite's tasks."""
    from trainers.tasks.prepare import prepare

    if quiet:
        prepare(suite, cpu_count(), lambda task, done, total: None)
        return
    with Meter("data", len(suite.tasks)) as meter:
        prepare(suite, cpu_count(), lambda task, done, total: meter.update(done, task, total))


def _is_finished(url: str, config: StudyConfig) -> bool:
    """Whether the study exists with this specification and has reached its stop rule."""
    try:
        reader = Reader(url)
        finished, stored = reader.status(config.study).finished, reader.config(config.study)
    except NotFoundError:
        return False
    details = set[str](MAY_CHANGE) - {"stop"}
    same = stored.model_dump(exclude=details) == config.model_dump(exclude=details)
    return finished and same and not reader.snapshot(config.study, config.search.seed).waiting
