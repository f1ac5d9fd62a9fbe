"""`pathfront worker`: run one worker of a study until the study ends."""

import os
import traceback

import typer

from search.commands.options import Artifacts, Patience, Storage, Study, set_patience

NAME = "worker"
EXAMPLES = ["pathfront worker quick", "pathfront worker quick --storage postgresql://host/studies"]


def run(
    study: Study, storage: Storage = None, artifacts: Artifacts = None, patience: Patience = None
) -> None:
    """Run trials of an existing study.

    One after another, until the study ends. Any number of workers may share a study. The first Ctrl-C stops
    the trial at its next checkpoint, the second stops at once.
    """
    from search.database.storage import resolve_artifacts, resolve_url

    url = resolve_url(storage)
    set_patience(patience)
    from search.failure_policy import may_be_replaced
    from search.store.workers import REPLACEABLE
    from search.worker import run_worker

    try:
        run_worker(url, study, resolve_artifacts(url, artifacts))
    except Exception as error:
        if "PATHFRONT_WORKER" not in os.environ or not may_be_replaced(error):
            raise
        traceback.print_exception(error)
        raise typer.Exit(REPLACEABLE) from error
