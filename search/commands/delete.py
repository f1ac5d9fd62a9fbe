"""`pathfront delete`: delete a study with its trials and its checkpoints."""

import sys
from typing import Annotated

import typer

from search.commands.options import Artifacts, Storage, Study
from space.errors import StudyFileError

NAME = "delete"
EXAMPLES = ["pathfront delete quick         # asks first", "pathfront delete quick --yes"]
REFUSED = 1
MANY = 500  # trials; Optuna deletes one in some milliseconds


def run(
    study: Study,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    forget_checkpoints: Annotated[
        bool, typer.Option("--forget-checkpoints", help="Delete the study even if its files are missing.")
    ] = False,
    storage: Storage = None,
    artifacts: Artifacts = None,
) -> None:
    """Delete a study with all its files.

    Deletes its trials, checkpoints and logs, and Optuna's study of the same name; exports are kept. If it is
    interrupted, the same command finishes the deletion.
    """
    from search.commands import output
    from search.database.storage import resolve_artifacts, resolve_url, shown
    from search.maintenance import delete_all, plan_deletion
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
        output.say(f"not deleted, because a study of another database may own it: {folder}")
