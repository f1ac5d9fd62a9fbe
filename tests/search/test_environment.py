"""Other data and other code are refused, other versions are noted."""

import subprocess
import sys

import pytest
from sqlalchemy import create_engine, update

from search.database import tables
from search.store.environment import Environment, conflicts, environment_here, other_versions
from search.store.studies import create_or_resume
from search.worker import Worker, run_worker
from space.errors import StudyFileError

HERE = Environment(
    python="3.11",
    packages={"torch": "2.13.0", "numpy": "2.3.1"},
    data={"digits": "aaaa", "python-docs": "bbbb"},
    code={"mine:train": "cccc"},
)


def changed(**changes):
    return HERE.model_copy(update=changes)


@pytest.mark.parametrize(
    ("here", "found"),
    [
        (HERE, []),
        (changed(data={"digits": "aaaa", "python-docs": "dddd"}), ["data of task 'python-docs'"]),
        (changed(data={"digits": "aaaa"}), []),  # unknown here: a trainer of one's own
        (changed(code={"mine:train": "eeee"}), ["source of 'mine:train'"]),
        (changed(packages={"torch": "2.14.0"}), []),
    ],
)
def test_data_and_code_must_agree(here, found):
    assert [line.partition(":")[0] for line in conflicts(HERE, here)] == [f.partition(":")[0] for f in found]


def test_other_versions_are_named():
    assert other_versions(HERE, HERE) == []
    found = other_versions(HERE, changed(python="3.12", packages={"torch": "2.14.0", "numpy": "2.3.1"}))
    assert found == ["python 3.11, here 3.12", "torch 2.13.0, here 2.14.0"]


TRAINER = """
from toy_trainers import climb

def train(candidate, suite, budget, resume, report):
    return climb(candidate, suite, budget, resume, report)
"""


@pytest.mark.slow
def test_a_trainer_that_changed_is_refused_until_somebody_accepts_it(
    launch, url, rows, tmp_path, monkeypatch
):
    (tmp_path / "mine.py").write_text(TRAINER)
    monkeypatch.syspath_prepend(tmp_path)
    config = launch(trainer="mine:train", stop={"candidates": 1})
    tasks = ("digits",)
    create_or_resume(url, config, environment_here(config, tasks, {}))
    run_worker(url, "toy")
    (tmp_path / "mine.py").write_text(TRAINER + "# another rate\n")
    here = environment_here(config, tasks, {})
    with pytest.raises(
        StudyFileError, match=r"has 1 trials? scored with other .*source of 'mine:train'.*--accept"
    ):
        create_or_resume(url, config, here)
    worker = [sys.executable, "-m", "search.cli", "worker", "toy", "--storage", url]
    ended = subprocess.run(worker, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: workers of study 'toy' have its data and its code")
    create_or_resume(url, config, here, accept_changes=True)
    assert {row["environment"]["code"] != here.code for row in rows(tables.trials)} == {True}
    assert [row["text"] for row in rows(tables.events, tables.events.c.kind == "changed")]
    assert subprocess.run(worker, capture_output=True, check=False).returncode == 0


def test_a_trainer_may_change_before_anything_is_scored(launch, url, rows):
    config = launch(stop={"candidates": 1})
    other = environment_here(config, (), {}).model_copy(update={"code": {"toy_trainers:climb": "other"}})
    create_or_resume(url, config, other)
    here = environment_here(config, (), {})
    create_or_resume(url, config, here)
    assert rows(tables.studies)[0]["environment"] == here.model_dump(mode="json")


def test_a_worker_with_other_versions_marks_its_trials(launch, url, rows):
    config = launch(stop={"candidates": 1})
    here = environment_here(config, (), {})
    create_or_resume(url, config, here)
    run_worker(url, "toy", name="same")
    assert {row["environment"] for row in rows(tables.trials)} == {None}
    launch(stop={"candidates": 2})
    engine = create_engine(url)
    older = here.model_copy(update={"packages": {**here.packages, "numpy": "1.0"}}).model_dump(mode="json")
    with engine.begin() as connection:
        connection.execute(update(tables.studies).values(environment=older))
    engine.dispose()
    worker = Worker(url, "toy", "study-artifacts", "other")
    worker.run()
    worker.close()
    marked = [row for row in rows(tables.trials) if row["worker"] == "other"]
    assert marked
    assert all(row["environment"] == here.model_dump(mode="json") for row in marked)
    (event,) = rows(tables.events, tables.events.c.kind == "versions")
    assert "numpy 1.0" in event["text"]
