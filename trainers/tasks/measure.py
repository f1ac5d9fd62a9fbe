"""Measure what 0 and 1 mean: floor and expert of each task, by the evaluator that scores candidates.

    python -m trainers.tasks.measure [--suite quick] [--task NAME ...] [--specialist package.module:function]

Writes the references into `space/catalog.json`, with the share of patches in each task's tokens. A specialist
is a policy, made by a function of the task; where it beats the task's own expert, it becomes the expert.
"""

import argparse
import json
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import numpy as np

from space.catalog import Catalog, Reference, References, Split, SuiteRecord, TaskRecord
from space.errors import PathfrontError
from trainers.tasks.base import Policy, Task
from trainers.tasks.registry import load_task
from trainers.tasks.versions import versions_of

MEASURED: tuple[Split, ...] = ("select", "report")
SEED = 0
DIGITS = 6  # significant

Specialist = Callable[[Task], Policy]


def measure(task: Task, specialist: Specialist | None = None) -> TaskRecord:
    """Measure a task's references on the select and report episodes.

    Args:
        task: the task.
        specialist: makes a policy that may be the better expert.

    Raises:
        TaskError: the expert does not clear its floor by two standard errors.
    """
    floors = task.floor_policies()
    experts = dict([task.expert_policy()])
    if specialist is not None:
        experts["specialist"] = specialist(task)
    references: dict[Split, References] = {}
    for split in MEASURED:
        floor = _best(task, [_reference(task, policy, name, split) for name, policy in floors.items()])
        expert = _best(task, [_reference(task, policy, name, split) for name, policy in experts.items()])
        references[split] = References(floor=floor, expert=expert)
    record = TaskRecord(
        name=task.name,
        family=task.family,
        domain=task.domain,
        modality=task.modality,
        metric=task.metric,
        unit=task.unit,
        variant=task.variant,
        memorisable=task.memorisable,
        lower_is_better=task.lower_is_better,
        references=references,
    )
    for split in MEASURED:
        record.checked(split)
    return record


def patch_share(task: Task) -> dict[str, float]:
    """Encoder -> share of the task's training tokens that are its patches."""
    episodes = task.episodes()
    length = sum(len(episode) for episode in episodes)
    counts: dict[str, int] = {}
    for episode in episodes:
        for encoder, patches in episode.patches.items():
            counts[encoder] = counts.get(encoder, 0) + len(patches)
    return {encoder: _rounded(count / length) for encoder, count in sorted(counts.items())}


def write(path: Path, catalog: Catalog) -> None:
    """Write a catalog; the records that suites carry within a study are left out."""
    data = {
        "tasks": {name: record.model_dump(mode="json") for name, record in sorted(catalog.tasks.items())},
        "suites": {
            name: suite.model_dump(mode="json", exclude={"records"}) for name, suite in catalog.suites.items()
        },
    }
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def with_task(catalog: Catalog, suite: SuiteRecord, task: Task, record: TaskRecord) -> Catalog:
    """The catalog with a task's references and its share of patches and number of episodes in a suite."""
    suite = catalog.suites[suite.name]
    shares = dict(suite.patch_share)
    shares.pop(task.name, None)
    if share := patch_share(task):
        shares[task.name] = share
    changes = {"patch_share": shares, "episodes": suite.episodes | {task.name: task.eval_episodes}}
    return Catalog(
        tasks=catalog.tasks | {task.name: record},
        suites=catalog.suites | {suite.name: suite.model_copy(update=changes)},
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, say what was found, and write the catalog after each task."""
    parser = argparse.ArgumentParser(description="Measure floors and experts into the catalog.")
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--task", action="append", help="only this task; may be given several times")
    parser.add_argument("--specialist", help="package.module:function that makes a policy for a task")
    options = parser.parse_args(arguments)
    path = Path(str(files("space") / "catalog.json"))
    catalog = Catalog.model_validate_json(path.read_text(encoding="utf-8"))
    try:
        suite = catalog.suite(options.suite)
        specialist = _function(options.specialist) if options.specialist else None
        for name in options.task or suite.tasks:
            task = load_task(name, suite)
            record = measure(task, specialist)
            catalog = with_task(catalog, suite, task, record)
            write(path, catalog)
            print(_line(record))
    except PathfrontError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _reference(task: Task, policy: Policy, name: str, split: Split) -> Reference:
    values = task.score(policy, split, task.reference_episodes)
    return Reference(
        mean=_rounded(values.mean()),
        stderr=_rounded(values.std(ddof=1) / len(values) ** 0.5),
        n=len(values),
        seed=SEED,
        policy=name,
        versions=versions_of(task.packages),
    )


def _best(task: Task, references: list[Reference]) -> Reference:
    return (min if task.lower_is_better else max)(references, key=lambda reference: reference.mean)


def _rounded(value: float | np.floating) -> float:
    return float(f"{value:.{DIGITS}g}")


def _function(path: str) -> Specialist:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _line(record: TaskRecord) -> str:
    parts = [
        f"{split}: floor {r.floor.mean:g} ± {r.floor.stderr:.2g} ({r.floor.policy}),"
        f" expert {r.expert.mean:g} ± {r.expert.stderr:.2g} ({r.expert.policy}), n {r.floor.n}"
        for split, r in record.references.items()
    ]
    return f"{record.name} [{record.metric}]  " + "; ".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
