"""`pathfront delete`: a study with its trials and its checkpoints."""

import sys
from typing import Annotated

import typer

from search.commands.options import Artifacts, Storage, Study
from space.errors import StudyFileError

NAME = "delete"
EXAMPLES = ["pathfront delete quick         # asks first", "pathfront delete quick --yes"]
REFUSED = 1
MANY = 500  # trials, each of which takes Optuna some milliseconds


def run(
    study: Study,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    forget_checkpoints: Annotated[
        bool, typer.Option("--forget-checkpoints", help="Go on where the files are gone already.")
    ] = False,
    storage: Storage = None,
    artifacts: Artifacts = None,
) -> None:
    """Delete a study with all its files.

    Its trials, its checkpoints and logs, and Optuna's study of the same name; exports stay.
    Cut short, the same command finishes the job.
    """
    from search.commands import output
    from search.database.storage import resolve_artifacts, resolve_url, shown
    from search.upkeep import delete_all, plan_deletion
    from space.words import counted

    url = resolve_url(storage)
    what = plan_deletion(url, study, resolve_artifacts(url, artifacts), forget_checkpoints)
    size = output.short(what.files.size())
    if not yes:
        if not sys.stdin.isatty():
            raise StudyFileError("a deletion asks first, and here is no terminal to answer at: add --yes")
        held = f"{counted(what.candidates, 'candidate')}, {counted(what.trials, 'trial')}, {size}B of files"
        if not typer.confirm(f"delete study '{study}' of {shown(url)} ({held})?", err=True):
            output.say("nothing was deleted")
            raise typer.Exit(REFUSED)
    if what.trials >= MANY:
        output.say(f"deleting {counted(what.trials, 'trial')}: this takes a while")
    gone = delete_all(url, what)
    print(
        f"deleted study '{study}': {counted(gone.trials, 'trial')}, {counted(gone.files, 'file')},"
        f" {output.short(gone.bytes)}B freed"
    )
    for folder in gone.left:
        output.say(f"left as it is, since a study of another database may own it: {folder}")
