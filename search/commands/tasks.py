"""`pathfront tasks`: what is known of the tasks."""

import typer

from search.commands.options import Json, examples

app = typer.Typer(help="What is known of the tasks.", rich_markup_mode=None)


@app.command("list", epilog=examples(["pathfront tasks list", "pathfront tasks list --json"]))
def list_tasks(json: Json = False) -> None:
    """List the tasks with floor and expert on the report episodes."""
    from search.commands import output
    from space.catalog import load_catalog

    rows = []
    for task in load_catalog().tasks.values():
        floor, expert = task.checked("report")
        rows.append(
            {
                "name": task.name,
                "family": task.family,
                "domain": task.domain,
                "modality": task.modality,
                "variant": task.variant,
                "metric": task.metric,
                "floor": floor.mean,
                "expert": expert.mean,
                "unit": task.unit,
                "n": expert.n,
            }
        )
    if json:
        output.print_json(rows)
        return
    columns = ["name", "family", "domain", "modality", "metric", ">floor", ">expert", "unit", ">n"]
    output.print_table(columns, [[_cell(row[name.lstrip(">")]) for name in columns] for row in rows])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
