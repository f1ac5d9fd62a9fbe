"""`pathfront importance`: what matters for the score at fixed cost."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Json, Storage

if TYPE_CHECKING:
    from search.choose.studied import Studied
    from search.understand.importance import Importance, Understanding

NAME = "importance"
EXAMPLES = [
    "pathfront importance quick",
    "pathfront importance quick --json | jq '.knobs[0]'",
    "pathfront importance --table quick",
]

StudyOrNone = Annotated[
    str | None, typer.Argument(metavar="[STUDY]", help="Name of a study in the storage; or give --table.")
]
OfTable = Annotated[
    str | None, typer.Option("--table", metavar="FILE", help="A table that ships, or a file, instead.")
]


def run(
    study: StudyOrNone = None, table: OfTable = None, storage: Storage = None, json: Json = False
) -> None:
    """Print what matters for the score at fixed cost.

    For each knob and each task's share: the share of the variance that is left if everything else is known,
    with its 90% interval and a direction; and how well lower rungs predict the order at higher ones.
    """
    from search.commands import output
    from search.understand.importance import importance

    found = importance(read_studied(study, table, storage))
    if json:
        output.print_json(found)
    else:
        _print(found)


def read_studied(study: str | None, table: str | None, storage: str | None) -> "Studied":
    """The study or the table that a command names.

    Raises:
        StudyFileError: both are named, or neither.
        NotFoundError: there is no such study or table.
    """
    from search.database.storage import resolve_url
    from search.read.results import Reader
    from search.read.studied import studied
    from search.table.files import read_table
    from search.table.studied import studied_table
    from space.errors import StudyFileError

    if (study is None) == (table is None):
        given = "neither" if study is None else "both"
        raise StudyFileError(f"name a study, or a table with --table, got {given}")
    if table is not None:
        return studied_table(read_table(table))
    assert study is not None
    return studied(Reader(resolve_url(storage)), study)


def _print(found: "Understanding") -> None:
    from search.commands import output

    low, high = found.spread_interval
    print(
        f"study {found.study}, {found.candidates} candidates with scores: at fixed cost the score at the top"
        f" rung varies over the space with a standard deviation of {found.spread:.3f} [{low:.3f}, {high:.3f}]"
    )
    print("share of that variance which is left if everything else is known, with 90% intervals:")
    for title, rows in (("knob", found.knobs), ("share of task", found.tasks)):
        if rows:
            columns = [title, ">explains", ">90% interval", "what is better"]
            output.print_table(columns, [_line(row) for row in rows])
    for pair in found.rungs:
        low, high = pair.interval
        print(
            f"rank correlation of rungs {pair.lower} and {pair.upper}: {pair.correlation:.2f}"
            f" [{low:.2f}, {high:.2f}] over the {pair.candidates} candidates with scores at both"
        )


def _line(row: "Importance") -> tuple[str, str, str, str]:
    low, high = row.interval
    if not row.supported:
        return row.name, "-", f"at most {high:.0%}", "the scores support no effect"
    return row.name, f"{row.share:.0%}", f"{low:.0%} to {high:.0%}", _better(row)


def _better(row: "Importance") -> str:
    match row.direction:
        case "optimum":
            assert row.best_interval is not None
            low, high = row.best_interval
            return f"an optimum near {row.best:.3g} [{low:.3g}, {high:.3g}]"
        case "value":
            return str(row.best).lower() if isinstance(row.best, bool) else str(row.best)
        case "unclear":
            return "see the tasks" if row.name == "mixture" else "no direction is clear"
        case _:
            return row.direction
