"""The command `pathfront`. Errors become one line on stderr and an exit code, without a traceback.

Exit codes: 0 done, 1 failed, 2 wrong usage or a bad study file, 3 not found, 4 storage unreachable,
130 interrupted, 143 terminated. Modules of commands import slow libraries only inside functions, so that
`--help` is fast.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from search.commands import (
    confirm,
    dashboard,
    data,
    delete,
    enqueue,
    evaluate,
    export,
    front,
    importance,
    launch,
    retry,
    show,
    shrink,
    status,
    storage,
    suggest,
    table,
    tasks,
    train,
    transfer,
    trials,
    worker,
)
from search.commands.options import examples
from space.errors import Interrupted, PathfrontError, StorageError, one_line

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class ReaderGone(Exception):  # noqa: N818 - an event
    """The program that reads stdout has closed it, as `head` does."""


class Commands(TyperGroup):
    """The group of commands. A broken pipe raises ReaderGone; typer alone would report a failure."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the command line, or print the help."""
        with _watched_stdout():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command and flush stdout."""
        with _watched_stdout():
            return super().invoke(ctx)


@contextmanager
def _watched_stdout() -> Iterator[None]:
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


app = typer.Typer(
    name="pathfront",
    cls=Commands,
    help="Search architecture and task mixture of a sparse multimodal generalist.",
    epilog=examples(
        [
            "pathfront launch quick            # a real study on this machine, some minutes",
            "pathfront dashboard               # its front, tasks, mixtures and experts",
            "pathfront export quick -o best/   # the best candidate as a folder",
            "pathfront train best/ --tokens 50M",
        ]
    ),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"pathfront {version('pathfront')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Define the options before a command."""


STUDIES = (launch, worker, status, front, trials, show, suggest, enqueue, confirm, retry, delete)
INSIGHTS = (importance, transfer)
EXPORTS = (export, train, evaluate, shrink)
for module in (*STUDIES, *INSIGHTS, *EXPORTS, dashboard):
    app.command(module.NAME, epilog=examples(module.EXAMPLES))(module.run)
app.add_typer(tasks.app, name="tasks")
app.add_typer(data.app, name="data")
app.add_typer(storage.app, name="storage")
app.add_typer(table.app, name="table")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = typer.main.get_command(app).main(
            given or ["--help"], prog_name="pathfront", standalone_mode=False
        )
        if code == INTERRUPTED:  # how the parser reports Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except ReaderGone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Interrupted as error:
        _fail(error, error.exit_code, "interrupted")
    except PathfrontError as error:
        _fail(error, error.exit_code)
    except typer.TyperException as error:
        _fail(_usage(error), USAGE)
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped by Ctrl-C", INTERRUPTED, "interrupted")
    except OSError as error:
        _fail(error, FAILED)
    except Exception as error:
        if not type(error).__module__.startswith("sqlalchemy."):
            raise
        _fail(getattr(error, "orig", None) or error, StorageError.exit_code)


def _fail(error: object, code: int, kind: str = "error") -> NoReturn:
    print(f"{kind}: {one_line(error)}", file=sys.stderr)
    sys.exit(code)


def _usage(error: Exception) -> str:
    """A usage error on one line, with the command that prints the help."""
    message = str(getattr(error, "format_message", error.__str__)())
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "pathfront"
    return f"{message.rstrip('.')}; see {path} --help"


if __name__ == "__main__":
    main()
