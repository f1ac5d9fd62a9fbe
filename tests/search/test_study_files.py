"""Each study has a folder of its own, and a place where it is missing is told from a new one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import update

from search.database import tables
from search.database.storage import open_writer
from search.engines import launcher
from search.maintenance import retry
from search.store.artifacts import Artifacts
from search.store.study_files import open_files, study_folder
from search.worker import Worker, run_worker
from space.errors import StorageError

PATHFRONT = Path(sys.executable).with_name("pathfront")
RUNGS = {"tokens": [3_000, 6_000], "eta": 2}

STUDY = """
study: mine
suite: [wine]
rungs: {tokens: [20_000, 40_000], eta: 2}
stop: {candidates: 2}
workers: 1
trainer: own:train
"""

TRAINER = """
from pathlib import Path
from space.scores import Scorecard, Spent

def train(candidate, suite, budget, resume, report):
    me = Path("me").read_text()
    assert resume is None or resume.read_text() == me, "another study's checkpoint"
    report.progress(budget.tokens, 1.0, {})
    report.checkpoint(lambda path: path.write_text(me), budget.tokens, "trunk")
    report.checkpoint(lambda path: path.write_text(me), budget.tokens, "decayed")
    floor, expert = suite.records["wine"].checked("select")
    values = {"wine": [floor.mean + 0.5 * (expert.mean - floor.mean)] * 2}
    return Scorecard.of(suite, values, spent=Spent(tokens=budget.tokens - budget.start_tokens))
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Runs the command as installed in a folder -> (exit code, stdout, stderr); no PYTHONPATH."""
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
        folder.mkdir(exist_ok=True)
        for name, text in (("mine.yaml", STUDY), ("own.py", TRAINER), ("me", str(folder))):
            if not (folder / name).exists():
                (folder / name).write_text(text)
        ended = subprocess.run(
            [PATHFRONT, *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stdout, ended.stderr

    return run


def launched(result, code=0):
    assert result[0] == code, result
    return result[2]


def exported(user, folder, *options, **environment):
    name = f"export{len(list(folder.glob('export*')))}"
    launched(user(folder, "export", "mine", "-o", name, *options, **environment))
    return (folder / name / "model.safetensors").read_text()


@pytest.mark.slow
def test_two_databases_share_a_place_and_no_file(user, tmp_path):
    shared = {"PATHFRONT_ARTIFACTS": str(tmp_path / "art")}
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        launched(user(folder, "launch", "mine.yaml", **shared))
    for folder in (one, other):
        assert exported(user, folder, **shared) == str(folder)
        (folder / "mine.yaml").write_text(STUDY.replace("candidates: 2", "candidates: 4"))
        launched(user(folder, "launch", "mine.yaml", **shared))
        assert exported(user, folder, **shared) == str(folder)
    assert len(list((tmp_path / "art").iterdir())) == 2


@pytest.mark.slow
def test_two_databases_with_one_stem_share_no_file(user, tmp_path):
    urls = ["sqlite:///x.db", "sqlite:///x.sqlite"]
    for url in urls:
        (tmp_path / "me").write_text(url)
        launched(user(tmp_path, "launch", "mine.yaml", "--storage", url))
    for url in urls:
        assert exported(user, tmp_path, "--storage", url) == url
    assert len(list((tmp_path / "x-artifacts").iterdir())) == 2


@pytest.mark.slow
def test_a_database_that_was_put_aside_keeps_its_files(user, tmp_path):
    launched(user(tmp_path, "launch", "mine.yaml"))
    (before,) = (tmp_path / "pathfront-artifacts").iterdir()
    files = {path: path.read_bytes() for path in before.rglob("*") if path.is_file()}
    (tmp_path / "pathfront.db").rename(tmp_path / "old.db")
    (tmp_path / "me").write_text("the new one")
    launched(user(tmp_path, "launch", "mine.yaml"))
    assert {path: path.read_bytes() for path in before.rglob("*") if path.is_file()} == files
    assert exported(user, tmp_path) == "the new one"
    old = ("--storage", "sqlite:///old.db")
    place = tmp_path / "old-artifacts" / before.name
    said = launched(user(tmp_path, "export", "mine", "-o", "best", *old), 4)
    assert str(place) in said
    assert said.count("\n") == 1
    (tmp_path / "mine.yaml").write_text(STUDY.replace("candidates: 2", "candidates: 4"))
    for command in (("launch", "mine.yaml"), ("worker", "mine")):
        said = launched(user(tmp_path, *command, *old), 4).splitlines()[-1]
        assert said.startswith(f"error: study 'mine' has 4 checkpoints, and '{place}'")
        assert "--forget-checkpoints" in said
    assert not (tmp_path / "old-artifacts").exists()
    (tmp_path / "old-artifacts").mkdir()
    before.rename(place)
    (tmp_path / "me").write_text(str(tmp_path))
    launched(user(tmp_path, "launch", "mine.yaml", *old))
    assert exported(user, tmp_path, *old) == str(tmp_path)


@pytest.fixture
def engine(prepared):
    engine = open_writer(prepared)
    yield engine
    engine.dispose()


def at_rung_one(url, name="first"):
    """Work until a trial of rung 1 is claimed, and lay that down."""
    worker = Worker(url, "toy", "study-artifacts", name)
    while (claim := worker.choose()).rung == 0:
        worker.work(claim)
    worker.ledger.pause(claim)
    worker.ledger.reconcile(thorough=True)
    worker.close()
    return worker.files


def test_a_place_out_of_reach_costs_nothing(launch, url, rows, audit, tmp_path):
    launch(stop={"candidates": 4}, rungs=RUNGS)
    at_rung_one(url)
    noted, states = rows(tables.checkpoints), rows(tables.trials)
    home = tmp_path / "study-artifacts"
    home.rename(tmp_path / "away")
    for start in (
        lambda: launcher.run(url, "toy", 1, str(home)),
        lambda: run_worker(url, "toy"),
    ):
        with pytest.raises(StorageError, match=r"has 4 checkpoints, and '.*study-artifacts/toy-.*not there"):
            start()
    assert not home.exists()
    assert rows(tables.checkpoints) == noted
    assert rows(tables.trials) == states
    (tmp_path / "away").rename(home)
    run_worker(url, "toy")
    ledger = audit()
    assert {row["epochs"]["start"] for row in ledger if row["rung"] == 1} == {3_000}
    assert {row["attempt"] for row in ledger if row["rung"] == 0} == {1}


def test_a_folder_that_vanishes_in_a_run_is_said(launch, url, rows, tmp_path):
    launch(stop={"candidates": 4}, trainer="toy_trainers:patient")
    home = tmp_path / "study-artifacts"
    (tmp_path / "wait").touch()
    worker = Worker(url, "toy", str(home), "one")
    claim = worker.choose()
    home.rename(tmp_path / "away")
    (tmp_path / "wait").unlink()
    with pytest.raises(
        StorageError, match=r"the folder '.*study-artifacts/toy-.*' was there and has vanished"
    ):
        worker.work(claim)
    worker.ledger.close()
    assert not home.exists()


@pytest.mark.slow
def test_a_launch_says_that_its_folder_vanished(user, tmp_path):
    trainer = TRAINER.replace("report.progress", "import shutil; shutil.rmtree('art'); report.progress")
    (tmp_path / "own.py").write_text(trainer)
    said = launched(user(tmp_path, "launch", "mine.yaml", "--artifacts", "art"), 4)
    assert "Traceback" not in said
    assert "has vanished" in said.splitlines()[-1]
    assert not list(tmp_path.rglob("*.ckpt"))


def test_another_place_is_fine_while_the_first_is_in_reach(launch, url, audit, rows, tmp_path):
    launch(stop={"candidates": 4}, rungs=RUNGS)
    at_rung_one(url)
    run_worker(url, "toy", str(tmp_path / "elsewhere"))
    ledger = audit()
    assert {row["epochs"]["start"] for row in ledger if row["rung"] == 1} == {3_000}
    uris = [row["uri"] for row in rows(tables.checkpoints)]
    assert {uri.startswith("file://") for uri in uris} == {True, False}
    shutil.rmtree(tmp_path / "elsewhere")
    launch(stop={"candidates": 6}, rungs=RUNGS)
    run_worker(url, "toy")  # what lay elsewhere is not needed
    assert sum(row["state"] == "done" for row in audit()) == 9


@pytest.mark.parametrize("where", [pytest.param("outside", marks=pytest.mark.slow), "at home"])
def test_a_folder_that_moved_is_found_in_its_new_place(launch, url, audit, rows, tmp_path, where):
    launch(stop={"candidates": 4}, rungs=RUNGS)
    first = tmp_path / ("art" if where == "outside" else "study-artifacts")
    worker = Worker(url, "toy", str(first), "first")
    while (claim := worker.choose()).rung == 0:
        worker.work(claim)
    worker.ledger.pause(claim)
    worker.ledger.close()
    first.rename(tmp_path / "moved")
    run_worker(url, "toy", str(tmp_path / "moved"))
    assert {row["epochs"]["start"] for row in audit() if row["rung"] == 1} == {3_000}
    files = {path.name for path in (tmp_path / "moved").rglob("*") if path.is_file()}
    assert {row["uri"].rpartition("/")[2] for row in rows(tables.checkpoints)} <= files
    assert sum(1 for _ in (tmp_path / "moved").rglob("*.safetensors")) == 6
    (tmp_path / "moved").rename(first)
    launch(stop={"candidates": 6}, rungs=RUNGS)
    run_worker(url, "toy", str(first))
    assert sum(1 for _ in first.rglob("*.safetensors")) == 9


def test_one_missing_file_is_said_and_nothing_is_struck_out(launch, url, rows, tmp_path):
    launch(stop={"candidates": 2}, rungs=RUNGS)
    worker = Worker(url, "toy", "study-artifacts", "first")
    while (claim := worker.choose()).rung == 0:
        worker.work(claim)
    noted = rows(tables.checkpoints)
    for path in (tmp_path / "study-artifacts").rglob("*.ckpt"):
        path.unlink()
    with pytest.raises(StorageError, match=r"a checkpoint of study 'toy' is missing: '/.*ckpt'; mount"):
        worker.work(claim)
    worker.ledger.close()
    assert rows(tables.checkpoints) == noted
    assert "damaged" not in [row["kind"] for row in rows(tables.events)]


def test_checkpoints_that_are_gone_may_be_given_up(launch, url, engine, rows, audit, tmp_path):
    launch(stop={"candidates": 4}, rungs=RUNGS)
    home = str(tmp_path / "study-artifacts")
    at_rung_one(url)
    assert retry(url, "toy", forget_checkpoints=True).forgotten == 0
    for path in Path(home).rglob("*.ckpt"):
        path.unlink()
    assert retry(url, "toy", forget_checkpoints=True).forgotten > 0
    assert {row["kind"] for row in rows(tables.checkpoints)} == {"decayed"}
    shutil.rmtree(home)
    with pytest.raises(StorageError, match="pathfront retry toy --forget-checkpoints"):
        run_worker(url, "toy")
    left = len(rows(tables.checkpoints))
    assert retry(url, "toy", forget_checkpoints=True).forgotten == left
    assert rows(tables.checkpoints) == []
    run_worker(url, "toy")
    starts = [row["epochs"]["start"] for row in audit() if row["rung"] == 1]
    assert sorted(starts) == [0, 3_000]  # without its trunk, and with that of a candidate that came later


def test_a_study_of_version_one_keeps_its_folder(launch, url, engine, rows, audit, tmp_path):
    launch(stop={"candidates": 4}, rungs=RUNGS)
    with engine.begin() as connection:
        connection.execute(update(tables.studies).values(artifacts_id=""))
    run_worker(url, "toy")
    audit(failed=0)
    assert all(row["uri"].startswith("toy/") for row in rows(tables.checkpoints))
    marker = tmp_path / "study-artifacts/toy/study.json"
    assert json.loads(marker.read_text()) == {"study": "toy", "artifacts_id": ""}
    marker.unlink()  # as a Pathfront of version 1 left it
    launch(stop={"candidates": 6}, rungs=RUNGS)
    run_worker(url, "toy")
    assert marker.exists()


def test_only_files_of_its_own_are_deleted(launch, url, engine, rows, tmp_path):
    launch(stop={"candidates": 2}, rungs=RUNGS)
    files = open_files(engine, url, "toy", str(tmp_path / "study-artifacts"))
    home = tmp_path / "study-artifacts"
    others = [
        home / "toy-0123456789ab/aaaaaaaaaaaa/rung0-seed0/trunk-1-1.ckpt",  # a study of the same name
        home / "toy/aaaaaaaaaaaa/rung0-seed0/trunk-1-1.ckpt",
        home / files.name / "notes.txt",
        home / files.name / "aaaaaaaaaaaa/rung0-seed0/trunk-1-1.ckpt",  # no trial of this database
    ]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("another's")
    files.remove([f"file://{others[0]}", "toy-0123456789ab/aaaaaaaaaaaa/rung0-seed0/trunk-1-1.ckpt"])
    run_worker(url, "toy")
    assert all(path.read_text() == "another's" for path in others)


def test_a_linked_root_loses_no_file(launch, url, rows, tmp_path):
    launch(stop={"candidates": 4}, rungs=RUNGS)
    at_rung_one(url)
    (tmp_path / "link").symlink_to(tmp_path / "study-artifacts")
    run_worker(url, "toy", str(tmp_path / "link"))
    assert all((tmp_path / "study-artifacts" / row["uri"]).is_file() for row in rows(tables.checkpoints))


@pytest.fixture
def memory():
    yield "memory://toys"
    fsspec.filesystem("memory").rm("/toys", recursive=True)


def test_an_object_store_holds_a_study(launch, url, audit, rows, tmp_path, memory):
    launch(stop={"candidates": 4}, rungs=RUNGS, logger="csv")
    run_worker(url, "toy", memory)
    audit(failed=0)
    noted = rows(tables.checkpoints)
    (study,) = rows(tables.studies)
    folder = f"memory:///toys/toy-{study['artifacts_id']}"
    assert len(noted) == 6 + 2
    store = Artifacts(memory)
    assert {store.uri(name) for name in store.listing("")} == {
        *(row["uri"] for row in noted),
        f"{folder}/study.json",
    }
    assert list(tmp_path.glob(f"pathfront-logs/toy-{study['artifacts_id']}/*/logs"))


def test_an_object_store_that_was_emptied_is_told(launch, url, rows, memory):
    launch(stop={"candidates": 4}, rungs=RUNGS)
    run_worker(url, "toy", memory)
    fsspec.filesystem("memory").rm("/toys", recursive=True)
    launch(stop={"candidates": 6}, rungs=RUNGS)
    noted = rows(tables.checkpoints)
    with pytest.raises(StorageError, match=r"'memory:///toys/toy-.*is not there"):
        run_worker(url, "toy", memory)
    assert rows(tables.checkpoints) == noted
    Artifacts(memory).make()


@pytest.mark.parametrize("bad", ["file", "file/folder", "nonsense://place"])
def test_a_place_that_cannot_be_used_is_said(launch, url, tmp_path, bad):
    launch()
    (tmp_path / "file").write_text("")
    root = bad if "://" in bad else str(tmp_path / bad)
    with pytest.raises(StorageError, match="cannot be used") as caught:
        run_worker(url, "toy", root)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_folder_of_any_name_holds_database_and_files(user, tmp_path):
    folder = tmp_path / "50%20 of [a]::b #1"
    launched(user(folder, "launch", "mine.yaml"))
    (folder / "mine.yaml").write_text(STUDY.replace("candidates: 2", "candidates: 4"))
    launched(user(folder, "launch", "mine.yaml"))
    assert exported(user, folder) == str(folder)


def test_names_of_studies_do_not_collide():
    assert study_folder("toy", "") == "toy"
    assert len({study_folder(name, i) for name in ("toy", "Toy") for i in ("", "a1", "b2")}) == 6


class TestOnPostgreSQL:
    """Machines that share a server, each with its own look at the files."""

    @pytest.fixture
    def url(self, postgresql_url):
        return postgresql_url

    def test_a_worker_without_the_folder_leaves_the_others_alone(self, launch, url, rows, audit, tmp_path):
        """One machine has the shared folder mounted, the other one has an empty place there."""
        launch(stop={"candidates": 4}, rungs=RUNGS)
        shared, away = tmp_path / "shared", tmp_path / "away"
        good = Worker(url, "toy", str(shared), "good")
        good.work(good.choose())
        noted, states = rows(tables.checkpoints), rows(tables.trials)
        shared.rename(away)
        with pytest.raises(StorageError, match=r"has 2 checkpoints, and '.*shared/toy-.*is not there"):
            run_worker(url, "toy", str(shared), name="bad")
        assert (rows(tables.checkpoints), rows(tables.trials)) == (noted, states)
        away.rename(shared)
        assert good.run() == 6
        good.ledger.close()
        assert {row["attempt"] for row in audit(failed=0)} == {1}

    def test_a_worker_without_the_folder_is_refused_from_the_start(self, launch, url, tmp_path):
        launch(stop={"candidates": 4}, rungs=RUNGS)
        shared, away = tmp_path / "shared", tmp_path / "away"
        good = Worker(url, "toy", str(shared), "good")
        shared.rename(away)
        for root in (shared, tmp_path / "own"):
            with pytest.raises(StorageError, match=r"has a folder, and '.*is not there"):
                Worker(url, "toy", str(root), "bad")
        away.rename(shared)
        other = Worker(url, "toy", str(tmp_path / "own"), "other")
        assert other.files.is_marked()
        for worker in (good, other):
            worker.ledger.close()

    def test_a_worker_that_names_no_place_finds_the_study_s(self, launch, url, rows, tmp_path, monkeypatch):
        launch(stop={"candidates": 2}, rungs=RUNGS)
        open_files(engine := open_writer(url), url, "toy", str(tmp_path / "shared"))
        engine.dispose()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        run_worker(url, "toy")
        assert list((tmp_path / "elsewhere").iterdir()) == []
        assert all(f"{tmp_path}/shared/toy-" in row["uri"] for row in rows(tables.checkpoints))
        monkeypatch.setenv("PATHFRONT_ARTIFACTS", "own")
        launch(stop={"candidates": 3}, rungs=RUNGS)
        run_worker(url, "toy")
        assert list((tmp_path / "elsewhere/own").rglob("*.ckpt"))
