"""`pathfront tasks`: list tasks, measure their floor and expert, and check that they keep the rules."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.commands.options import Json, Minutes, check_minutes, examples
from space.words import counted

if TYPE_CHECKING:
    from space.catalog import Measured
    from space.records import Baseline, SuiteRecord
    from trainers.tasks.contract import Verdict

SAMPLE_SEED = 0
MOST_DEVIATION = 3.0  # standard errors
ROLES = ("floor", "expert")

app = typer.Typer(help="List, measure and check tasks.", rich_markup_mode=None)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TASK]...", help='Tasks by name, or your own as "package.module:Class".'),
]
Family = Annotated[str | None, typer.Option(metavar="F", help="All tasks of a family.")]
Everything = Annotated[bool, typer.Option("--all", help="All tasks that ship.")]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes side by side; else one a core.")
]
Suite = Annotated[str | None, typer.Option(metavar="S", help="Suite whose sequence settings are used.")]


@app.command("list", epilog=examples(["pathfront tasks list", "pathfront tasks list --family babyai --json"]))
def list_tasks(family: Family = None, json: Json = False) -> None:
    """List the tasks with floor and expert on the report episodes; your own tasks come last."""
    from search.commands import output
    from space.catalog import load_catalog, local_catalog
    from space.errors import NotFoundError, nearest

    known = [*load_catalog().tasks.values(), *(mine.record for mine in local_catalog().values())]
    families = {task.family for task in known}
    if family is not None and family not in families:
        raise NotFoundError(f"no family is called '{family}'{nearest(family, families)}")
    rows = []
    for task in known:
        if family not in (None, task.family):
            continue
        floor, expert = task.checked("report")
        rows.append(
            {
                "name": task.name,
                "family": task.family,
                "domain": task.domain,
                "modality": task.modality,
                "variant": task.variant,
                "metric": task.metric,
                "floor": floor.mean,
                "expert": expert.mean,
                "unit": task.unit,
                "n": expert.n,
                "memorisable": task.memorisable,
            }
        )
    if json:
        output.print_json(rows)
        return
    retrieved = {task.name: task.references["report"].baselines.get("retrieval") for task in known}
    columns = [
        "name",
        "family",
        "modality",
        "mark",
        "metric",
        ">floor",
        ">retrieval",
        ">expert",
        "unit",
        ">n",
    ]
    table = []
    for row in rows:
        cells = row | {"mark": _mark(row), "retrieval": _mean(retrieved[row["name"]])}
        table.append([_cell(cells[column.lstrip(">")]) for column in columns])
    base, shown = sum(not row["variant"] for row in rows), len({row["family"] for row in rows})
    title = f"{counted(len(rows), 'task')}, {base:,} of them base, in {counted(shown, 'family', 'families')}"
    output.print_table(columns, table, title)
    if any(_mark(row) for row in rows):
        print("variant: another level of a base task; memorisable: training data holds its whole state space")


@app.command(
    "measure",
    epilog=examples(
        [
            "pathfront tasks measure my_package.mine:Reverse   # writes pathfront-tasks.json",
            "pathfront tasks measure --sample 10               # ten of those that ship, against the catalog",
        ]
    ),
)
def measure_tasks(
    names: Names = None,
    family: Family = None,
    everything: Everything = False,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="K tasks that ship, drawn at random.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which ones are drawn.")] = SAMPLE_SEED,
    suite: Suite = None,
    write: Annotated[
        bool, typer.Option("--write", help="Freeze tasks that ship in the package's own catalog.")
    ] = False,
    missing: Annotated[bool, typer.Option("--missing", help="Only those that the catalog lacks.")] = False,
    specialist: Annotated[
        str | None,
        typer.Option(metavar="PATH", help='"package.module:function" of a policy that may beat the expert.'),
    ] = None,
    minutes: Minutes = None,
    workers: Workers = None,
) -> None:
    """Measure floor, expert and baselines on the select and the report episodes, if `check` finds no fault.

    Your own tasks go into pathfront-tasks.json, where study files find them. Tasks that ship are measured on
    further episodes and compared with the catalog, unless --write stores them in the catalog again.
    """
    from functools import partial

    from space.catalog import SHIPPED, check_local, load_catalog, read_catalog
    from trainers.tasks import measure
    from trainers.tasks.registry import ships

    check_minutes(minutes, specialist is not None)
    if specialist is not None:
        measure.load_specialist(specialist, minutes)  # raises before anything is measured
    chosen = _chosen(names, family, everything, sample, seed)
    settings = load_catalog().suite(suite) if suite else measure.own_suite()
    shipped = {name for name in chosen if ships(name)}
    if not write:
        _compare([name for name in chosen if name in shipped], settings, workers)
        chosen = [name for name in chosen if name not in shipped]
    if not set(chosen) <= shipped:
        check_local()
    if missing:
        there = read_catalog()
        chosen = [n for n in chosen if n not in there.tasks or n not in there.suites[settings.name].tokens]
    one = partial(measure.measure_checked, suite=settings, specialist=specialist, minutes=minutes)
    failed = _each(
        one, chosen, "measured", workers, lambda name, found: _freeze(found, settings, name in shipped)
    )
    if write and everything:
        measure.write(SHIPPED, measure.with_generalist(read_catalog()))
    _conclude(failed, chosen)


@app.command(
    "check",
    epilog=examples(
        [
            "pathfront tasks check my_package.mine:Reverse",
            "pathfront tasks check --family text --json",
            "pathfront tasks check --all",
        ]
    ),
)
def check_tasks(
    names: Names = None,
    family: Family = None,
    everything: Everything = False,
    suite: Suite = None,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Check that tasks keep the rules, and print the verdict of each rule.

    Deterministic for a seed; train, select and report disjoint; tokens legal and coming back; lengths
    bounded; the expert above its floor and in time; nothing printed; no answer in the input. Where a rule
    cannot apply to a task, the reason is printed.
    """
    from functools import partial

    from search.commands import output
    from space.catalog import load_catalog
    from trainers.tasks import measure
    from trainers.tasks.contract import CHECKED_EPISODES, unopened, verdicts_by_name

    chosen = _chosen(names, family, everything, None, 0)
    settings = load_catalog().suite(suite) if suite else measure.own_suite()
    one = partial(verdicts_by_name, suite=settings, train_episodes=CHECKED_EPISODES)
    found: dict[str, tuple[Verdict, ...]] = {}
    failed = _each(one, chosen, "checked", workers, found.__setitem__)
    found |= {name: unopened(reason) for name, reason in failed.items()}
    found = {name: found[name] for name in chosen}
    for name, verdicts in found.items():
        broken = [verdict.reason for verdict in verdicts if verdict.result == "failed"]
        if broken:
            failed[name] = "\n".join(broken)
    if json:
        rows = [{"task": name, "rules": verdicts} for name, verdicts in found.items()]
        output.print_json(rows)
    else:
        _print_verdicts(found)
    _conclude(failed, chosen)


def _print_verdicts(found: "dict[str, tuple[Verdict, ...]]") -> None:
    """A table of tasks and rules, and below it why rules cannot apply."""
    from search.commands import output
    from trainers.tasks.contract import ALL_RULES, NOT_RUN

    if not found:
        return
    marks = {"passed": "ok", "failed": "FAILED", "inapplicable": "-"}
    rows = [[name, *(marks[verdict.result] for verdict in verdicts)] for name, verdicts in found.items()]
    output.print_table(["task", *ALL_RULES], rows)
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, verdicts in found.items():
        for verdict in verdicts:
            if verdict.result == "inapplicable" and verdict.reason != NOT_RUN:
                reasons.setdefault((verdict.rule, verdict.reason), []).append(name)
    for (rule, reason), tasks in reasons.items():
        others = f" and {len(tasks) - 1:,} more" if len(tasks) > 1 else ""
        print(f"'{rule}' cannot apply to {tasks[0]}{others}: {reason}")
    for name, verdicts in found.items():
        if skipped := [f"'{verdict.rule}'" for verdict in verdicts if verdict.reason == NOT_RUN]:
            print(f"{name}: {NOT_RUN}: {', '.join(skipped)}")


def _chosen(
    names: list[str] | None, family: str | None, everything: bool, sample: int | None, seed: int
) -> list[str]:
    """The tasks that a command line names."""
    import random

    from space.errors import NotFoundError
    from trainers.tasks.registry import family_tasks, shipped_tasks, task_factory

    given = sum([bool(names), family is not None, everything, sample is not None])
    if given != 1:
        raise typer.BadParameter("one of: names of tasks, --family, --all or --sample")
    if family is not None:
        return list(family_tasks(family))
    if everything:
        return list(shipped_tasks())
    if sample is not None:
        known = sorted(shipped_tasks())
        if sample > len(known):
            raise NotFoundError(f"{len(known)} tasks ship, got a request for {sample}")
        return sorted(random.Random(seed).sample(known, sample))
    for name in names or ():
        task_factory(name)
    return list(dict.fromkeys(names or ()))


def _each(
    function: Callable[[str], Any],
    names: list[str],
    what: str,
    workers: int | None,
    done: Callable[[str, Any], None],
) -> dict[str, str]:
    """Call a function with each task in other processes; return the failed tasks with the reasons."""
    from search.commands import output
    from space.errors import MachineError, PathfrontError
    from space.machine import cpu_count
    from trainers.tasks.processes import in_processes

    failed = {}
    with output.Meter(what, len(names)) as meter:
        results = in_processes(function, names, workers or cpu_count())
        for count, (name, result) in enumerate(results, start=1):
            try:
                done(name, result())
            except MachineError:  # all other tasks would fail as well
                raise
            except PathfrontError as error:
                failed[name] = str(error)
            meter.update(count, name, len(names))
    return failed


def _freeze(measured: "Measured", suite: "SuiteRecord", ships: bool) -> None:
    """Write a measured task into its catalog, and print its references."""
    from search.commands import output
    from space.catalog import SHIPPED, read_catalog, write_local
    from trainers.tasks import measure

    if ships:
        measure.write(SHIPPED, measure.with_measured(read_catalog(), suite.name, measured))
    else:
        write_local(measured)
    for split, found in measured.record.references.items():
        others = ", ".join(f"{name} {b.mean:.4g}" for name, b in found.baselines.items())
        output.say(
            f"{measured.record.name} [{measured.record.metric}] {split}: expert {found.expert.mean:.4g}"
            f" ± {found.expert.stderr:.2g} ({found.expert.policy}), floor {found.floor.mean:.4g}"
            f" ± {found.floor.stderr:.2g} ({found.floor.policy}), n {found.expert.n}; {others}"
        )


def _compare(names: list[str], suite: "SuiteRecord", workers: int | None) -> None:
    """Measure tasks that ship on further episodes, and print how far they are from the catalog."""
    from functools import partial

    from search.commands import output
    from space.errors import TaskError
    from trainers.tasks.measure import deviations_by_name

    if not names:
        return
    rows: list[list[str]] = []
    worst: dict[str, float] = {}

    def note(name: str, found: dict[str, dict[str, float]]) -> None:
        for split, roles in found.items():
            rows.append([name, split, *(f"{roles[role]:.2f}" if role in roles else "-" for role in ROLES)])
            worst[name] = max(worst.get(name, 0.0), *roles.values())

    failed = _each(partial(deviations_by_name, suite=suite), names, "measured", workers, note)
    output.print_table(["task", "episodes", *(f">{role}" for role in ROLES)], sorted(rows))
    output.say(
        "differences from the catalog in standard errors, on episodes that it was not measured on;"
        " '-' for an expert that was trained"
    )
    _conclude(failed, names)
    beyond = [name for name, value in worst.items() if value > MOST_DEVIATION]
    if beyond:
        raise TaskError(
            f"references lie within {MOST_DEVIATION:g} standard errors, and not those of: {', '.join(beyond)}"
        )


def _conclude(failed: dict[str, str], names: list[str]) -> None:
    from search.commands import output
    from space.errors import TaskError

    for reason in failed.values():
        output.say(reason)
    if failed:
        raise TaskError(f"{len(failed)} of {len(names)} tasks failed")


def _mark(row: dict[str, Any]) -> str:
    """Whether a task of the list is a variant, and whether it is memorisable."""
    return ", ".join(name for name in ("variant", "memorisable") if row[name])


def _mean(baseline: "Baseline | None") -> float | None:
    return baseline.mean if baseline else None


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
