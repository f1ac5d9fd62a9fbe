"""Output of commands: data on stdout, everything else on stderr, progress bars only on terminals."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

# the commands use these as output.say, output.short and so on
from search.operations.console import Meter as Meter
from search.operations.console import console
from search.operations.console import say as say
from search.operations.console import score as score
from space.words import duration as duration
from space.words import short as short

ANY_WIDTH = 10_000  # columns, so that no table is cut


def print_json(value: Any) -> None:
    """Print rows, models or plain values as JSON on stdout."""
    from search.read.plain import as_json

    print(json.dumps(as_json(value), indent=2, ensure_ascii=False))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None, stderr: bool = False
) -> None:
    """Print a table; columns whose name starts with '>' are aligned to the right.

    Nothing is cut: a terminal that is too narrow wraps the lines. Brackets are text, not rich markup.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        title=title and Text(title),
        title_justify="left",
        title_style="bold",
        pad_edge=False,
    )
    table.collapse_padding = True
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    printer = console(stderr)
    needed = printer.measure(table, options=printer.options.update_width(ANY_WIDTH)).maximum
    printer.width = max(printer.width, needed)
    printer.print(table)
