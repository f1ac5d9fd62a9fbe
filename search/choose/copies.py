"""A copy of an earlier study's specification and scores, compact enough to be stored with a new study.

A study with a warm start can be repeated when the earlier one has gone on or was deleted.
"""

import base64
import json
import zlib
from typing import Any, NamedTuple

from sqlalchemy import Engine

from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial, TaskFraction, take_snapshot
from search.store.studies import load_study, parse_config, parse_suite
from space.errors import StudyFileError
from space.records import SuiteRecord
from space.study import StudyConfig

MOST_CANDIDATES = 300  # those that were trained furthest
DIGITS = 6  # of scores
LEFT_OUT = {"start", "priors", "warm"}  # keys of the specification


class Copy(NamedTuple):
    """An earlier study as it was when it was copied.

    Attributes:
        view: its candidates with a score and their done trials.
    """

    config: StudyConfig
    suite: SuiteRecord
    view: Snapshot


def copy_study(engine: Engine, url: str, name: str) -> str:
    """Copy a study of a database.

    Raises:
        NotFoundError: there is no such study.
        StudyFileError: it has no scores.
        StorageError: another version of Pathfront wrote it.
    """
    study = load_study(engine, url, name)
    return copy_of(study.config, study.suite, take_snapshot(engine, name, study.config.search.seed))


def copy_of(config: StudyConfig, suite: SuiteRecord, view: Snapshot) -> str:
    """Copy a study.

    Raises:
        StudyFileError: it has no scores.
    """
    done = [trial for trial in view.trials if trial.state == "done" and trial.score is not None]
    if not done:
        raise StudyFileError(f"a warm start learns from scores, and study '{config.study}' has none yet")
    highest: dict[str, int] = {}
    for trial in done:
        highest[trial.candidate] = max(trial.rung, highest.get(trial.candidate, 0))
    order = [candidate for candidate in view.candidates if candidate.id in highest]
    kept = sorted(order, key=lambda candidate: -highest[candidate.id])[:MOST_CANDIDATES]
    kept.sort(key=lambda candidate: candidate.ordinal)
    places = {candidate.id: place for place, candidate in enumerate(kept)}
    data = {
        "config": config.model_dump(mode="json", exclude=LEFT_OUT),
        "suite": suite.model_dump(mode="json"),
        "candidates": [[c.id, c.params, c.flops_per_token, c.sparse] for c in kept],
        "trials": [_row(trial, places, suite) for trial in done if trial.candidate in places],
    }
    text = json.dumps(data, separators=(",", ":"), sort_keys=True)
    return base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def _row(trial: SnapshotTrial, places: dict[str, int], suite: SuiteRecord) -> list[Any]:
    tasks = [trial.tasks.get(task) for task in suite.tasks]
    fractions = [None if of is None else [round(of.value, DIGITS), round(of.stderr, DIGITS)] for of in tasks]
    assert trial.score is not None
    score, stderr = round(trial.score, DIGITS), round(trial.stderr or 0.0, DIGITS)
    return [places[trial.candidate], trial.rung, score, stderr, trial.training_flops, fractions]


def read_copy(text: str, name: str) -> Copy:
    """Read a copy.

    Args:
        text: what `copy_study` returned.
        name: of the study that was copied.

    Raises:
        StorageError: another version of Pathfront wrote it.
    """
    data = json.loads(zlib.decompress(base64.b85decode(text)))
    suite = parse_suite(data["suite"], name)
    known = [
        Candidate(id=row[0], ordinal=place, params=row[1], flops_per_token=row[2], sparse=row[3])
        for place, row in enumerate(data["candidates"])
    ]
    trials = [
        SnapshotTrial(
            candidate=known[place].id,
            rung=rung,
            state="done",
            final=True,
            score=score,
            stderr=stderr,
            flops_per_token=known[place].flops_per_token,
            training_flops=flops,
            tasks={
                task: TaskFraction(*of)
                for task, of in zip(suite.tasks, fractions, strict=True)
                if of is not None
            },
        )
        for place, rung, score, stderr, flops, fractions in data["trials"]
    ]
    return Copy(parse_config(data["config"], name), suite, Snapshot(tuple(known), tuple(trials), 0.0))
