"""`pathfront trials`: list the trials of a study."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.commands.options import Json, Storage, Study
from space.errors import StudyFileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

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
    reader = Reader(resolve_url(storage))
    rows = reader.listed_trials(study, state)
    if json:
        output.print_json(rows)
    elif csv:
        _print_csv(rows, reader.config(study).objectives.costs)
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


def _print_csv(rows: "list[ListedTrial]", costs: "Sequence[str]") -> None:
    """Print CSV, with a column for each cost that is an objective; the header even without trials."""
    import csv
    import sys

    from search.read.plain import as_json, column_names
    from search.read.rows import ListedTrial

    cells = [_columns(as_json(row), costs) for row in rows]
    names = dict.fromkeys(_columns(dict.fromkeys([*column_names(ListedTrial)]), costs))
    names |= dict.fromkeys(name for row in cells for name in row)
    writer = csv.DictWriter(sys.stdout, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)


def _columns(row: "Mapping[str, Any]", costs: "Sequence[str]") -> dict[str, object]:
    """A row as JSON in cells: one for each cost that is an objective instead of all objectives in one."""
    objectives = row["objectives"] or {}
    cells = {name: _cell(value) for name, value in row.items() if name != "objectives"}
    return cells | {f"objective.{name}": objectives.get(name) for name in costs}


def _cell(value: object) -> object:
    """A value as in JSON; null becomes an empty cell."""
    return str(value).lower() if isinstance(value, bool) else value
