"""`pathfront table`: tables of trained candidates, which other searches can be compared on."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from search.commands.options import (
    AcceptChanges,
    Artifacts,
    DryRun,
    EngineName,
    Json,
    Patience,
    Spec,
    Storage,
    Workers,
    examples,
    set_patience,
)
from search.commands.options import Study as StudyName

if TYPE_CHECKING:
    from search.table.facts import TableFacts
    from space.study import StudyConfig

EVERY = 8  # candidates that end between two writes of the file

app = typer.Typer(help="Tables of trained candidates: record, show and replay one.", rich_markup_mode=None)

TableFile = Annotated[
    str, typer.Argument(metavar="FILE", help="A table's file, or the name of one that ships.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of folds, samples and noise.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="File to write; else STUDY.jsonl.xz.")
]


@app.command(
    "record",
    epilog=examples(
        [
            "pathfront table record quick                  # 192 candidates, all rungs; hours on a laptop",
            "pathfront table record quick --candidates 24 -o small.jsonl.xz",
            "pathfront table record quick --dry-run        # what it would cost",
            "pathfront table record quick --write-only     # the file of what is trained so far",
        ]
    ),
)
def record(
    spec: Spec,
    output_file: Output = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Candidates to train; else 192.")
    ] = None,
    repeats: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="SHARE", help="Share to train with a second seed; else 0.1."),
    ] = None,
    storage: Storage = None,
    artifacts: Artifacts = None,
    workers: Workers = None,
    engine: EngineName = None,
    write_only: Annotated[
        bool, typer.Option("--write-only", help="Only write the file of what is trained so far.")
    ] = False,
    dry_run: DryRun = False,
    accept_changes: AcceptChanges = False,
    patience: Patience = None,
    json: Json = False,
) -> None:
    """Train stratified candidates of a study's space through all rungs, and write them into one file.

    The study has the name of SPEC's with "-table" after it; a SPEC whose search.promotion is all is trained
    as it is. As `launch`, the command resumes it. The file is renewed as candidates end.
    """
    from search.commands.launch import resumed_by
    from search.commands.price import print_price
    from search.database.storage import resolve_artifacts, resolve_url, storage_option
    from search.engines.engines import with_engine
    from search.operations.launch import run_study
    from search.operations.tokenizers import resolving
    from search.table.plan import table_study
    from space.errors import Interrupted
    from space.study import read_study

    set_patience(patience)
    url = resolve_url(storage)
    config = with_engine(table_study(read_study(spec, resolving(url)), candidates, repeats), engine)
    config.check()
    if dry_run:
        print_price(config, workers, url, resolve_artifacts(url, artifacts), json)
        return
    target = output_file or Path(f"{config.study}.jsonl.xz")
    writer = _Writer(url, config, target)
    if not write_only:
        given = {"-o": output_file, "--candidates": candidates, "--repeats": repeats}
        given |= {"--artifacts": artifacts, "--workers": workers, "--engine": engine}
        chosen = [f" {name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None]
        again = f"pathfront table record {shlex.quote(spec)}{''.join(chosen)}{storage_option(url)}"
        try:
            with resumed_by(again):
                run_study(config, url, workers, artifacts, accept_changes, lambda reader: writer.tick())
        except Interrupted:
            writer.write()
            raise
    writer.write()
    _print(writer.facts(), json)


@app.command("write", epilog=examples(["pathfront table write quick-table -o studies/tables/quick.jsonl.xz"]))
def write(study: StudyName, output_file: Output = None, storage: Storage = None, json: Json = False) -> None:
    """Write the table of a study's candidates that have ended, at any moment of the study."""
    from search.database.storage import resolve_url
    from search.read.results import Reader

    url = resolve_url(storage)
    writer = _Writer(url, Reader(url).config(study), output_file or Path(f"{study}.jsonl.xz"))
    writer.write()
    _print(writer.facts(), json)


@app.command(
    "show", epilog=examples(["pathfront table show quick", "pathfront table show mine.jsonl.xz --json"])
)
def show(file: TableFile, json: Json = False) -> None:
    """Show a table's facts: scores, front, noise between seeds, agreement of the rungs, compute."""
    from search.table.facts import table_facts
    from search.table.files import read_table

    _print(table_facts(read_table(file)), json)


@app.command("fit", epilog=examples(["pathfront table fit quick", "pathfront table fit quick --json"]))
def fit(file: TableFile, seed: Seed = 0, json: Json = False) -> None:
    """Fit an ensemble on a table, and show how well it predicts held-out candidates."""
    from search.commands import output
    from search.table.ensemble import Ensemble
    from search.table.files import read_table

    facts = Ensemble(read_table(file), seed).facts()
    if json:
        output.print_json(facts)
        return
    print(
        f"fitted on {facts.candidates} candidates; errors on held-out ones, in {facts.folds} folds;"
        f" noise between seeds from {facts.repeats or 'no'} repeats"
    )
    whole = [("score", "", facts.rmse, facts.spread, facts.rank_correlation)]
    rows = [(t.task, t.family, t.rmse, t.spread, t.rank_correlation) for t in facts.tasks]
    output.print_table(
        ["", "family", ">rung", ">rmse", ">s.d.", ">rank correlation"],
        [
            (name, family, str(rung), f"{rmse:.3f}", f"{spread:.3f}", "-" if rho is None else f"{rho:.2f}")
            for name, family, *by_rung in whole + rows
            for rung, (rmse, spread, rho) in enumerate(zip(*by_rung, strict=True))
        ],
    )


@app.command(
    "replay",
    epilog=examples(
        [
            "pathfront table replay quick --sampler tpe --workers 4 --seeds 10",
            "pathfront table replay quick --sampler my_sampler:Mutate --on ensemble --budget 14 --random 200",
        ]
    ),
)
def replay(
    file: TableFile,
    sampler: Annotated[
        str, typer.Option(metavar="NAME", help="As search.sampler in a study file, or package.module:Class.")
    ] = "stratified",
    sampler_args: Annotated[
        str, typer.Option(metavar="JSON", help='As search.sampler_args: {"population_size": 8}.')
    ] = "{}",
    workers: Annotated[int, typer.Option(min=1, max=4096, metavar="N", help="Simulated workers.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Runs, each with its seed.")] = 5,
    budget: Annotated[
        float,
        typer.Option(
            min=1, max=10_000, metavar="W", help="Compute, in full trainings of a mean random candidate."
        ),
    ] = 32,
    random: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, metavar="N", help="Random full trainings to compare with; else W of them."
        ),
    ] = None,
    on: Annotated[
        Literal["rows", "ensemble"],
        typer.Option(help="The trained candidates, or surfaces that are fitted on them."),
    ] = "rows",
    promotion: Annotated[Literal["gain", "rank", "all"], typer.Option(help="Rule of promotion.")] = "gain",
    series: Annotated[
        Literal["development", "report"],
        typer.Option(help="Surfaces of the ensemble: to tune on, or to report on."),
    ] = "development",
    json: Json = False,
) -> None:
    """Play a sampler on a table under a simulated clock; nothing is trained.

    Each run is compared with random searches that train as many candidates to the top rung as the budget
    pays, or N. studies/tables/README.md explains the columns.
    """
    from search.commands import output
    from search.table.files import read_table
    from search.table.replay import Play
    from search.table.replay import replay as replayed

    table = read_table(file)
    given = Play(sampler, _arguments(sampler_args), workers, seeds, budget, random, on, promotion, series)
    found = replayed(table, given)
    if json:
        output.print_json(found)
        return
    where = "the trained candidates" if on == "rows" else f"{series} surfaces of the ensemble"
    print(
        f"{sampler} on {where} of {found.study}, {workers} simulated"
        f" {'worker' if workers == 1 else 'workers'}; W is {output.short(found.full_flops)} training FLOPs"
    )
    output.print_table(
        [">seed", ">candidates", ">trials", ">W", ">hypervolume", ">of random", ">reached at W", ">clamped"],
        [
            (
                str(run.seed),
                str(run.candidates),
                str(run.trials),
                f"{run.spent:.1f}",
                f"{run.value:.3f}",
                f"{run.level:.3f}",
                "-" if run.reached is None else f"{run.reached:.1f}",
                str(run.clamped),
            )
            for run in found.runs
        ],
    )
    low, high = found.interval
    spread = f" [1/{high:.1f}, 1/{low:.1f}]" if len(found.runs) > 1 else ""
    print(
        f"{found.hits} of {len(found.runs)} runs reach what {found.random} random full trainings reach, at"
        f" 1/{found.ratio:.1f}{spread} of their compute in the geometric mean (a miss counts as {budget:g} W)"
    )


def _arguments(text: str) -> dict[str, Any]:
    """The arguments of a sampler, from JSON.

    Raises:
        StudyFileError: it is no JSON object.
    """
    import json

    from space.errors import StudyFileError, one_line

    try:
        found = json.loads(text)
    except ValueError as error:
        raise StudyFileError(f"--sampler-args: not JSON: {one_line(error)}") from None
    if not isinstance(found, dict):
        raise StudyFileError(f"--sampler-args: names and values as a JSON object, got {text!r}")
    return found


class _Writer:
    """Writes the table of a study into its file, again and again as candidates end."""

    def __init__(self, url: str, config: "StudyConfig", path: Path) -> None:
        from space.errors import StudyFileError
        from space.machine import check_output

        if path.is_dir():
            raise StudyFileError(f"a table is one file, and '{path}' is a folder; choose another with -o")
        check_output(path)
        self._url, self._config, self._path = url, config, path
        self._written = -EVERY

    def tick(self) -> None:
        """Write if enough candidates have ended since the last time."""
        from search.table.collect import count_ended

        ended = count_ended(self._url, self._config.study, self._config)
        if ended >= max(1, self._written + EVERY):
            self.write()

    def write(self) -> None:
        """Write what has ended until now."""
        from search.commands import output
        from search.table.collect import collect_table
        from search.table.files import write_table
        from space.words import counted

        table = collect_table(self._url, self._config.study)
        size = write_table(table, self._path)
        self._written = len(table.rows)
        output.say(f"{counted(len(table.rows), 'candidate')} in {self._path}, {output.short(size)}B")

    def facts(self) -> "TableFacts":
        """Facts about the written file."""
        from search.table.facts import table_facts
        from search.table.files import read_table

        return table_facts(read_table(self._path))


def _print(facts: "TableFacts", json: bool) -> None:
    from search.commands import output
    from space.objectives import COSTS, DEFAULT
    from space.words import counted

    if json:
        output.print_json(facts)
        return
    planned = f" of {facts.planned}" if facts.planned else ""
    state = "partial: its study goes on" if facts.partial else "complete"
    print(
        f"table of study {facts.study}, suite {facts.suite} with {counted(len(facts.tasks), 'task')}: {state}"
    )
    parts = [f"{facts.candidates}{planned} candidates", f"{facts.dense} dense"]
    parts += [f"{facts.diverged} diverged"] if facts.diverged else []
    parts += [f"{facts.failed} failed and left out"] if facts.failed else []
    print(
        f"{', '.join(parts)}; {output.short(facts.training_flops)} training FLOPs,"
        f" {output.duration(facts.wall_seconds)} of one worker"
    )
    if facts.flops_per_token is not None:
        least, most = map(output.short, facts.flops_per_token)
        unseen = "" if not facts.unseen else f"; {facts.unseen:.1%} of random draws lie in cells without one"
        print(f"FLOPs per token: {least} to {most}{unseen}")
    output.print_table(
        [">rung", ">tokens", ">candidates", ">least", ">mean", ">most", ">s.e.", ">repeats", ">seed s.d."],
        [
            (
                str(rung.rung),
                output.short(rung.tokens),
                str(rung.candidates),
                *(("-",) * 3 if rung.score is None else (f"{value:.3f}" for value in rung.score)),
                "-" if rung.episode_stderr is None else f"{rung.episode_stderr:.3f}",
                str(rung.repeats),
                "-" if rung.seed_sd is None else f"{rung.seed_sd:.3f}",
            )
            for rung in facts.rungs
        ],
    )
    if facts.rank_correlations:
        pairs = (f"{pair.replace('-', ' and ')}: {rho:.2f}" for pair, rho in facts.rank_correlations.items())
        print(f"rank correlation of rungs {', '.join(pairs)}")
    if facts.front:
        print("front at the top rung, best score first:")
        others = [name for name in facts.front[0].objectives if name in COSTS and name not in DEFAULT.costs]
        output.print_table(
            [
                "candidate",
                ">score",
                ">FLOPs/token",
                *(f">{COSTS[name].column}" for name in others),
                "architecture",
            ],
            [
                (
                    point.candidate,
                    f"{point.score:.3f}",
                    output.short(point.flops_per_token),
                    *(output.short(point.objectives[name], COSTS[name].unit) for name in others),
                    point.label,
                )
                for point in facts.front
            ],
        )
