"""`pathfront launch`: run a study on this machine, from its file to its front."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
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
    from search.database.storage import resolve_artifacts, resolve_url

    url = resolve_url(storage)
    set_patience(patience)
    if dry_run:
        from search.commands.price import print_price
        from search.engines.engines import with_engine
        from search.operations.rehearse import rehearse
        from search.operations.tokenizers import resolving
        from search.operations.warm import warmed
        from space.study import read_study

        config = warmed(with_engine(read_study(spec, resolving(url)), engine), warm_from, url)
        rehearse(config)
        print_price(config, workers, url, resolve_artifacts(url, artifacts), json)
        return
    from search.api import launch

    with resumed_by(_again(spec, url, artifacts, engine)):
        study = launch(
            spec,
            storage=url,
            artifacts=artifacts,
            workers=workers,
            engine=engine,
            warm_from=warm_from,
            accept_changes=accept_changes,
        )
    _conclude(study.reader, study.name, json)


@contextmanager
def resumed_by(again: str) -> Iterator[None]:
    """Name the command that resumes a study if the block is interrupted."""
    from space.errors import Interrupted

    try:
        yield
    except Interrupted as error:
        raise type(error)(f"{error}; resume with: {again}") from None


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
