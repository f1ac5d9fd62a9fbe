"""`pathfront show`: everything about one trial."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Json, Storage, Study

if TYPE_CHECKING:
    from search.rows import TrialDetail

NAME = "show"
EXAMPLES = ["pathfront show quick 7", "pathfront show quick 7 --json | jq .config.architecture"]


def run(
    study: Study,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="Number of the trial.")],
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Show everything about one trial.

    Its configuration, scores per task, cost, checkpoints, and the command that exports it.
    """
    from search.commands import output
    from search.results import Reader
    from search.storage import resolve_url

    reader = Reader(resolve_url(storage))
    detail = reader.trial(study, trial)
    if json:
        output.print_json(detail)
        return
    _summary(detail)
    records = reader.suite(study).records
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
    for file in detail.checkpoints:
        size = output.short(file.bytes)
        print(f"checkpoint: {file.kind} at {output.short(file.tokens)} tokens, {size}B, {file.uri}")
    if detail.row.state == "done":
        print(f"export it: {detail.export_command}")


def _summary(detail: "TrialDetail") -> None:
    from search.commands import output

    row, architecture = detail.row, detail.config.architecture
    place = ", on the front" if detail.on_front else ""
    print(
        f"trial {row.number}: candidate {row.candidate}, rung {row.rung}, seed {row.seed}, {row.state}{place}"
    )
    if row.score is not None:
        print(f"score {output.score(row.score, row.stderr)} of the expert, mean over domains")
    if detail.error:
        print(f"error: {detail.error}")
    print(
        f"depth {architecture.depth}, width {architecture.width}, {architecture.experts_in_words},"
        f" expert ratio {architecture.expert_ratio:g}, {detail.config.optimizer} at"
        f" {detail.config.learning_rate:g}, from {row.origin}"
    )
    print(
        f"{output.short(row.flops_per_token)} FLOPs/token, {output.short(row.active_params)} active of"
        f" {output.short(row.total_params)} parameters, {output.short(detail.training_bytes)}B to train"
    )
    speed = "" if detail.tokens_per_second is None else f", {output.short(detail.tokens_per_second)} tokens/s"
    print(
        f"rung of {output.short(row.tokens)} tokens, {output.short(row.progress_tokens)} done with its decay"
        f" branch{speed}; {output.short(row.training_flops)} training FLOPs,"
        f" {output.duration(row.wall_seconds)} training, {output.duration(detail.evaluation_seconds)} scoring"
    )
