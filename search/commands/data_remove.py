"""`pathfront data remove`: delete a data set that no study needs."""

import sys
from typing import Annotated

import typer

from search.commands.options import Storage

EXAMPLES = ["pathfront data remove novels         # asks first", "pathfront data remove novels --yes"]

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="What the task is called: small letters, digits, hyphens.")
]


def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: Storage = None,
) -> None:
    """Delete a data set and what was made from it.

    Its floor and expert go too, and what an interrupted add has left. Refused while a study of the storage
    that is not finished uses it; studies of other storages are not known. Exports that were trained on it
    stay, and can no longer be scored on it.
    """
    from search.commands import output
    from space.catalog import forget_local
    from space.errors import NotFoundError, StudyFileError, nearest
    from trainers.tasks.datasets.library import data_folder, dataset_names, is_begun, remove_dataset

    if name not in dataset_names() and not is_begun(name):
        raise NotFoundError(f"no data set is called '{name}'{nearest(name, dataset_names())}")
    if users := _users(name, storage):
        raise StudyFileError(
            f"a data set stays while a study needs it, '{name}' is a task of '{users[0]}', which is not"
            f" finished; finish it, or delete it: pathfront delete {users[0]}"
        )
    if not yes:
        if not sys.stdin.isatty():
            raise StudyFileError("a deletion asks first, and here is no terminal to answer at: add --yes")
        if not typer.confirm(f"delete the data set '{name}' in {data_folder() / name}?", err=True):
            output.say("nothing was deleted")
            raise typer.Exit(1)
    remove_dataset(name)
    forget_local(name)
    print(f"deleted the data set '{name}'")


def _users(name: str, storage: str | None) -> list[str]:
    """Studies of a storage that are not finished and have a task of that name."""
    from search.database.storage import resolve_url
    from search.read.results import Reader
    from space.errors import NotFoundError

    try:
        reader = Reader(resolve_url(storage))
    except NotFoundError:
        return []
    try:
        going = [study.name for study in reader.studies() if not study.finished]
        return [study for study in going if name in reader.suite(study).tasks]
    finally:
        reader.close()
