"""Suggest the next commands for a study, ready to be pasted into a shell."""

from collections.abc import Sequence

from search.read.picks import picked
from search.read.results import Reader, storage_option
from search.read.rows import FrontRow, TrialDetail
from space.recipe import new_folder
from space.words import short

MORE = 10  # multiple of a trial's tokens that is suggested for full training


def can_be_exported(detail: TrialDetail) -> bool:
    """Whether a trial is done and has stored weights; not every trainer stores any."""
    return detail.row.state == "done" and any(file.kind == "decayed" for file in detail.checkpoints)


def next_steps(reader: Reader, study: str, front: Sequence[FrontRow]) -> list[str]:
    """Commands for a study that has a front.

    Args:
        reader: the database.
        study: the study's name.
        front: its front, best score first.
    """
    best = picked(front, "best")
    steps = [f"pathfront dashboard{storage_option(reader.url)}"]
    if not can_be_exported(reader.trial(study, best.trial)):
        return [*steps, reader.command("show", study, str(best.trial))]
    folder = new_folder(f"{study}-best")
    steps.append(reader.command("export", study, f"--pick best -o {folder}/"))
    if reader.config(study).trainer is None:  # only Pathfront's trainer trains an export
        steps.append(f"pathfront train {folder}/ --tokens {short(MORE * best.tokens)}")
    return steps
