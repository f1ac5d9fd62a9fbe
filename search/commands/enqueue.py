"""`pathfront enqueue`: have a study try a candidate of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Json, Storage, Study

if TYPE_CHECKING:
    from space.start import StartPoint

NAME = "enqueue"
EXAMPLES = [
    "pathfront enqueue quick best/config.yaml      # an exported candidate",
    "pathfront enqueue quick '{depth: 3, experts: 8}'   # the other knobs are drawn",
]


def run(
    study: Study,
    candidate: Annotated[
        str,
        typer.Argument(
            metavar="CANDIDATE",
            help="An export or its config.yaml, a YAML file of knobs, or the knobs themselves: '{depth: 3}'.",
        ),
    ],
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Add a candidate of your own to a study.

    Workers train it before they propose others, while the study runs or when it is launched again. It counts
    towards `stop.candidates`, and is trained even if that number is reached.
    """
    from search.choose.enqueue import enqueue
    from search.commands import output
    from search.database.storage import open_writer, resolve_url
    from search.read.remarks import launch_command
    from search.store.studies import load_study
    from space.description import describe

    point = _point(candidate)
    url = resolve_url(storage)
    engine = open_writer(url, create=False)
    try:
        done = enqueue(engine, url, load_study(engine, url, study), point)
    finally:
        engine.dispose()
    proposal = done.proposal
    if json:
        output.print_json(
            {
                "candidate": proposal.candidate.id,
                "new": done.known is None,
                "finished": done.finished,
                "flops_per_token": proposal.cost.flops_per_token,
                "config": proposal.candidate,
            }
        )
        return
    label = describe(proposal.candidate).label
    if done.known is not None:
        had = f"{proposal.candidate.id} ({done.known})"
        print(f"study '{study}' has this candidate already: {had}; nothing changed")
        return
    print(f"candidate {proposal.candidate.id} waits for its first trial: {label}")
    if done.finished:
        print(f"the study is finished; train it with: {launch_command(study, url)}")


def _point(given: str) -> "StartPoint":
    """Read what is given of a candidate.

    Raises:
        StudyFileError: it is neither a file nor a mapping of knobs.
    """
    import yaml
    from pydantic import BaseModel, TypeAdapter, ValidationError

    from space.errors import StudyFileError, one_line
    from space.parsing import explain
    from space.start import StartPoint, read_point

    if "{" not in given or Path(given).exists():
        data = read_point(Path(given))
    else:
        try:
            data = yaml.safe_load(given)
        except yaml.YAMLError as error:
            raise StudyFileError(
                f"a candidate is a file or a mapping of knobs, got: {one_line(error)}"
            ) from None
    try:
        return TypeAdapter(StartPoint).validate_python(data)
    except ValidationError as error:
        text = explain(error, BaseModel).removeprefix("study file: ")
        raise StudyFileError(f"candidate{'.' if error.errors()[0]['loc'] else ': '}{text}") from None
