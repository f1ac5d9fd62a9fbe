"""What to do next with a study: commands that work when they are pasted."""

from collections.abc import Sequence

from search.commands.output import short
from search.read.results import Reader, storage_option
from search.read.rows import FrontRow, TrialDetail
from space.recipe import new_folder

MORE = 10  # times the tokens of its rung: a full training to suggest


def can_be_exported(detail: TrialDetail) -> bool:
    """Whether a trial is done and has left weights for an export to carry; not every trainer saves any."""
    return detail.row.state == "done" and any(file.kind == "decayed" for file in detail.checkpoints)


def next_steps(reader: Reader, study: str, front: Sequence[FrontRow]) -> list[str]:
    """Commands for a study that has a front.

    Args:
        reader: its storage.
        study: its name.
        front: its front, best score first.
    """
    best = front[0]
    steps = [f"pathfront dashboard{storage_option(reader.url)}"]
    if not can_be_exported(reader.trial(study, best.trial)):
        return [*steps, reader.command("show", study, str(best.trial))]
    folder = new_folder(f"{study}-best")
    steps.append(reader.command("export", study, f"--pick best -o {folder}/"))
    if reader.config(study).trainer is None:  # ours is the only one that trains an export
        steps.append(f"pathfront train {folder}/ --tokens {short(MORE * best.tokens)}")
    return steps
