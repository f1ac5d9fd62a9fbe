"""`pathfront export`: one trial as a folder that full training reads, and that transformers loads."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.commands.options import MaxFlops, Storage
from space.errors import StudyFileError

if TYPE_CHECKING:
    from search.results import Reader
    from search.rows import TrialDetail
    from space.catalog import SuiteRecord

NAME = "export"
EXAMPLES = [
    "pathfront export quick -o best/",
    "pathfront export quick --pick knee -o knee/",
    "pathfront export quick --max-flops 500k -o small/",
    "pathfront export quick --trial 7 -o seven/",
    "pathfront export quick --format hf -o best/     # and best/hf/, which transformers loads",
    "pathfront export best/ --format hf              # best/hf/ from its newest weights",
]


def run(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="Name of a study in the storage; or, for hf, an export.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="A folder that does not exist.")
    ] = None,
    pick: Annotated[
        str | None,
        typer.Option(metavar="best|knee", help="The front's best score (default), or its knee."),
    ] = None,
    trial: Annotated[int | None, typer.Option(metavar="N", min=0, help="A trial by its number.")] = None,
    max_flops: MaxFlops = None,
    form: Annotated[
        Literal["pathfront", "hf"],
        typer.Option("--format", help="hf adds a folder that transformers loads."),
    ] = "pathfront",
    storage: Storage = None,
) -> None:
    """Write a trial into a folder that trains.

    Configuration, weights, tokenizer, references and a card; by default of the front's best score.
    """
    from search.commands.output import score, short
    from search.results import Reader
    from search.storage import resolve_url
    from space.recipe import CONFIG_FILE, HF_FOLDER

    if form == "hf" and (Path(study) / CONFIG_FILE).is_file():
        if (pick, trial, max_flops) != (None, None, None):
            raise StudyFileError(
                f"'{study}' is an export of one trial: leave --pick, --trial, --max-flops out"
            )
        _add_hf(Path(study), output)
        return
    if output is None:
        raise StudyFileError("an export of a study goes into a new folder: name it with -o or --output")
    reader = Reader(resolve_url(storage))
    row = _export(reader, study, output, (pick, trial, max_flops), form == "hf").row
    print(f"exported trial {row.number} (score {score(row.score, row.stderr)}) to {output}")
    print(f"train it: pathfront train {shlex.quote(str(output))} --tokens {short(10 * row.tokens)}")
    if form == "hf":
        _say_how(output / HF_FOLDER)


def _export(
    reader: "Reader",
    study: str,
    output: Path,
    choice: tuple[str | None, int | None, float | None],
    hf: bool,
) -> "TrialDetail":
    from search.export import choose, export, require_new

    def tokenizer(suite: "SuiteRecord") -> bytes:
        from trainers.tasks.tokenizer import suite_tokenizer

        return suite_tokenizer(suite).model

    if not hf:
        return export(reader, study, output, tokenizer, *choice)
    require_new(output)
    chosen = choose(reader, study, *choice)
    from trainers.huggingface.classes import exact_class

    exact_class(chosen.config.architecture)  # refuses before anything is written
    return export(reader, study, output, tokenizer, trial=chosen.row.number, finish=_write_hf)


def _add_hf(export: Path, output: Path | None) -> None:
    """Add the folder for transformers to an export, or write it elsewhere."""
    from search.export import require_new, whole
    from space.recipe import HF_FOLDER, Recipe
    from trainers.huggingface.classes import exact_class
    from trainers.huggingface.folder import write_hf

    folder = output or export / HF_FOLDER
    require_new(folder)
    exact_class(Recipe.read(export).candidate.architecture)
    with whole(folder) as partial:
        write_hf(export, partial)
    if output is None:
        _name_on_card(export)
    _say_how(folder)


def _write_hf(export: Path) -> None:
    """Add the folder for transformers to an export that is still being written."""
    from space.recipe import HF_FOLDER
    from trainers.huggingface.folder import write_hf

    write_hf(export, export / HF_FOLDER)
    _name_on_card(export)


def _name_on_card(export: Path) -> None:
    """Name the folder for transformers on an export's card, where it still has one."""
    from search.card import with_hf
    from space.recipe import CARD_FILE

    path = export / CARD_FILE
    if path.is_file():
        path.write_text(with_hf(path.read_text(encoding="utf-8")), encoding="utf-8")


def _say_how(folder: Path) -> None:
    print(f"load it: transformers.AutoModelForCausalLM.from_pretrained({str(folder)!r}), see its README.md")
