"""`pathfront retry`: let trials that failed permanently be tried again."""

from typing import Annotated

import typer

from search.commands.options import Storage, Study

NAME = "retry"
EXAMPLES = [
    "pathfront retry quick                        # all trials that failed permanently",
    "pathfront retry quick --trial 7",
    "pathfront retry quick --forget-checkpoints   # start trials over whose checkpoint files are gone",
]


def run(
    study: Study,
    trial: Annotated[int | None, typer.Option(metavar="N", min=0, help="Only this trial.")] = None,
    forget_checkpoints: Annotated[
        bool,
        typer.Option(
            "--forget-checkpoints",
            help="Forget checkpoints whose files are gone; their trials start over.",
        ),
    ] = False,
    storage: Storage = None,
) -> None:
    """Let failed trials be tried again.

    Use it after the cause is fixed. Each trial gets its full number of attempts again and continues from its
    last checkpoint. A halted study may continue, too. Nothing runs until the study is launched again.
    """
    from search.database.storage import resolve_url
    from search.maintenance import retry
    from search.read.remarks import launch_command
    from space.words import counted

    url = resolve_url(storage)
    done = retry(url, study, trial, forget_checkpoints)
    if done.forgotten:
        print(f"{counted(done.forgotten, 'checkpoint')} removed from the database: their files are gone")
    elif forget_checkpoints:
        print("every checkpoint is there: none was removed from the database")
    if done.trials:
        print(f"{counted(done.trials, 'failed trial')} of study '{study}' may be tried again")
    elif trial is not None:
        print(f"trial {trial} has attempts left and is tried again anyway")
    else:
        print(
            f"no trial of study '{study}' failed permanently{'; the study may resume' if done.opened else ''}"
        )
    if done.trials or done.forgotten or done.opened:
        print(f"resume with: {launch_command(study, url)}")
