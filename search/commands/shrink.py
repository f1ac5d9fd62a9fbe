"""`pathfront shrink`: an export with fewer channels, retrained on a small share of the tokens."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Device, Folder, Json, whole

if TYPE_CHECKING:
    from trainers.shrunk import Shrunk

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
            help="A folder that does not exist; else DIR-half, DIR-shrunk-SHARE.",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole,
            help="Input tokens to retrain on; else a tenth of those behind the weights.",
        ),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Keep the channels that matter, retrain, and compare.

    Prunes the hidden channels of every expert, lets the rest learn from the whole model, and writes a new
    export with the scores before and after on the report episodes. The same command goes on with what was
    begun.
    """
    import shlex

    from search.commands.interrupt import drain_on_interrupt
    from search.commands.output import Meter, print_json, say, short
    from space.recipe import Recipe

    path = Path(folder)
    target = output or _beside(path, channels)
    Recipe.read(path)  # says what is wrong before anything heavy is imported
    from trainers.shrink import Plan, shrink_export

    plan = Plan.of(path, target, channels, tokens)
    retrain = plan.parent.distil_tokens
    before, after = plan.parent.expert_width, plan.candidate.architecture.expert_width
    say(
        f"shrinking {folder} from {before} to {after} channels an expert,"
        f" retraining on {short(retrain)} tokens of suite {plan.recipe.suite.name}"
    )
    hint = "stopping at a checkpoint; the same command goes on"
    with drain_on_interrupt(hint) as stopping, Meter("retraining", retrain) as meter:

        def progress(done: int, loss: float, tokens_per_second: float) -> None:
            meter.update(done, f"loss {loss:.3f}, {short(tokens_per_second)} tokens/s")

        shrunk = shrink_export(path, plan, progress, stopping, device)
    if json:
        print_json(shrunk)
        return
    _print(shrunk)
    print(f"{shrunk.summary}; score it again: pathfront eval {shlex.quote(str(target))}")


def _beside(folder: Path, channels: float) -> Path:
    """Where the new export goes by default."""
    folder = folder.resolve() if folder.name in ("", "..") else folder
    return folder.with_name(
        f"{folder.name}-half" if channels == 0.5 else f"{folder.name}-shrunk-{channels:g}"
    )


def _print(shrunk: "Shrunk") -> None:
    """Print what was counted, what was timed and what was scored."""
    from search.commands.output import print_table, short

    counted = [
        (name, short(before), short(after), f"{after / before:.3f}") for name, before, after in shrunk.sizes
    ]
    print_table(["counted", ">parent", ">child", ">ratio"], counted)
    timed = [(name, short(speed.parent), short(speed.child), str(speed)) for name, speed in shrunk.timings]
    print_table(["tokens per second", ">parent", ">child", ">times as fast, quartiles"], timed)
    title = "report episodes, fraction of the expert with 95% intervals"
    print_table(["", ">parent", ">pruned", ">retrained"], shrunk.scores.rows, title=title)
