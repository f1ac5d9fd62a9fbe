"""`pathfront launch`: a study from its file to its front, on this machine."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Artifacts, Json, Storage

if TYPE_CHECKING:
    from search.forecast import Forecast
    from search.results import Reader
    from space.study import StudyConfig

NAME = "launch"
EXAMPLES = [
    "pathfront launch quick                 # a study that ships; resumes it where it exists",
    "pathfront launch my_study.yaml --workers 8",
    "pathfront launch quick --dry-run       # what it will cost; nothing is written",
]


def run(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A study file, or the name of one that ships.")],
    storage: Storage = None,
    artifacts: Artifacts = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Trials side by side; else the study file's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Price the study and write nothing.")] = False,
    json: Json = False,
) -> None:
    """Run a study, or go on with it.

    The first Ctrl-C lets running trials reach a checkpoint, the second stops at once; the same command goes
    on from there.
    """
    from search.storage import resolve_artifacts, resolve_url
    from space.study import read_study

    config = read_study(spec)
    url = resolve_url(storage)
    place = resolve_artifacts(url, artifacts)
    if dry_run:
        _price(config, workers, url, place, json)
    else:
        _launch(config, spec, workers, url, place, json)


def _launch(
    config: "StudyConfig", spec: str, workers: int | None, url: str, artifacts: str, json: bool
) -> None:
    from search.commands import output
    from search.commands.live import LaunchDisplay
    from search.engines import local
    from search.results import Reader, storage_option
    from search.study import create_or_resume
    from space.errors import Interrupted
    from trainers.tasks.prepare import prepare

    suite = config.check()
    with output.Meter("data", len(suite.tasks)) as meter:
        prepare(suite, progress=meter.update)
    create_or_resume(url, config)
    reader = Reader(url)
    if reader.status(config.study).finished:
        output.say(f"study '{config.study}' is finished")
    else:
        try:
            with LaunchDisplay(reader, config.study) as display:
                local.run(url, config.study, workers, artifacts, display.tick)
        except (Interrupted, KeyboardInterrupt):
            again = f"pathfront launch {shlex.quote(spec)}{storage_option(url)}"
            raise Interrupted(
                f"study '{config.study}' waits at its checkpoints; go on with: {again}"
            ) from None
    _conclude(reader, config.study, json)


def _conclude(reader: "Reader", study: str, json: bool) -> None:
    """Print the front and what to do next."""
    from search.commands import output
    from search.commands.front import print_front
    from search.results import storage_option

    rows = reader.front(study)
    if json:
        output.print_json(rows)
        return
    print(f"the front of study '{study}', best score first")
    print_front(rows)
    print("what to do next:")
    print(f"  pathfront dashboard{storage_option(reader.url)}")
    print(f"  {reader.command('export', study, '--pick best -o best/')}")
    print("  pathfront train best/ --tokens 50M")


def _price(config: "StudyConfig", workers: int | None, url: str, artifacts: str, json: bool) -> None:
    """Print what a study will cost."""
    from search.commands import output
    from search.engines.local import plan
    from search.forecast import DEFAULT_SPEED, forecast
    from search.storage import shown

    device, count = plan(config, workers)
    measured = _measured(url, device)
    priced = forecast(config, count, device, measured or DEFAULT_SPEED[device])
    if json:
        output.print_json(priced)
        return
    _print_price(priced)
    print(f"storage: {shown(url)}")
    print(f"artifacts: {artifacts}")


def _measured(url: str, device: str) -> "Speed | None":
    """The speed of earlier trials in the storage, if there are any."""
    from search.results import Reader
    from space.errors import NotFoundError

    try:
        return Reader(url).throughput(device)
    except NotFoundError:
        return None


def _print_price(price: "Forecast") -> None:
    from search.commands import output

    def span(least: float, most: float, unit: str = "") -> str:
        return f"{output.short(least)}{unit} to {output.short(most)}{unit}"

    print(f"study {price.study}: {price.tasks} tasks of suite {price.suite}")
    print(
        f"candidates possible: {price.within_limits:,} of {price.architectures:,} architectures are within"
        f" the limits, times mixtures and learning rates ({len(price.parameters)} parameters vary)"
    )
    print(f"FLOPs per token: {span(*price.flops_per_token)}")
    print(f"parameters: {span(*price.total_params)}, active {span(*price.active_params)}")
    print(f"memory to train one: {span(*price.training_bytes, 'B')}")
    output.print_table(
        [">rung", ">tokens", ">trials", ">tokens a trial"],
        [
            (str(rung.rung), output.short(rung.tokens), str(rung.trials), output.short(rung.tokens_per_trial))
            for rung in price.rungs
        ],
    )
    print(
        f"in all: {price.trials} trials of {price.candidates} candidates,"
        f" {output.short(price.training_tokens)} tokens, {output.short(price.training_flops)} training FLOPs"
    )
    speed = price.speed
    source = f"measured on {speed.trials} trials here" if speed.trials else "defaults: nothing measured yet"
    print(
        f"expected time: {output.duration(price.wall_seconds)} with {price.workers} workers on {price.device},"
        f" at {output.short(speed.flops_per_second)} FLOP/s a worker and"
        f" {speed.evaluation_seconds:.0f} s to score a trial ({source})"
    )
