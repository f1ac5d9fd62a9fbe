"""`pathfront launch`: run a study on this machine, from its file to its front."""

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

from search.commands.options import (
    AcceptChanges,
    Artifacts,
    DryRun,
    EngineName,
    Json,
    Patience,
    Spec,
    Storage,
    WarmFrom,
    Workers,
    set_patience,
)

if TYPE_CHECKING:
    from search.read.results import Reader
    from space.study import StudyConfig

NAME = "launch"
EXAMPLES = [
    "pathfront launch quick                 # a study that ships; resumed if it exists",
    "pathfront launch my_study.yaml --workers 8",
    "pathfront launch quick --dry-run       # print its expected cost; nothing is written",
]


def run(
    spec: Spec,
    storage: Storage = None,
    artifacts: Artifacts = None,
    workers: Workers = None,
    engine: EngineName = None,
    warm_from: WarmFrom = None,
    dry_run: DryRun = False,
    accept_changes: AcceptChanges = False,
    patience: Patience = None,
    json: Json = False,
) -> None:
    """Run a study, or resume it.

    The first Ctrl-C stops running trials at their next checkpoint, the second stops at once. The same command
    resumes the study.
    """
    from search.commands.warm import warmed
    from search.database.storage import resolve_artifacts, resolve_url
    from search.engines.engines import with_engine
    from space.study import read_study

    config = with_engine(read_study(spec), engine)
    url = resolve_url(storage)
    set_patience(patience)
    config = warmed(config, warm_from, url)
    if dry_run:
        from search.commands.price import print_price
        from search.commands.rehearse import rehearse

        rehearse(config)
        print_price(config, workers, url, resolve_artifacts(url, artifacts), json)
    else:
        _launch(config, spec, workers, url, artifacts, accept_changes, json, engine)


def _launch(
    config: "StudyConfig",
    spec: str,
    workers: int | None,
    url: str,
    artifacts: str | None,
    accept_changes: bool,
    json: bool,
    engine: str | None,
) -> None:
    reader = run_study(
        config, url, workers, artifacts, accept_changes, again=_again(spec, url, artifacts, engine)
    )
    _conclude(reader, config.study, json)


def run_study(
    config: "StudyConfig",
    url: str,
    workers: int | None,
    artifacts: str | None,
    accept_changes: bool,
    again: str,
    ticked: Callable[[], None] | None = None,
) -> "Reader":
    """Run a study with its progress on stderr, or resume it, until it ends.

    Args:
        config: the study.
        url: the database.
        workers: parallel trials; None for the study's.
        artifacts: where checkpoints are stored; None for the default.
        accept_changes: whether data or code may differ from earlier trials.
        again: the command that resumes the study.
        ticked: called after each look at the study's progress, several times a minute.

    Returns:
        A reader of the database.

    Raises:
        Interrupted: it was asked to stop; the study is saved at checkpoints.
        PathfrontError: the study cannot be run.
    """
    from search.commands import output
    from search.commands.live import LaunchDisplay
    from search.commands.rehearse import rehearse
    from search.database.storage import require_writable, resolve_artifacts
    from search.engines import launcher
    from search.engines.devices import cpu_count
    from search.read.results import Reader
    from search.store.environment import environment_here
    from search.store.studies import create_or_resume, planned
    from space.errors import Interrupted
    from space.words import counted
    from trainers.tasks.fingerprint import data_fingerprints
    from trainers.tasks.prepare import prepare

    require_writable(url)
    plan = planned(url, config)
    config, suite = plan.config, plan.suite
    for key, value in plan.kept.items():
        if key != "warm.copied":
            output.say(f"{key}: not in the file, so study '{config.study}' keeps {value!r}")
    if _is_finished(url, config):
        output.say(f"study '{config.study}' is finished; increase `stop` in its file to continue")
        return Reader(url)
    rehearse(config)
    with output.Meter("data", len(suite.tasks)) as meter:  # before the study is created, because it may fail
        prepare(suite, cpu_count(), lambda task, done, total: meter.update(done, task, total))
    data = data_fingerprints(suite) if config.trainer is None else {}
    here = environment_here(config, suite.tasks, data)
    create_or_resume(url, config, here, accept_changes, suite)
    reader = Reader(url)
    alive = len(reader.status(config.study).workers)
    if alive:
        output.say(
            f"{counted(alive, 'worker')} of another launch at work on study '{config.study}'; adding more"
        )
    try:
        output.say(f"running study '{config.study}'; Ctrl-C stops it at checkpoints, a second one at once")
        with LaunchDisplay(reader, config.study) as display:
            place = resolve_artifacts(url, artifacts)

            def tick() -> None:
                display.tick()
                if ticked is not None:
                    ticked()

            launcher.run(url, config.study, workers, place, tick, display.stop)
    except (Interrupted, KeyboardInterrupt) as error:
        kind = type(error) if isinstance(error, Interrupted) else Interrupted
        raise kind(f"study '{config.study}' is saved at its checkpoints; resume with: {again}") from None
    return reader


def _is_finished(url: str, config: "StudyConfig") -> bool:
    """Whether the study exists with this specification and has reached its stop rule."""
    from search.read.results import Reader
    from search.store.studies import MAY_CHANGE
    from space.errors import NotFoundError

    try:
        reader = Reader(url)
        finished, stored = reader.status(config.study).finished, reader.config(config.study)
    except NotFoundError:
        return False
    details = set[str](MAY_CHANGE) - {"stop"}
    same = stored.model_dump(exclude=details) == config.model_dump(exclude=details)
    return finished and same and not reader.snapshot(config.study, config.search.seed).waiting


def _again(spec: str, url: str, artifacts: str | None, engine: str | None) -> str:
    """The command that resumes a study."""
    from search.read.results import storage_option

    place = f" --artifacts {shlex.quote(artifacts)}" if artifacts else ""
    on = f" --engine {shlex.quote(engine)}" if engine else ""
    return f"pathfront launch {shlex.quote(spec)}{storage_option(url)}{place}{on}"


def _conclude(reader: "Reader", study: str, json: bool) -> None:
    """Print the front and what to do next."""
    from search.commands import output
    from search.commands.advice import next_steps
    from search.commands.front import print_front
    from search.read.remarks import no_front, remarks
    from space.errors import PathfrontError

    rows = reader.front(study)
    if json:
        output.print_json(rows)
        return
    if not rows and not reader.finalists(study):
        raise PathfrontError(no_front(reader, study))
    if not rows:
        print(no_front(reader, study))
        return
    print(f"the front of study '{study}', best score first")
    print_front(rows)
    for remark in remarks(reader.status(study), reader.url):
        print(remark)
    print("what to do next:")
    for step in next_steps(reader, study, rows):
        print(f"  {step}")
