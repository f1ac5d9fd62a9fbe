"""`pathfront confirm`: train the best candidates again with fresh seeds, on the report episodes."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import (
    MOST_TRIALS,
    AcceptChanges,
    Artifacts,
    EngineName,
    Json,
    Patience,
    Storage,
    Study,
    Workers,
    set_patience,
)
from space.confirm import MOST_SEEDS, MOST_TOP, SEEDS, TOP, Confirm
from space.errors import StudyFileError

if TYPE_CHECKING:
    from search.read.confirm_rows import ConfirmationStatus
    from search.read.results import Reader
    from search.store.confirmations import Plan
    from space.study import StudyConfig

NAME = "confirm"
EXAMPLES = [
    "pathfront confirm quick                      # the best 3 candidates, 2 fresh seeds each",
    "pathfront confirm quick --top 5 --seeds 4    # adds what is missing; the same command resumes",
    "pathfront confirm quick --trial 7 --trial 12 --no-uniform",
    "pathfront confirm quick --dry-run            # print what would be trained; nothing is written",
]


def run(
    study: Study,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            metavar="N",
            min=1,
            max=MOST_TOP,
            help=f"Candidates of the front at the top rung, the best scores first (default {TOP}).",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="K", min=1, max=MOST_SEEDS, help="Fresh seeds a candidate.")
    ] = SEEDS,
    trial: Annotated[
        list[int] | None,
        typer.Option(
            "--trial",
            metavar="NUMBER",
            min=0,
            max=MOST_TRIALS,
            help="Confirm this trial's candidate instead of the best ones; may be repeated.",
        ),
    ] = None,
    uniform: Annotated[
        bool,
        typer.Option(
            "--uniform/--no-uniform",
            help="Also train the uniform mixture at the architecture of the best of them.",
        ),
    ] = True,
    storage: Storage = None,
    artifacts: Artifacts = None,
    workers: Workers = None,
    engine: EngineName = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained; write nothing.")
    ] = False,
    accept_changes: AcceptChanges = False,
    patience: Patience = None,
    json: Json = False,
) -> None:
    """Confirm a study's best candidates with fresh seeds.

    The best scores of a search are too high, because they were chosen for being high. Each candidate is
    trained from the first step to the top rung with seeds that the search did not use, and scored on the
    report episodes, which the search did not see. From then on the front, the page, the card and
    `export --pick` use the mean of these scores. The first Ctrl-C stops at checkpoints; the same command, or
    a launch of the study, resumes.
    """
    from search.commands.phases import command_line
    from search.database.storage import require_writable, resolve_url
    from search.engines.engines import with_engine
    from search.read.results import Reader
    from space.words import counted

    if trial and top is not None:
        raise StudyFileError("--trial names the candidates itself: leave --top out")
    url = resolve_url(storage)
    set_patience(patience)
    confirm, numbers = Confirm(top=top or TOP, seeds=seeds, uniform=uniform), tuple(trial or ())
    if not dry_run:
        require_writable(url)  # upgrades older tables
    reader = Reader(url)
    config = with_engine(reader.config(study), engine)
    reader.require_idle(study)
    planned = reader.planned_confirmations(study, confirm, numbers)
    if dry_run:
        _print_plan(reader, config, planned, workers, json)
        return
    options = ["--seeds", seeds, *(("--top", top) if top else ()), *([] if uniform else ["--no-uniform"])]
    options += [word for number in numbers for word in ("--trial", number)]
    again = command_line(
        NAME, study, *options, storage=storage, artifacts=artifacts, engine=engine, workers=workers
    )
    left = _reopen(reader, config, confirm, numbers, accept_changes, engine)
    if left:
        from search.commands.launch import resumed_by
        from search.operations.launch import run_workers

        with resumed_by(again):
            run_workers(reader, config, url, workers, artifacts, f"{counted(left, 'confirmation')} of ")
    _conclude(reader, study, json)


def _reopen(
    reader: "Reader",
    config: "StudyConfig",
    confirm: Confirm,
    numbers: tuple[int, ...],
    accept_changes: bool,
    engine: str | None,
) -> int:
    """Check that trials can be trained here, store what is wanted; returns how many are to be trained."""
    from search.confirming import reopen
    from search.operations.launch import prepared_environment
    from search.tokenizers import adopt_model

    suite = reader.suite(config.study)
    adopt_model(reader.tokenizer(config.study), config.study, suite)
    here = prepared_environment(config, suite)
    given = None if engine is None else config.engine
    return reopen(reader.url, config.study, confirm, numbers, here, accept_changes, given).left


def _print_plan(
    reader: "Reader", config: "StudyConfig", planned: "Plan", workers: int | None, json: bool
) -> None:
    """Print the confirmations that would be trained, and their expected cost."""
    from search.commands import output
    from search.engines.engines import make_engine
    from search.planning.forecast import DEFAULT_SPEED
    from search.store.claims import NewTrial
    from space.candidate import CandidateConfig
    from space.words import counted

    suite = reader.suite(config.study)
    known = {row.candidate: row for row in reader.trials(config.study)}
    made = planned.control
    flops = 0.0
    for each in planned.missing:
        if each.candidate in known:
            candidate = reader.trial(config.study, known[each.candidate].number).config
        else:
            assert made is not None
            candidate = CandidateConfig.model_validate(made["config"])
        flops += NewTrial.of(config, suite, candidate, each.rung, each.seed, "report").planned_flops
    device, count = make_engine(config).plan(workers)
    speed = reader.throughput(device) or DEFAULT_SPEED[device]
    rounds = -(-len(planned.missing) // count)
    seconds = flops / speed.flops_per_second / count + rounds * speed.evaluation_seconds
    if json:
        output.print_json(
            {
                "wanted": [each._asdict() for each in planned.wanted],
                "missing": [each._asdict() for each in planned.missing],
                "training_flops": flops,
                "wall_seconds": seconds,
                "workers": count,
            }
        )
        return
    rows: dict[str, list[str]] = {}
    for each in planned.missing:
        rows.setdefault(each.candidate, []).append(str(each.seed))
    controls = {each.candidate: each.control_of for each in planned.wanted}
    output.print_table(
        ["candidate", ">FLOPs/token", "trained with seed", "what"],
        [
            (
                name,
                output.short(planned.flops_per_token[name]),
                ", ".join(seeds),
                f"uniform mixture of {controls[name]}" if controls[name] else "of the search",
            )
            for name, seeds in rows.items()
        ],
    )
    print(
        f"to train: {counted(len(planned.missing), 'confirmation')} of"
        f" {counted(len(planned.wanted), 'confirmation')} wanted,"
        f" {output.short(flops)} training FLOPs, about {output.duration(seconds)} with"
        f" {counted(count, 'worker')}"
    )


def _conclude(reader: "Reader", study: str, json: bool) -> None:
    from search.commands import output
    from space.errors import PathfrontError

    confirmation = reader.status(study).confirmation
    assert confirmation is not None, "they were planned"
    if json:
        output.print_json(confirmation)
    else:
        print_confirmation(confirmation)
    if not confirmation.done:
        raise PathfrontError(
            f"no confirmation of study '{study}' has a score; see: {reader.command('status', study)}"
        )


def print_confirmation(confirmation: "ConfirmationStatus") -> None:
    """Print confirmed means as a table, best first, and what they say."""
    from search.commands import output
    from search.read.remarks import confirmed_words

    output.print_table(
        [">trial", "candidate", ">confirmed", "95%", ">seeds", ">selected at", "architecture", "control of"],
        [
            (
                "-" if row.trial is None else str(row.trial),
                row.candidate,
                output.score(row.score),
                "-" if row.interval is None else "[{:.3f}, {:.3f}]".format(*row.interval),
                f"{row.done} of {row.wanted}",
                output.score(row.selected_score),
                row.label,
                row.control_of or "",
            )
            for row in confirmation.candidates
        ],
    )
    for line in confirmed_words(confirmation):
        print(line)
