"""`pathfront storage`: maintain the database."""

import typer

from search.commands.options import Storage, examples

app = typer.Typer(help="Upgrade the database that holds studies.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Make `upgrade` a subcommand although it is the only one."""


@app.command(
    "upgrade",
    epilog=examples(
        [
            "pathfront storage upgrade",
            "pathfront storage upgrade --storage postgresql://host/studies",
        ]
    ),
)
def upgrade_storage(storage: Storage = None) -> None:
    """Upgrade the tables of a database that an older Pathfront created.

    `launch` and `worker` do the same when they start. The upgrade is one transaction: if it is interrupted,
    the database is unchanged. Older versions of Pathfront cannot open the database afterwards.
    """
    from search.commands import output
    from search.database.storage import resolve_url, shown, upgrade
    from search.database.tables import TABLES_VERSION
    from space.errors import NotFoundError

    url = resolve_url(storage)
    before = upgrade(url, output.say)
    if before is None:
        raise NotFoundError(f"no study in '{shown(url)}'; make one: pathfront launch quick")
    state = "already" if before == TABLES_VERSION else "now"
    print(f"the tables of '{shown(url)}' are {state} of version {TABLES_VERSION}")
