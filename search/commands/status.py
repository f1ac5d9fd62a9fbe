"""`pathfront status`: all studies of a storage, or where one of them stands."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Json, Storage

if TYPE_CHECKING:
    from search.results import Reader

NAME = "status"
EXAMPLES = ["pathfront status", "pathfront status quick", "pathfront status quick --json"]


def run(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="One study; without it, all of them.")
    ] = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Say where studies stand: all, or one in detail."""
    from search.commands import output
    from search.results import Reader
    from search.storage import resolve_url

    reader = Reader(resolve_url(storage))
    if study is None:
        _studies(reader, json)
        return
    status = reader.status(study)
    if json:
        output.print_json(status)
        return
    state = "finished" if status.finished else "stopping" if status.stopping else "open"
    running = len(status.running)
    left = "" if not status.seconds_left else f", about {output.duration(status.seconds_left)} left"
    print(f"study {status.study}, suite {status.suite}: {state}, {status.fraction_done:.0%} done{left}")
    print(
        f"{status.candidates} candidates, {status.states.get('done', 0)} trials done, {running} running,"
        f" {status.states.get('failed', 0)} failed; {output.short(status.training_flops)} training FLOPs"
        f" in {output.duration(status.wall_seconds)} of training"
    )
    if status.best:
        best = status.best
        print(f"best: trial {best.number}, score {output.score(best.score, best.stderr)}, rung {best.rung}")
    output.print_table(
        [">rung", ">tokens", ">done", ">expected", ">running", ">failed"],
        [
            (
                str(rung.rung),
                output.short(rung.tokens),
                str(rung.done),
                "-" if rung.expected is None else str(rung.expected),
                str(rung.running),
                str(rung.failed),
            )
            for rung in status.rungs
        ],
    )
    for trial in status.running:
        share = f"{output.short(trial.progress_tokens)} of {output.short(trial.tokens)} tokens"
        print(f"running: trial {trial.number}, rung {trial.rung}, {share}, worker {trial.worker}")
    for event in status.events:
        print(f"{event.at:%Y-%m-%d %H:%M:%S}  {event.kind}: {event.text}")


def _studies(reader: "Reader", json: bool) -> None:
    from search.commands import output

    studies = reader.studies()
    if json:
        output.print_json(studies)
        return
    output.print_table(
        ["study", "suite", ">candidates", ">trials", ">running", ">failed", ">best", ">FLOPs", "state"],
        [
            (
                study.name,
                study.suite,
                str(study.candidates),
                str(study.trials),
                str(study.running),
                str(study.failed),
                output.score(study.best_score),
                output.short(study.training_flops),
                "finished" if study.finished else "open",
            )
            for study in studies
        ],
    )
