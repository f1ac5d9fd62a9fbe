"""`pathfront front`: print the Pareto front of a study's objectives."""

from typing import TYPE_CHECKING

from search.commands.options import Json, MaxFlops, Storage, Study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search.read.rows import FrontRow

NAME = "front"
SHOWN = ("flops_per_token", "active_params", "total_params")  # in a column of their own
EXAMPLES = [
    "pathfront front quick",
    "pathfront front quick --max-flops 1M",
    "pathfront front quick --json | jq '.[0].tasks'",
]


def run(study: Study, max_flops: MaxFlops = None, storage: Storage = None, json: Json = False) -> None:
    """Print a study's Pareto front, best score first.

    It has the candidates that no other beats in all objectives: by default the score and FLOPs per token.
    """
    from search.api import open_study
    from search.commands import output
    from search.read.remarks import no_front

    opened = open_study(study, storage)
    rows = opened.front(max_flops)
    if json:
        output.print_json(rows)
    elif rows:
        print_front(rows)
    if not rows:
        output.say(no_front(opened.reader, study, max_flops))


def print_front(rows: "Sequence[FrontRow]") -> None:
    """Print a front as a table on stdout."""
    from search.commands import output
    from space.candidate import CandidateConfig
    from space.description import describe
    from space.objectives import COSTS

    others = [name for name in rows[0].costs if name not in SHOWN]
    confirmed = any(row.split == "report" for row in rows)
    output.print_table(
        [
            ">trial",
            ">score",
            *(("confirmed 95%", ">selected at") if confirmed else ()),
            ">FLOPs/token",
            ">active",
            ">params",
            *(f">{COSTS[name].column}" for name in others),
            "architecture",
            ">rung",
            ">tokens",
            ">above half",
        ],
        [
            (
                str(row.trial),
                output.score(row.score, row.score_stderr),
                *(_confirmed(row) if confirmed else ()),
                output.short(row.flops_per_token),
                output.short(row.active_params),
                output.short(row.total_params),
                *(output.short(row.costs[name], COSTS[name].unit) for name in others),
                describe(CandidateConfig.model_validate(row.config)).label,
                str(row.rung),
                output.short(row.tokens),
                f"{row.above()} of {len(row.tasks)}",
            )
            for row in rows
        ],
    )


def _confirmed(row: "FrontRow") -> tuple[str, str]:
    """The interval and the number of fresh seeds of a confirmed mean, and the score that was selected."""
    from search.commands import output
    from space.words import counted

    if row.split != "report":
        return "no", ""
    ends = "" if row.interval is None else "[{:.3f}, {:.3f}], ".format(*row.interval)
    return f"{ends}{counted(row.seeds, 'seed')}", output.score(row.selected_score)
