"""Measure floor, expert and baselines of tasks, by the evaluator that scores candidates.

`pathfront tasks measure` is the command. It writes the catalog that ships and the file of a user's own tasks.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import cast, get_args

import numpy as np

from space.catalog import OWN_SETTINGS, Catalog, Measured, load_catalog
from space.errors import StudyFileError, TaskError
from space.files import write_atomically
from space.plugins import load_object
from space.records import HELD_OUT, Baseline, Reference, References, Sense, Split, SuiteRecord, TaskRecord
from space.suites import generalist_tasks
from trainers.tasks.answers import AnswerTask
from trainers.tasks.base import Audible, Policy, Recorded, Task
from trainers.tasks.contract import CHECKED_EPISODES, check_by_name
from trainers.tasks.episodes import Episodes
from trainers.tasks.registry import blamed, load_task
from trainers.tasks.retrieval import RetrievalPolicy
from trainers.tasks.sessions import SessionTask
from trainers.tasks.versions import versions_of

GENERALIST = "generalist"
RETRIEVED_EPISODES = 64
RANKS = 201  # of the lengths of sounds that are noted
LENGTH_EPISODES = 50
SAMPLED_EPISODES = 100
SEED = 0
DEMONSTRATIONS = "demonstrations"  # the policy that made a task's recorded episodes
RETRIEVAL = "retrieval"  # the nearest expert example
SPECIALIST = "specialist"  # the policy of a reference that was trained for it
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
    whole = task
    if specialist is not None:
        whole = task.at_length() if isinstance(task, Audible) else task
        experts[SPECIALIST] = specialist(whole)
    recorded = task if isinstance(task, Recorded) else None  # the expert is not there to play
    references: dict[Split, References] = {}
    for split in HELD_OUT:
        blind = {name: _reference(task, policy, name, split) for name, policy in floors.items()}
        shown = [
            _reference(whole if name == SPECIALIST else task, policy, name, split)
            for name, policy in experts.items()
        ]
        baselines = {r.policy: _baseline(r) for r in blind.values()}
        if isinstance(task, SessionTask) and not _is_likelihood(task):
            retrieved = _retrieval(task, split)
            baselines[RETRIEVAL] = _baseline(retrieved)
            if recorded is not None:
                baselines |= {r.policy: _baseline(r) for r in shown}
                shown += [retrieved, _referred(task, recorded.returns(), DEMONSTRATIONS)]
        expert = _best(task, shown)
        floor = _best(task, list(blind.values()))
        references[split] = References(floor=floor, expert=expert, baselines=baselines)
    record = record_of(task, references)
    for split in HELD_OUT:
        record.checked(split)
    return record


def measure_own(task: Task, specialist: Specialist | None = None, name: str | None = None) -> Measured:
    """Measure a task with the facts that a suite records of it.

    Args:
        task: opened under the settings of its suite, for a user's own task those of `own_suite`.
        specialist: makes a policy that may be the better expert.
        name: what study files call it; its own name when None.

    Raises:
        TaskError: the expert does not clear its floor by two standard errors.
    """
    record = measure(task, specialist).model_copy(update={"name": name or task.name})
    lengths = np.diff(Episodes.of(task.episodes()).offsets)
    return Measured(
        record=record,
        patch_share=patch_share(task),
        episodes=task.eval_episodes,
        tokens=int(lengths.sum()),
        length=_rounded(np.mean(lengths[:LENGTH_EPISODES])),
        frames=_ranked(task.sound_frames()) if isinstance(task, Audible) else (),
    )


def measure_sampled(name: str, suite: SuiteRecord, specialist: Specialist | None = None) -> Measured:
    """Measure a task with a sample of its training episodes, because simulation is slow.

    Shares and tokens are estimated from the sample; tokens are scaled to all episodes.

    Raises:
        TaskError: the expert does not clear its floor by two standard errors.
        NotFoundError: there is no such task.
    """
    whole = load_task(name, suite)
    if not isinstance(whole, SessionTask) or isinstance(whole, AnswerTask):
        return measure_own(whole, specialist, name)
    sample = min(SAMPLED_EPISODES, whole.train_episodes)
    measured = measure_own(load_task(name, suite, train_episodes=sample), specialist, name)
    return measured.model_copy(update={"tokens": round(measured.tokens * whole.train_episodes / sample)})


def measure_by_name(
    name: str, suite: SuiteRecord, specialist: str | None = None, minutes: float | None = None
) -> Measured:
    """Measure a task by its name, in this process.

    Args:
        name: as study files call it.
        suite: sequence settings.
        specialist: "package.module:function" that makes a policy for a task.
        minutes: that it may train for; its own default when None.

    Raises:
        TaskError: the expert does not clear its floor by two standard errors, or the task's code raises.
        NotFoundError: there is no such task.
        StudyFileError: there is no such specialist.
    """
    function = None if specialist is None else load_specialist(specialist, minutes)
    with blamed(name):
        return measure_sampled(name, suite, function)


def measure_checked(
    name: str, suite: SuiteRecord, specialist: str | None = None, minutes: float | None = None
) -> Measured:
    """Measure a task that keeps the rules; arguments and errors as those of `measure_by_name`.

    Raises:
        TaskError: the task breaks a rule.
    """
    check_by_name(name, suite, CHECKED_EPISODES)
    return measure_by_name(name, suite, specialist, minutes)


def load_specialist(path: str, minutes: float | None = None) -> Specialist:
    """The function at "package.module:function" that makes a policy for a task.

    Args:
        path: of the function.
        minutes: passed to it as an argument of that name, unless None.

    Raises:
        StudyFileError: there is no such function, or it takes no minutes.
    """
    told = "--specialist: a function as package.module:function"
    found = cast(Callable[..., Policy], load_object(path, told, StudyFileError))
    if minutes is None:
        return found
    if "minutes" not in signature(found).parameters:
        raise StudyFileError(f"--minutes is for a specialist with an argument 'minutes', '{path}' has none")
    return partial(found, minutes=minutes)


def own_suite() -> SuiteRecord:
    """The sequence settings that tasks of users share."""
    return load_catalog().suite(OWN_SETTINGS)


def record_of(task: Task, references: dict[Split, References]) -> TaskRecord:
    """The catalog's record of a task."""
    return TaskRecord(
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


def _ranked(frames: np.ndarray) -> tuple[int, ...]:
    """Numbers at `RANKS` evenly spaced ranks, ascending; none of none."""
    if not len(frames):
        return ()
    return tuple(np.quantile(frames, np.linspace(0, 1, RANKS), method="nearest").astype(int).tolist())


def patch_share(task: Task) -> dict[str, float]:
    """Encoder -> share of the task's training tokens that are its patches."""
    whole = Episodes.of(task.episodes())
    length = len(whole.tokens)
    counts = {name: int(np.count_nonzero(whole.tokens == i)) for name, i in whole.placeholders.items()}
    return {encoder: _rounded(count / length) for encoder, count in sorted(counts.items()) if count}


def with_measured(catalog: Catalog, suite: str, measured: Measured) -> Catalog:
    """The catalog with a task's references, and with its shares, episodes and tokens in a suite."""
    name, old = measured.record.name, catalog.suites[suite]
    shares = {task: share for task, share in old.patch_share.items() if task != name}
    if measured.patch_share:
        shares[name] = measured.patch_share
    changes = {
        "patch_share": dict(sorted(shares.items())),
        "episodes": dict(sorted((old.episodes | {name: measured.episodes}).items())),
        "tokens": dict(sorted((old.tokens | {name: measured.tokens}).items())),
        "lengths": dict(sorted((old.lengths | {name: measured.length}).items())),
    }
    tasks = catalog.tasks | {name: measured.record}
    if name not in old.tasks:
        senses = get_args(Sense)
        order = {task: (senses.index(r.modality), r.family, task) for task, r in tasks.items()}
        changes["tasks"] = tuple(sorted((*old.tasks, name), key=order.__getitem__))
    return Catalog(tasks=tasks, suites=catalog.suites | {suite: old.model_copy(update=changes)})


def with_generalist(catalog: Catalog) -> Catalog:
    """The catalog with the suite `generalist`, chosen by its rule."""
    others = {name: suite for name, suite in catalog.suites.items() if name != GENERALIST}
    whole = others.pop(OWN_SETTINGS)
    chosen = Catalog(tasks=catalog.tasks, suites={OWN_SETTINGS: whole}).of_tasks(
        generalist_tasks(catalog, whole), {}
    )
    chosen = chosen.model_copy(update={"name": GENERALIST, "records": {}})
    return Catalog(tasks=catalog.tasks, suites=others | {GENERALIST: chosen, OWN_SETTINGS: whole})


def write(path: Path, catalog: Catalog) -> None:
    """Write a catalog atomically, without the records that suites have within a study."""
    data = {
        "tasks": {name: record.model_dump(mode="json") for name, record in sorted(catalog.tasks.items())},
        "suites": {
            name: suite.model_dump(mode="json", exclude={"records"}) for name, suite in catalog.suites.items()
        },
    }
    write_atomically(path, json.dumps(data, indent=1) + "\n")


def deviation(task: Task, record: TaskRecord, split: Split) -> dict[str, float]:
    """How far floor and expert are from the catalog's, on episodes that were not used to measure it.

    If a task has no further episodes, the same ones are used.

    Returns:
        "floor" and "expert" -> the difference in standard errors of a difference; 0 where there is no noise
        and no difference. A trained expert is left out: its weights do not ship.
    """
    policies = dict([task.expert_policy()]) | task.floor_policies()
    found = {}
    for role in ("floor", "expert"):
        frozen: Reference = getattr(record.references[split], role)
        if frozen.policy == SPECIALIST:
            continue
        if frozen.policy not in policies:
            raise TaskError(
                f"task '{record.name}' has no policy '{frozen.policy}' any more; measure it again"
            )
        values = _further(task, policies[frozen.policy], split, frozen.n)
        noise = float(frozen.stderr**2 + values.var(ddof=1) / len(values)) ** 0.5
        difference = abs(_rounded(values.mean()) - frozen.mean)
        found[role] = difference / noise if noise else math.inf if difference else 0.0
    return found


def deviations_by_name(name: str, suite: SuiteRecord) -> dict[str, dict[str, float]]:
    """`deviation` on both splits of a task that ships, in this process."""
    record, task = load_catalog().task(name), load_task(name, suite)
    return {split: deviation(task, record, split) for split in HELD_OUT}


def _further(task: Task, policy: Policy, split: Split, count: int) -> np.ndarray:
    """Values of the `count` episodes after the first `count`; of the first ones if there are no more."""
    try:
        return task.score(policy, split, 2 * count)[count:]
    except TaskError:
        return task.score(policy, split, count)


def _is_likelihood(task: Task) -> bool:
    """Whether answers are scored by their likelihood, so that none is given."""
    return isinstance(task, AnswerTask) and task.by_likelihood


def _reference(task: Task, policy: Policy, name: str, split: Split) -> Reference:
    return _referred(task, task.score(policy, split, task.reference_episodes), name)


def _retrieval(task: SessionTask, split: Split) -> Reference:
    policy = RetrievalPolicy(task.episodes(), task.vocabulary)
    values = task.score(policy, split, min(RETRIEVED_EPISODES, task.reference_episodes))
    return _referred(task, values, RETRIEVAL)


def _referred(task: Task, values: np.ndarray, name: str) -> Reference:
    return Reference(
        mean=_rounded(values.mean()),
        stderr=_stderr(values),
        n=len(values),
        seed=SEED,
        policy=name,
        versions=versions_of(task.packages),
    )


def _baseline(reference: Reference) -> Baseline:
    return Baseline(mean=reference.mean, stderr=reference.stderr, n=reference.n)


def _best(task: Task, references: list[Reference]) -> Reference:
    return (min if task.lower_is_better else max)(references, key=lambda reference: reference.mean)


def _stderr(values: np.ndarray) -> float:
    return _rounded(values.std(ddof=1) / len(values) ** 0.5)


def _rounded(value: float | np.floating) -> float:
    return float(f"{value:.{DIGITS}g}")
