"""`pathfront export`: one trial as a folder that full training reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import MaxFlops, Storage, Study

if TYPE_CHECKING:
    from space.catalog import SuiteRecord

NAME = "export"
EXAMPLES = [
    "pathfront export quick -o best/",
    "pathfront export quick --pick knee -o knee/",
    "pathfront export quick --max-flops 500k -o small/",
    "pathfront export quick --trial 7 -o seven/",
]


def run(
    study: Study,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="A folder that does not exist.")
    ],
    pick: Annotated[
        str | None,
        typer.Option(metavar="best|knee", help="The front's best score (default), or its knee."),
    ] = None,
    trial: Annotated[int | None, typer.Option(metavar="N", min=0, help="A trial by its number.")] = None,
    max_flops: MaxFlops = None,
    storage: Storage = None,
) -> None:
    """Write a trial into a folder that trains.

    Configuration, weights, tokenizer, references and a card; by default of the front's best score.
    """
    import shlex

    from search.commands.output import score, short
    from search.export import export
    from search.results import Reader
    from search.storage import resolve_url

    def tokenizer(suite: "SuiteRecord") -> bytes:
        from trainers.tasks.tokenizer import suite_tokenizer

        return suite_tokenizer(suite).model

    reader = Reader(resolve_url(storage))
    detail = export(reader, study, output, tokenizer, pick, trial, max_flops)
    row = detail.row
    print(f"exported trial {row.number} (score {score(row.score, row.stderr)}) to {output}")
    print(f"train it: pathfront train {shlex.quote(str(output))} --tokens {short(10 * row.tokens)}")
