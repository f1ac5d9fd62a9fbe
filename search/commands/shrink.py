"""`pathfront shrink`: prune the hidden channels of an export and retrain it briefly."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Device, Folder, Json, Threads, whole

if TYPE_CHECKING:
    from trainers.exports.shrunk import Shrunk

NAME = "shrink"
EXAMPLES = [
    "pathfront shrink best/                              # half the channels, to best-half/",
    "pathfront shrink best/ --channels 0.25 -o quarter/",
    "pathfront shrink best/ --tokens 2M --json",
]


def run(
    folder: Folder,
    channels: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the hidden channels to keep.")
    ] = 0.5,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="The new folder; else DIR-half or DIR-shrunk-SHARE.",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole,
            help="Input tokens to retrain on; else a tenth of those the weights were trained on.",
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Prune hidden channels, retrain, and compare.

    Keeps the most important hidden channels of every expert, retrains them by distillation from the whole
    model, and writes a new export with the scores on the report episodes before and after. The same command
    resumes an interrupted run.
    """
    import shlex

    from search.commands.output import print_json, say, short
    from search.commands.phases import (
        Phases,
        command_line,
        ending_at_a_checkpoint,
        ending_at_once,
        prepare_data,
        threads_of,
    )
    from space.recipe import Recipe

    path = Path(folder)
    target = output or _beside(path, channels)
    Recipe.read(path)  # raises before slow libraries are imported
    from trainers.exports.shrink import Plan, shrink_export, work_folder
    from trainers.exports.threads import NOTE

    plan = Plan.of(path, target, channels, tokens)
    retrain = plan.parent.distil_tokens
    before, after = plan.parent.expert_width, plan.candidate.architecture.expert_width
    say(
        f"shrinking {folder} from {before} to {after} channels an expert,"
        f" retraining on {short(retrain)} tokens of suite {plan.recipe.suite.name}"
    )
    given = {"channels": f"{channels:g}", "output": output, "tokens": tokens, "threads": threads}
    again = command_line("shrink", folder, **given, device=None if device == "auto" else device)
    with Phases() as phases:
        choice = threads_of(threads, phases, work_folder(target) / NOTE)
        with ending_at_once(f"stopped; resume with: {again}"):
            prepare_data(plan.recipe.suite, phases)
        with ending_at_a_checkpoint(again) as stopping:
            shrunk = shrink_export(path, plan, lambda *point: None, stopping, device, phases, choice)
    if json:
        print_json(shrunk)
        return
    _print(shrunk)
    print(f"{shrunk.summary}; score it again: pathfront eval {shlex.quote(str(target))}")


def _beside(folder: Path, channels: float) -> Path:
    """The default folder of the new export."""
    folder = folder.resolve() if folder.name in ("", "..") else folder
    return folder.with_name(
        f"{folder.name}-half" if channels == 0.5 else f"{folder.name}-shrunk-{channels:g}"
    )


def _print(shrunk: "Shrunk") -> None:
    """Print sizes, speeds and scores."""
    from search.commands.output import print_table, short

    counted = [
        (name, short(before), short(after), f"{after / before:.3f}") for name, before, after in shrunk.sizes
    ]
    print_table(["counted", ">parent", ">child", ">ratio"], counted)
    timed = [(name, short(speed.parent), short(speed.child), str(speed)) for name, speed in shrunk.timings]
    print_table(["tokens per second", ">parent", ">child", ">times as fast, quartiles"], timed)
    title = "report episodes, fraction of the expert with 95% intervals"
    print_table(["", ">parent", ">pruned", ">retrained"], shrunk.scores.rows, title=title)
