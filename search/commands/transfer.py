"""`pathfront transfer`: which task's data helps or hurts which task, and the predicted best mixture."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.importance import OfTable, StudyOrNone, read_studied
from search.commands.options import Json, Storage

if TYPE_CHECKING:
    from search.understand.transfer import Transfer

NAME = "transfer"
EXAMPLES = [
    "pathfront transfer quick",
    "pathfront transfer quick --csv mixtures/    # ratios.csv and metrics.csv, for other mixture tools",
    "pathfront transfer --table quick --json | jq '.mixture'",
]


def run(
    study: StudyOrNone = None,
    table: OfTable = None,
    csv: Annotated[
        str | None,
        typer.Option("--csv", metavar="FOLDER", help="A new folder for ratios.csv and metrics.csv."),
    ] = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Print which task helps or hurts which, and the best mixture.

    From scaling laws of the tasks, fitted to the trials at all rungs, with bootstrap intervals over
    candidates. Only what the scores support is called help or hurt.
    """
    from pathlib import Path

    from search.commands import output
    from search.understand.ratios import require_tables_new, write_ratios
    from search.understand.transfer import transfer

    if csv is not None:
        require_tables_new(Path(csv))
    seen = read_studied(study, table, storage)
    found = transfer(seen)
    if csv is not None:
        count = write_ratios(seen, Path(csv))
        output.say(f"ratios.csv and metrics.csv of {count} trials in {csv}")
    if json:
        output.print_json(found)
    else:
        _print(found)


def _print(found: "Transfer") -> None:
    from search.commands import output
    from space.words import counted

    print(
        f"study {found.study}: laws of the tasks, fitted to {counted(found.trials, 'trial')} of"
        f" {counted(found.candidates, 'candidate')} at all rungs; at the best architecture, of {found.best}"
    )
    shown = [row for row in found.influences if row.supported]
    if shown:
        print(f"supported by the scores: {len(shown)} of {counted(len(found.influences), 'pair')}")
        output.print_table(
            ["twice the share of", "", "task", ">change of its score", ">90% interval"],
            [
                (row.source, row.word, row.target, f"{row.gain:+.3f}", _interval(row.interval, "+.3f"))
                for row in shown
            ],
        )
    else:
        print(
            f"no transfer between tasks is supported by the scores ({counted(len(found.influences), 'pair')})"
        )
    print("predicted best mixture, with 90% intervals:")
    output.print_table(
        ["task", ">share", ">90% interval"],
        [(row.task, f"{row.share:.1%}", _interval(row.interval, ".1%")) for row in found.mixture],
    )
    verdict = "" if found.gains else ": the interval holds 0, so the uniform mixture may be as good"
    print(
        f"predicted gain of its score over the uniform mixture {found.gain:+.3f}"
        f" {_interval(found.gain_interval, '+.3f')}{verdict}"
    )


def _interval(ends: tuple[float, float], form: str) -> str:
    return f"[{ends[0]:{form}}, {ends[1]:{form}}]"
