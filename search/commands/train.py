"""`pathfront train`: an export trained in full."""

from typing import Annotated

import typer

from search.commands.options import Device, Folder, Json, whole

NAME = "train"
EXAMPLES = ["pathfront train best/ --tokens 50M", "pathfront train best/ --tokens 50e6 --device cuda"]


def run(
    folder: Folder,
    tokens: Annotated[
        int, typer.Option(metavar="N", parser=whole, help="Input tokens in all (50e6, 50_000_000, 50M).")
    ],
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train an export in full, then score it.

    The scores are taken on the report episodes. The same command goes on with what was begun.
    """
    from pathlib import Path

    from search.commands import output
    from search.commands.interrupt import drain_on_interrupt
    from search.commands.scores import print_scorecard
    from space.recipe import Recipe

    path = Path(folder)
    recipe = Recipe.read(path)
    output.say(f"training {folder} on {output.short(tokens)} tokens of suite {recipe.suite.name}")
    from trainers.full import train_export

    hint = f"stopping at a checkpoint; go on with: pathfront train {folder} --tokens {tokens}"
    with drain_on_interrupt(hint) as stopping, output.Meter("training", tokens) as meter:

        def progress(done: int, loss: float, tokens_per_second: float) -> None:
            meter.update(done, f"loss {loss:.3f}, {output.short(tokens_per_second)} tokens/s")

        card = train_export(path, tokens, progress, stopping, device)
    if json:
        output.print_json(card)
        return
    print_scorecard(card, recipe.suite)
    print(f"weights and card: {path / 'full'}")
