"""`pathfront trials`: list the trials of a study."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.commands.options import Json, Storage, Study
from space.errors import StudyFileError

if TYPE_CHECKING:
    from search.read.rows import ListedTrial

NAME = "trials"
EXAMPLES = [
    "pathfront trials quick",
    "pathfront trials quick --state failed",
    "pathfront trials quick --csv > trials.csv",
    "pathfront trials quick --json | jq '.[] | select(.rung == 2) | .trial'",
]
REASON = 60  # most characters of a failure's reason in the table


def run(
    study: Study,
    state: Annotated[
        Literal["running", "done", "failed", "paused", "lost"] | None,
        typer.Option(help="Only trials in this state; lost trials run without a live worker."),
    ] = None,
    storage: Storage = None,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with the columns of the JSON.")] = False,
) -> None:
    """List all trials of a study, ordered by number.

    Prints each trial's score, cost, origin, attempts, and why it failed.
    """
    from search.commands import output
    from search.database.storage import resolve_url
    from search.read.results import Reader

    if json and csv:
        raise StudyFileError("--json and --csv cannot be combined: leave one out")
    rows = Reader(resolve_url(storage)).listed_trials(study, state)
    if json:
        output.print_json(rows)
    elif csv:
        _print_csv(rows)
    elif rows:
        _print(rows)
    else:
        which = "" if state is None else f" that is {state}"
        output.say(f"study '{study}' has no trial{which}")


def _print(rows: "list[ListedTrial]") -> None:
    from search.choose.provenance import provenance
    from search.commands import output

    lines = [
        (
            "-" if row.number is None else str(row.number),
            row.candidate,
            str(row.rung),
            row.state,
            output.score(row.score, row.stderr),
            output.short(row.flops_per_token),
            output.short(row.tokens),
            provenance(row.origin).rule,
            str(row.attempts),
            row.worker or "-",
            _reason(row),
        )
        for row in rows
    ]
    columns = [">trial", "candidate", ">rung", "state", ">score", ">FLOPs/token", ">tokens", "origin"]
    output.print_table([*columns, ">attempts", "worker", "reason"], lines)


def _reason(row: "ListedTrial") -> str:
    if row.error is None or row.state == "done":
        return ""
    return row.error if len(row.error) <= REASON else f"{row.error[: REASON - 3]}..."


def _print_csv(rows: "list[ListedTrial]") -> None:
    """Print CSV; the header is printed even if there are no trials."""
    import csv
    import sys

    from search.read.plain import as_json, column_names
    from search.read.rows import ListedTrial

    cells = [{name: _cell(value) for name, value in _flat(as_json(row)).items()} for row in rows]
    listed = [name for name in column_names(ListedTrial) if name != "objectives"]
    names = dict.fromkeys(listed) | dict.fromkeys(name for row in cells for name in row)
    writer = csv.DictWriter(sys.stdout, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)


def _flat(row: "dict[str, object]") -> "dict[str, object]":
    """A row as JSON with a column for each cost that is an objective; the score has its own."""
    objectives = row.pop("objectives")
    assert isinstance(objectives, dict)
    return row | {f"objective.{name}": value for name, value in objectives.items() if name != "score"}


def _cell(value: object) -> object:
    """A value as in JSON; null becomes an empty cell."""
    return str(value).lower() if isinstance(value, bool) else value
