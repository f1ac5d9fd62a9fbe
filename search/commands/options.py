"""Options and arguments that several commands share, and parsers of numbers."""

import math
import os
from collections.abc import Iterable
from typing import Annotated, Literal

import typer

from space.growth import TargetSize

SUFFIXES = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
MOST_TRIALS = 2**31 - 1  # largest 32-bit integer of a database
MOST_TOKENS = 10**15
DEFAULT_STORAGE = "sqlite:///pathfront.db"


def number(text: str) -> float:
    """Parse a number above 0: 50000000, 50_000_000, 50e6 or 50M.

    Raises:
        typer.BadParameter: it is not such a number.
    """
    bare = text.strip().replace("_", "").lower()
    factor = SUFFIXES.get(bare[-1:], 1.0)
    try:
        value = float(bare[:-1] if bare[-1:] in SUFFIXES else bare) * factor
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"a number above 0 such as 50e6, 50_000_000 or 50M, got '{text}'")
    return value


def whole(text: str) -> int:
    """Parse a whole number of at least 1, in the same forms.

    Raises:
        typer.BadParameter: it is not such a number.
    """
    value = number(text)
    if value != round(value):
        raise typer.BadParameter(f"a whole number such as 50e6, 50_000_000 or 50M, got '{text}'")
    if value > MOST_TOKENS:
        raise typer.BadParameter(f"a whole number of at most {MOST_TOKENS:.0e}, got '{text}'")
    return round(value)


def set_patience(minutes: float | None) -> None:
    """Set how long this process and its workers wait for the database; None changes nothing."""
    if minutes is not None:
        os.environ["PATHFRONT_PATIENCE"] = str(minutes)


def examples(lines: Iterable[str]) -> str:
    """The epilog of a command's help, with one example per line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def scale(text: str) -> TargetSize:
    """Parse a size: FLOPs per token in the same forms, or a multiple such as 10x.

    Raises:
        typer.BadParameter: it is neither.
    """
    relative = text.strip().lower().endswith("x")
    try:
        return TargetSize(number(text.strip()[:-1] if relative else text), relative)
    except typer.BadParameter:
        raise typer.BadParameter(
            f"FLOPs per token such as 10M, or a multiple such as 10x, got '{text}'"
        ) from None


Study = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study in the storage.")]
Folder = Annotated[str, typer.Argument(metavar="DIR", help="A folder that `pathfront export` wrote.")]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help=f"Database of the studies; else PATHFRONT_STORAGE, else {DEFAULT_STORAGE}.",
    ),
]
Artifacts = Annotated[
    str | None,
    typer.Option(
        "--artifacts",
        metavar="URL",
        help="Where checkpoints are stored; else PATHFRONT_ARTIFACTS, else a folder beside the database.",
    ),
]
Patience = Annotated[
    float | None,
    typer.Option(
        "--patience",
        metavar="MINUTES",
        min=0,
        help="How long to wait for a database that does not answer; else PATHFRONT_PATIENCE, else 10.",
    ),
]
WarmFrom = Annotated[
    str | None,
    typer.Option(
        "--warm-from",
        metavar="STUDY",
        help="An earlier study of the same storage, whose scores are a prior over what both studies vary.",
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        min=0.0,
        metavar="M",
        help="Minutes that the training of a specialist takes at most. [default: 30]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
MaxFlops = Annotated[
    float | None,
    typer.Option(
        "--max-flops",
        metavar="F",
        parser=number,
        help="Only candidates of at most F FLOPs per token (1.2e6, 1.2M).",
    ),
]
Larger = Annotated[
    TargetSize | None,
    typer.Option(
        "--scale",
        metavar="F",
        parser=scale,
        help="Export a larger, untrained model of F FLOPs per token (10M), or a multiple (10x).",
    ),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to run.")]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        metavar="N",
        help="CPU threads; else OMP_NUM_THREADS, else the fastest number in a short measurement.",
    ),
]
Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A study file, or the name of one that ships.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=4096, metavar="N", help="Parallel trials; else the study file's."),
]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", metavar="ENGINE", help="local, or package.module:Class; else the study file's."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the expected cost; write nothing.")]
AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="Resume even if data or code differ from earlier trials.")
]


def check_minutes(minutes: float | None, specialist: bool) -> None:
    """Check that minutes are given for a specialist alone.

    Raises:
        StudyFileError: there is none.
    """
    from space.errors import StudyFileError

    if minutes is not None and not specialist:
        raise StudyFileError(f"--minutes is for --specialist, got {minutes:g} minutes without it")
