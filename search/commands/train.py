"""`pathfront train`: train an export in full."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Device, Folder, Json, Threads, whole
from space.contract import Strategy

if TYPE_CHECKING:
    from pathlib import Path

NAME = "train"
EXAMPLES = [
    "pathfront train best/ --tokens 50M",
    "pathfront train best/ --tokens 50e6 --device cuda --devices 8",
    "pathfront train best/ --tokens 50e6 --device cuda --devices 8 --strategy fsdp --checkpoint-activations",
    "torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500 "
    "--no-python pathfront train best/ --tokens 5e9 --nodes 2",
    "srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 pathfront train best/ --tokens 5e9 --nodes 2",
]


def run(
    folder: Folder,
    tokens: Annotated[
        int, typer.Option(metavar="N", parser=whole, help="Total input tokens (50e6, 50_000_000, 50M).")
    ],
    device: Device = "auto",
    threads: Threads = None,
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Devices of a machine that train it together (1): GPUs, or CPU processes.",
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Machines; torchrun or srun starts the processes, see above (1)."
        ),
    ] = None,
    strategy: Annotated[
        Strategy,
        typer.Option(help="What each device holds: all weights (ddp), or its share of them (fsdp)."),
    ] = "ddp",
    loaders: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Processes for each device that assemble batches ahead (0)."),
    ] = 0,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the layers first: seconds on a GPU, minutes on a CPU.")
    ] = False,
    checkpoint_activations: Annotated[
        bool | None,
        typer.Option(
            "--checkpoint-activations/--keep-activations",
            help="Compute layers again for the backward pass, which saves memory (as in the study).",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train an export in full, then score it on the report episodes.

    With several devices each trains on its share of every batch; the result is that of one device. With
    --strategy fsdp, weights, gradients and the optimizer's state are divided among them as well; the first
    one holds all weights in the end, to write and score them. On several machines, torchrun or Slurm's srun
    starts this command once for each device of each machine, as in the examples; they share the folder, and
    --devices and --nodes may be left out. The same command resumes an interrupted training, with any number
    of devices and machines and any strategy; if the training is finished, it prints the scores. A folder
    `hf/` in the export is rewritten with the new weights.
    """
    from pathlib import Path

    from search.commands import output
    from search.commands.phases import (
        Phases,
        command_line,
        ending_at_a_checkpoint,
        ending_at_once,
        prepare_data,
        threads_of,
    )
    from search.commands.scores import print_scorecard
    from space.machine import check_output
    from space.recipe import Recipe

    path = Path(folder)
    recipe = Recipe.read(path)
    from trainers.exports.full import finished_training, train_export
    from trainers.exports.load import FOLDER
    from trainers.exports.threads import NOTE
    from trainers.launched import follow, launched, letting_go, prepare_once
    from trainers.phases import no_phases

    member = launched(devices, nodes)
    if member is not None and member.rank:
        if finished_training(path, recipe, tokens) is None:
            prepare_once(member, lambda: prepare_data(recipe.suite, no_phases))
        follow(member)
        return
    finished = finished_training(path, recipe, tokens) is not None
    if finished:
        output.say(f"{folder} is trained on {output.short(tokens)} tokens already; more take it further")
    else:
        check_output(path / FOLDER)
        output.say(f"training {folder} on {output.short(tokens)} tokens of suite {recipe.suite.name}")
    given = {"tokens": tokens, "device": None if device == "auto" else device, "threads": threads}
    given |= {"devices": devices, "strategy": None if strategy == "ddp" else strategy}
    given |= {"loaders": loaders or None}
    switches = ["--compile"] * compile
    if checkpoint_activations is not None:
        switches.append("--checkpoint-activations" if checkpoint_activations else "--keep-activations")
    again = command_line("train", folder, *switches, **given) if member is None else "the same command"
    with Phases() as phases:
        choice = threads_of(threads, phases, path / FOLDER / NOTE)
        with ending_at_once(f"stopped; resume with: {again}"):
            if not finished:
                prepare_once(member, lambda: prepare_data(recipe.suite, phases))
        with ending_at_a_checkpoint(again) as stopping, letting_go(member):
            card = train_export(
                path,
                tokens,
                lambda *point: None,
                stopping,
                device,
                phases,
                choice,
                devices or 1,
                loaders,
                compile,
                member,
                strategy,
                checkpoint_activations,
            )
    _refresh_hf(path)
    if json:
        output.print_json(card)
        return
    print_scorecard(card, recipe.suite)
    print(f"weights and card: {path / FOLDER}")


def _refresh_hf(export: "Path") -> None:
    """Rewrite the folder for transformers if it has old weights; print a message if that is impossible."""
    from search.commands import output
    from space.errors import NotFoundError
    from space.files import write_folder_atomically
    from space.recipe import HF_FOLDER
    from trainers.exports.huggingface.folder import is_stale, write_hf

    folder = export / HF_FOLDER
    if not folder.is_dir() or not is_stale(export, folder):
        return
    try:
        with write_folder_atomically(folder, replace=True) as partial:
            write_hf(export, partial)
    except NotFoundError as error:
        output.say(f"{folder} still holds the weights of before: {error}")
    else:
        output.say(f"{folder} now holds the new weights")
