"""`pathfront retry`: trials that failed for good may be tried again."""

from typing import Annotated

import typer

from search.commands.options import Storage, Study

NAME = "retry"
EXAMPLES = [
    "pathfront retry quick                        # all that failed for good",
    "pathfront retry quick --trial 7",
    "pathfront retry quick --forget-checkpoints   # their files were deleted: such trials begin anew",
]


def run(
    study: Study,
    trial: Annotated[int | None, typer.Option(metavar="N", min=0, help="Only this trial.")] = None,
    forget_checkpoints: Annotated[
        bool,
        typer.Option(
            "--forget-checkpoints",
            help="Strike out checkpoints whose files are gone; their trials begin anew.",
        ),
    ] = False,
    storage: Storage = None,
) -> None:
    """Let trials that failed be tried again.

    Once the cause is mended: as many attempts as at first, from the last checkpoint. A study that halted goes
    on as well. Nothing runs until the study is launched again.
    """
    from search.database.storage import resolve_url
    from search.read.remarks import launch_command
    from search.upkeep import retry
    from space.words import counted

    url = resolve_url(storage)
    done = retry(url, study, trial, forget_checkpoints)
    if done.forgotten:
        print(f"{counted(done.forgotten, 'checkpoint')} struck out: the files are gone")
    elif forget_checkpoints:
        print("every checkpoint is there: none was struck out")
    if done.trials:
        print(f"{counted(done.trials, 'failed trial')} of study '{study}' may be tried again")
    elif trial is not None:
        print(f"trial {trial} has attempts left and is tried again anyway")
    else:
        print(f"no trial of study '{study}' failed for good{'; it may go on' if done.opened else ''}")
    if done.trials or done.forgotten or done.opened:
        print(f"go on with: {launch_command(study, url)}")
