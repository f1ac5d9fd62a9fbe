"""`pathfront eval`: score an export on held-out episodes."""

from typing import Annotated, Literal

import typer

from search.commands.options import Device, Folder, Json, Threads

NAME = "eval"
EXAMPLES = ["pathfront eval best/", "pathfront eval best/ --split select --json"]


def run(
    folder: Folder,
    split: Annotated[
        Literal["report", "select"],
        typer.Option(help="Episodes: report (unused in the search) or select (used by the search)."),
    ] = "report",
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Score an export on held-out episodes.

    Scores the weights of its full training if there are any, else the exported weights.
    """
    from pathlib import Path

    from search.commands import output
    from search.commands.phases import Phases, ending_at_once, threads_of
    from search.commands.scores import print_scorecard
    from space.recipe import Recipe

    path = Path(folder)
    recipe = Recipe.read(path)
    output.say(f"scoring {folder} on the {split} episodes of suite {recipe.suite.name}")
    from trainers.exports.full import evaluate_export

    with Phases() as phases, ending_at_once("stopped; nothing was changed"):
        card = evaluate_export(path, split, device, phases, threads_of(threads, phases))
    if json:
        output.print_json(card)
    else:
        print_scorecard(card, recipe.suite)
