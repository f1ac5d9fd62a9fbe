"""`pathfront show`: print everything about one trial."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import MOST_TRIALS, Json, Storage, Study

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search.read.confirm_rows import ConfirmedRow
    from search.read.rows import TrialDetail
    from space.records import TaskRecord

NAME = "show"
EXAMPLES = ["pathfront show quick 7", "pathfront show quick 7 --json | jq .config.architecture"]


def run(
    study: Study,
    trial: Annotated[
        int, typer.Argument(metavar="TRIAL", min=0, max=MOST_TRIALS, help="Number of the trial.")
    ],
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Show everything about one trial.

    Prints its configuration, scores by task, cost, checkpoints, and the command that exports it.
    """
    from search.commands import output
    from search.commands.advice import can_be_exported
    from search.database.storage import resolve_url
    from search.read.results import Reader
    from space.objectives import score_words

    reader = Reader(resolve_url(storage))
    detail = reader.trial(study, trial)
    if json:
        output.print_json(detail)
        return
    _summary(detail, score_words(reader.suite(study)))
    _trouble(detail, reader.command("retry", study, f"--trial {trial}"))
    if detail.tasks:
        _tasks(detail, reader.suite(study).records)
    for file in detail.checkpoints:
        size = output.short(file.bytes)
        print(f"checkpoint: {file.kind} at {output.short(file.tokens)} tokens, {size}B, {file.uri}")
    if can_be_exported(detail):
        print(f"export it: {detail.export_command}")


def _tasks(detail: "TrialDetail", records: "Mapping[str, TaskRecord]") -> None:
    from search.commands import output

    output.print_table(
        ["task", "domain", ">value", "metric", ">of the expert", ">episodes", ">share of tokens", ">epochs"],
        [
            (
                task,
                records[task].domain,
                f"{score.value:.3g} ± {score.stderr:.2g} s.e.",
                records[task].metric,
                output.score(score.fraction, score.fraction_stderr),
                str(score.n),
                f"{detail.config.mixture.weights.get(task, 0):.1%}",
                f"{detail.epochs[task]:.2f}" if task in detail.epochs else "-",
            )
            for task, score in detail.tasks.items()
        ],
    )


def _trouble(detail: "TrialDetail", retry: str) -> None:
    """Print why attempts failed, where the log is, and how to retry."""
    row = detail.row
    if detail.error and row.state == "failed":
        print(f"failed: {detail.error}")
    elif detail.error:
        print(f"an attempt before failed: {detail.error}")
    if detail.error or row.state in ("running", "paused", "lost"):
        log = "" if detail.log is None else f", log: {detail.log}"
        print(f"attempt {detail.attempts}, worker {detail.worker}{log}")
    if row.state == "failed":
        print(f"try it again: {retry}" if row.final else "another attempt follows: any worker makes it")


def _confirmed(row: "ConfirmedRow") -> str:
    from search.commands import output
    from space.words import counted

    if row.score is None:
        return f"confirmed: 0 of {counted(row.wanted, 'seed')} done"
    ends = "" if row.interval is None else " [{:.3f}, {:.3f}] (95%)".format(*row.interval)
    before = "" if row.selected_score is None else f"; selected at {output.score(row.selected_score)}"
    of = "" if row.control_of is None else f"; uniform control of candidate {row.control_of}"
    return (
        f"confirmed {output.score(row.score)}{ends} over {row.done} of {counted(row.wanted, 'fresh seed')} on"
        f" the report episodes{before}{of}"
    )


def _summary(detail: "TrialDetail", words: str) -> None:
    from search.commands import output
    from space.objectives import COSTS, DEFAULT
    from space.words import counted

    row = detail.row
    place = ", on the front" if detail.on_front else ""
    print(
        f"trial {row.number}: candidate {row.candidate}, rung {row.rung}, seed {row.seed}, {row.state}{place}"
    )
    if row.score is not None:
        episodes = " on the report episodes" if row.split == "report" else ""
        print(f"score {output.score(row.score, row.stderr)} of the expert, {words}{episodes}")
    costs = {name: value for name, value in row.objectives.items() if value is not None and name in COSTS}
    if tuple(costs) != DEFAULT.costs:
        said = ", ".join(COSTS[name].value(value) for name, value in costs.items())
        print(f"objectives: the score, {said}")
    if detail.confirmed is not None:
        print(_confirmed(detail.confirmed))
    if detail.seeds > 1:
        print(f"mean of {detail.seeds} seeds {output.score(detail.mean_score, detail.mean_stderr)}")
    for title, value in row.description.facts.items():
        print(f"{title.lower()}: {value}")
    by = detail.proposed_by
    why = f"; {by.reason}" if by.reason else ""
    print(f"proposed by: {by.rule}, as {counted(by.candidates, 'candidate')} of this study{why}")
    each = f" on each of {detail.devices} devices" if detail.devices > 1 else ""
    print(
        f"{output.short(row.flops_per_token)} FLOPs/token, {output.short(row.active_params)} active of"
        f" {output.short(row.total_params)} parameters, {output.short(detail.training_bytes)}B to train{each}"
    )
    speed = "" if detail.tokens_per_second is None else f", {output.short(detail.tokens_per_second)} tokens/s"
    print(
        f"rung of {output.short(row.tokens)} tokens, {output.short(row.progress_tokens)} done with its decay"
        f" branch{speed}; {output.short(row.training_flops)} training FLOPs,"
        f" {output.duration(row.wall_seconds)} training, {output.duration(detail.evaluation_seconds)} scoring"
    )
