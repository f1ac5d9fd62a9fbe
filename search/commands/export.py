"""`pathfront export`: write a trial as a folder for full training, and for transformers."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.commands.options import MOST_TRIALS, Larger, MaxFlops, Storage, whole
from space.errors import StudyFileError

if TYPE_CHECKING:
    from space.recipe import Growth, Recipe

NAME = "export"
EXAMPLES = [
    "pathfront export quick -o best/",
    "pathfront export quick --pick knee -o knee/",
    "pathfront export quick --max-flops 500k -o small/",
    "pathfront export quick --trial 7 -o seven/",
    "pathfront export quick --scale 10x -o big/      # a larger model of the same shape, untrained",
    "pathfront export quick --format hf -o best/     # adds best/hf/ for transformers",
    "pathfront export best/ --format hf              # best/hf/ from the newest weights of best/",
]


def run(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study in the storage; with --format hf also an export.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The new folder; it must not exist.")
    ] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            metavar="best|knee", help="The front's best score (default), or its knee; confirmed ones first."
        ),
    ] = None,
    trial: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=MOST_TRIALS, help="Export the trial with this number."),
    ] = None,
    max_flops: MaxFlops = None,
    scale: Larger = None,
    tokens: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole, help="With --scale: predict the score at N tokens."),
    ] = None,
    form: Annotated[
        Literal["pathfront", "hf"],
        typer.Option("--format", help="hf adds a folder for transformers."),
    ] = "pathfront",
    storage: Storage = None,
) -> None:
    """Export a trial as a folder for full training.

    The folder has configuration, weights, tokenizer, references and a card. By default the trial with the
    front's best score is exported. With --scale, the export is a larger model of the same shape, with a
    predicted score and without weights.
    """
    from search.api import open_study
    from search.commands.output import score, short
    from search.operations.export import add_hf, export_larger, export_trial
    from space.recipe import CONFIG_FILE, HF_FOLDER

    if tokens is not None and scale is None:
        raise StudyFileError("--tokens predicts the score of a larger model: give --scale as well")
    if form == "hf" and scale is not None:
        raise StudyFileError(
            "a larger model has no weights for transformers until it is trained: leave --format out,"
            " train the export, then: pathfront export DIR --format hf"
        )
    if form == "hf" and (Path(study) / CONFIG_FILE).is_file():
        if (pick, trial, max_flops) != (None, None, None):
            raise StudyFileError(
                f"'{study}' is an export of one trial: leave --pick, --trial, --max-flops out"
            )
        _say_how(add_hf(Path(study), output))
        return
    if output is None:
        raise StudyFileError("an export of a study goes into a new folder: name it with -o or --output")
    opened = open_study(study, storage)
    choice = (pick, trial, max_flops)
    if scale is not None:
        _say_grown(export_larger(opened.reader, study, output, scale, tokens, *choice), output)
        return
    detail = export_trial(opened.reader, study, output, *choice, hf=form == "hf")
    row, of = detail.row, detail.confirmed
    confirmed = "" if of is None or of.score is None else f", confirmed at {score(of.score)}"
    print(f"exported trial {row.number} (score {score(row.score, row.stderr)}{confirmed}) to {output}")
    if opened.config.trainer is None:
        print(f"train it: pathfront train {shlex.quote(str(output))} --tokens {short(10 * row.tokens)}")
    if form == "hf":
        _say_how(output / HF_FOLDER)


def _say_how(folder: Path) -> None:
    print(f"load it: transformers.AutoModelForCausalLM.from_pretrained({str(folder)!r}), see its README.md")


def _say_grown(recipe: "Recipe", output: Path) -> None:
    from search.commands.output import say, score, short
    from space.description import describe

    grown, origin = recipe.grown, recipe.origin
    assert grown is not None
    print(
        f"exported trial {origin.trial} (score {score(origin.score, origin.score_stderr)}) grown"
        f" {grown.factor:.3g} times to {describe(recipe.candidate).label},"
        f" {short(grown.flops)} FLOPs/token, to {output}"
    )
    if grown.unknown is not None:
        say(f"no prediction: {grown.unknown}")
    else:
        _print_predicted(grown)
    print(f"train it: pathfront train {shlex.quote(str(output))} --tokens {recipe.tokens_to_train}")


def _print_predicted(grown: "Growth") -> None:
    from search.commands.output import print_table, short

    print_table(
        [">tokens", ">training FLOPs", ">predicted score", ">90% interval"],
        [
            (short(p.tokens), short(p.training_flops), f"{p.score:.3f}", f"{p.low:.3f} to {p.high:.3f}")
            for p in grown.predicted
        ],
    )
    if grown.reach is not None:
        print(f"the study's rungs tell nothing beyond {short(grown.reach)} tokens")
