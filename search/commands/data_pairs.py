"""Options of `pathfront data add` for pairs: which fields they are made of, and how answers are scored."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from trainers.tasks.datasets.library import Dataset
    from trainers.tasks.datasets.pairing import Pairing

PAIRS = "pairs"


def _field(flag: str, what: str) -> typer.models.OptionInfo:
    return typer.Option(flag, metavar="FIELD", help=f"Field of pairs with {what}.")


Image = Annotated[str | None, _field("--image", "the image")]
Audio = Annotated[str | None, _field("--audio", "the sound")]
Question = Annotated[str | None, _field("--question", "the question or the prompt")]
Answer = Annotated[str | None, _field("--answer", "the answer, or the answers of which each is right")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD",
        help="Field of pairs; those with one value are in one split, as are those of one image.",
    ),
]
Metric = Annotated[
    Literal["exact", "bits"] | None,
    typer.Option(
        help="Score answers of pairs by exact match, or by bits per byte; found from the answers otherwise."
    ),
]


def check_pairs(kind: str | None, pairing: "Pairing") -> bool:
    """Whether the options say that the kind is pairs.

    Raises:
        StudyFileError: they are given for another kind.
    """
    from space.errors import StudyFileError

    if pairing.given and kind not in (None, PAIRS):
        raise StudyFileError(
            "--image, --audio, --question, --answer, --group-by and --metric are of pairs,"
            f" got --kind {kind} beside them"
        )
    return pairing.given


def say_recognised(dataset: "Dataset") -> None:
    """Say of which fields pairs were made, and how answers are scored."""
    from search.commands import output

    facts = dataset.manifest.facts
    if not facts:
        return
    fields = ", ".join(f"{role} = {name}" for role, name in facts.items() if role not in ("metric", "why"))
    metric = "exact match" if facts["metric"] == "exact" else "bits per byte"
    output.say(f"pairs of the fields {fields}")
    output.say(f"answers are scored by {metric}, {facts['why']}")
