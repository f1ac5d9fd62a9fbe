"""Failed trials are tried again, and a study is deleted: on both databases, killed in the middle, refused."""

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from factories import make_study
from sqlalchemy import create_engine, select, update

from search.database import tables
from search.database.storage import optuna_storage
from search.maintenance import delete_all, plan_deletion, retry
from search.read.remarks import remarks
from search.read.results import Reader
from search.store.optuna_trials import close_storage
from search.worker import run_worker
from space.errors import PathfrontError, StorageError, StudyFileError

ROOT = Path(__file__).resolve().parents[2]
OF_STUDY = [table for table in tables.metadata.sorted_tables if "study" in table.c]
STEPS = ["marked", "files removed", "Optuna's study deleted", "curves deleted", "checkpoints deleted"]
STEPS += ["trials deleted", "candidates deleted", "workers deleted"]


@pytest.fixture
def url(any_url):
    return any_url


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'studies.db'}"


def change(url, table, values, *where):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(update(table).where(*where).values(**values))
    engine.dispose()


def read(url, table, *where):
    engine = create_engine(url)
    with engine.connect() as connection:
        ordered = select(table).where(*where).order_by(*table.primary_key)
        found = [dict(row) for row in connection.execute(ordered).mappings()]
    engine.dispose()
    return found


def give_a_folder_of_its_own(url, root: Path) -> Path:
    """The study's folder; a study without an id gets one, as studies of tables' version 2 have."""
    (row,) = read(url, tables.studies, tables.studies.c.name == "toy")
    if row["artifacts_id"]:
        return root / f"toy-{row['artifacts_id']}"
    change(url, tables.studies, {"artifacts_id": "0123abcd"}, tables.studies.c.name == "toy")
    (root / "toy").rename(root / "toy-0123abcd")
    for file in read(url, tables.checkpoints):
        change(
            url,
            tables.checkpoints,
            {"uri": file["uri"].replace("toy/", "toy-0123abcd/", 1)},
            tables.checkpoints.c.uri == file["uri"],
        )
    return root / "toy-0123abcd"


def status(url, study="quick"):
    with closing(Reader(url)) as reader:
        return reader.status(study)


def optuna_names(url):
    storage = optuna_storage(url)
    names = optuna.get_all_study_names(storage)
    close_storage(storage)
    return names


# retry


@pytest.mark.parametrize(
    "any_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
@pytest.mark.slow
def test_what_failed_for_good_is_trained_after_a_retry(launch, url, tmp_path, audit):
    launch(trainer="toy_trainers:broken", stop={"candidates": 6})
    (tmp_path / "broken").touch()
    run_worker(url, "toy", str(tmp_path / "artifacts"))
    before = status(url, "toy")
    assert before.finished
    assert before.failed_for_good == before.states["failed"] > 0
    (failure,) = before.failures
    assert failure.count == before.failed_for_good  # whatever depth each of them had
    assert failure.reason.startswith("no plan for depth")
    assert run_worker(url, "toy", str(tmp_path / "artifacts")) == 0

    done = retry(url, "toy")
    assert (done.trials, done.opened) == (before.failed_for_good, True)
    after = status(url, "toy")
    assert not after.finished
    assert after.failed_for_good == 0
    assert "retried" in [event.kind for event in after.events]
    (tmp_path / "broken").unlink()
    assert run_worker(url, "toy", str(tmp_path / "artifacts")) >= before.failed_for_good
    assert "failed" not in status(url, "toy").states
    ledger = audit(failed=before.failed_for_good)
    assert not [row for row in ledger if row["error"] or row["diverged"]]
    assert retry(url, "toy").trials == 0
    assert status(url, "toy").finished


def test_a_retry_forgets_crashes_and_leaves_the_running_alone(sqlite_url, pathfront):
    make_study(sqlite_url, trials=6, running=2, failed=3, finished=False)
    values = {"crashes": 3, "durable_tokens": 5}
    change(sqlite_url, tables.trials, values, tables.trials.c.state == "failed")
    change(sqlite_url, tables.studies, {"stop_requested": True, "halted": "the same error three times"})
    before = {row["number"]: row for row in read(sqlite_url, tables.trials)}
    code, out, err = pathfront("retry", "quick", "--storage", sqlite_url)
    assert (code, err) == (0, "")
    assert "3 failed trials of study 'quick' may be tried again" in out
    assert "resume with: pathfront launch quick --storage" in out
    for row in read(sqlite_url, tables.trials):
        if row["state"] == "failed":
            assert (row["final"], row["crashes"], row["durable_tokens"]) == (False, 0, None)
            assert row["error"]  # still named, until it is done
        else:
            assert row == before[row["number"]]
    (study,) = read(sqlite_url, tables.studies)
    assert study["halted"] is None
    assert study["stop_requested"]  # for the workers that are alive and stopping
    change(sqlite_url, tables.trials, {"lease_until": 0.0}, tables.trials.c.state == "running")
    change(sqlite_url, tables.trials, {"final": True}, tables.trials.c.state == "failed")
    assert pathfront("retry", "quick", "--storage", sqlite_url)[0] == 0
    assert not read(sqlite_url, tables.studies)[0]["stop_requested"]


def test_one_trial_is_retried_by_its_number(sqlite_url, pathfront):
    make_study(sqlite_url, trials=4, failed=2)
    rows = Reader(sqlite_url).trials("quick")
    first, second = [row.number for row in rows if row.state == "failed"]
    done = next(row.number for row in rows if row.state == "done")
    option = ["--storage", sqlite_url]
    assert "1 failed trial of" in pathfront("retry", "quick", "--trial", first, *option)[1]
    assert "has attempts left" in pathfront("retry", "quick", "--trial", first, *option)[1]
    final = {row.number: row.final for row in Reader(sqlite_url).trials("quick") if row.state == "failed"}
    assert final == {first: False, second: True}
    for number, code, words in ((done, 2, "is done"), (99, 3, "it has trials up to")):
        result = pathfront("retry", "quick", "--trial", number, *option)
        assert result[0] == code
        assert result[2].count("\n") == 1
        assert words in result[2]


def test_nothing_to_retry_is_said_and_changes_nothing(sqlite_url, pathfront):
    make_study(sqlite_url, trials=4)
    before = [read(sqlite_url, table) for table in OF_STUDY]
    code, out, err = pathfront("retry", "quick", "--storage", sqlite_url)
    assert (code, out, err) == (0, "no trial of study 'quick' failed permanently\n", "")
    assert [read(sqlite_url, table) for table in OF_STUDY] == before
    change(sqlite_url, tables.studies, {"halted": "the disk is full", "finished_at": None})
    code, out, _ = pathfront("retry", "quick", "--storage", sqlite_url)
    assert (code, out.splitlines()[0]) == (
        0,
        "no trial of study 'quick' failed permanently; the study may resume",
    )
    assert read(sqlite_url, tables.studies)[0]["halted"] is None


def test_only_checkpoints_whose_files_are_gone_are_removed_and_only_if_asked(sqlite_url, tmp_path, pathfront):
    make_study(sqlite_url, trials=4, running=1, finished=False, artifacts=tmp_path / "art")
    kept, *gone = sorted((tmp_path / "art").iterdir())
    for path in gone:
        path.unlink()
    option = ["--storage", sqlite_url]
    assert pathfront("retry", "quick", *option)[0] == 0
    assert len(read(sqlite_url, tables.checkpoints)) == 1 + len(gone)
    code, out, err = pathfront("retry", "quick", "--forget-checkpoints", *option)
    assert (code, out) == (1, "")
    assert "no worker is alive, and 1 worker is: host:1" in err
    assert len(read(sqlite_url, tables.checkpoints)) == 1 + len(gone)
    change(sqlite_url, tables.trials, {"lease_until": 0.0}, tables.trials.c.state == "running")
    code, out, err = pathfront("retry", "quick", "--forget-checkpoints", *option)
    assert (code, err) == (0, "")
    assert f"{len(gone)} checkpoints removed from the database" in out
    assert [row["uri"] for row in read(sqlite_url, tables.checkpoints)] == [kept.as_uri()]
    assert "forgot" in [row["kind"] for row in read(sqlite_url, tables.events)]
    assert (
        "none was removed from the database"
        in pathfront("retry", "quick", "--forget-checkpoints", *option)[1]
    )


# delete


@pytest.fixture
def finished(launch, url, tmp_path):
    """A finished toy study beside another one in the same database and folder; returns the toy's folder."""
    root = tmp_path / "artifacts"
    launch(study="other", stop={"candidates": 2}, search={"seed": 1})
    run_worker(url, "other", str(root))
    launch(stop={"candidates": 4})
    run_worker(url, "toy", str(root))
    return give_a_folder_of_its_own(url, root)


def all_of(url, root, study):
    rows = [read(url, table, table.c.study == study) for table in OF_STUDY]
    files = [
        path for path in sorted(root.rglob("*")) if path.is_file() and study in str(path.relative_to(root))
    ]
    return rows, files


def gone(url, folder):
    assert not [t.name for t in OF_STUDY if read(url, t, t.c.study == "toy")]
    assert not read(url, tables.studies, tables.studies.c.name == "toy")
    assert optuna_names(url) == ["other"]
    assert not folder.exists()


def test_a_deleted_study_leaves_nothing_and_takes_nothing_of_others(finished, url, pathfront, monkeypatch):
    root = finished.parent
    size = sum(path.stat().st_size for path in finished.rglob("*") if path.is_file())
    count = len([path for path in finished.rglob("*") if path.is_file()])
    others = all_of(url, root, "other")
    assert others[1]
    monkeypatch.setenv("PATHFRONT_STORAGE", url)
    code, out, err = pathfront("delete", "toy", "--yes", "--artifacts", root)
    assert (code, err) == (0, "")
    assert out == f"deleted study 'toy': 7 trials, {count} files, {size}B freed\n"
    gone(url, finished)
    assert all_of(url, root, "other") == others
    assert pathfront("delete", "toy", "--yes")[0] == 3
    run_worker(url, "other", str(root))  # still a study


KILLS = [
    ("sqlite", "files removed"),
    ("postgresql", "trials deleted"),
    *(pytest.param("sqlite", step, marks=pytest.mark.slow) for step in STEPS if step != "files removed"),
    pytest.param("postgresql", "files removed", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("any_url", "step"), KILLS, indirect=["any_url"])
@pytest.mark.slow
def test_a_deletion_that_was_killed_is_finished_by_the_same_command(
    launch, any_url, tmp_path, step, pathfront
):
    root = tmp_path / "artifacts"
    launch(stop={"candidates": 2}, rungs={"tokens": [3_000], "eta": 2})
    run_worker(any_url, "toy", str(root))
    launch(study="other", stop={"candidates": 1}, rungs={"tokens": [3_000], "eta": 2})
    folder = give_a_folder_of_its_own(any_url, root)
    logs = tmp_path / "pathfront-logs" / folder.name  # where they are if artifacts are on another machine
    logs.mkdir(parents=True)
    (logs / "worker-0.log").write_text("scored")
    script = (
        "import os, signal, sys\n"
        "from search import maintenance\n"
        "from search.cli import main\n"
        "maintenance.step = lambda name: name == sys.argv[1] and os.kill(os.getpid(), signal.SIGKILL)\n"
        "main(['delete', 'toy', '--yes'])\n"
    )
    environment = {**os.environ, "PATHFRONT_STORAGE": any_url, "PATHFRONT_ARTIFACTS": str(root)}
    killed = subprocess.run(
        [sys.executable, "-c", script, step], env=environment, capture_output=True, text=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    option = ["--storage", any_url]
    (remark,) = remarks(status(any_url, "toy"), any_url)
    assert remark.startswith("half deleted; finish that: pathfront delete toy")
    code, _, err = pathfront("retry", "toy", *option)
    assert code == 2
    assert "is half deleted" in err
    with pytest.raises(StudyFileError, match="half deleted"):
        launch(stop={"candidates": 2}, rungs={"tokens": [3_000], "eta": 2})
    code, _, err = pathfront("delete", "toy", "--yes", "--artifacts", root, *option)
    assert code == 0, err
    gone(any_url, folder)
    assert not logs.exists()


def test_a_study_with_a_live_worker_is_not_deleted(sqlite_url, pathfront, tmp_path):
    make_study(sqlite_url, trials=4, running=1, finished=False, artifacts=tmp_path / "art")
    before = [read(sqlite_url, table) for table in OF_STUDY]
    code, out, err = pathfront("delete", "quick", "--yes", "--storage", sqlite_url)
    assert (code, out) == (1, "")
    assert "1 worker is: host:1" in err
    assert [read(sqlite_url, table) for table in OF_STUDY] == before
    assert len(list((tmp_path / "art").iterdir())) == 4
    what = None
    change(sqlite_url, tables.trials, {"lease_until": 0.0}, tables.trials.c.state == "running")
    what = plan_deletion(sqlite_url, "quick", str(tmp_path / "art"))
    change(sqlite_url, tables.trials, {"lease_until": 1e10}, tables.trials.c.state == "running")
    with pytest.raises(PathfrontError, match="1 worker is"):  # one that came after the question
        delete_all(sqlite_url, what)
    assert read(sqlite_url, tables.studies)[0]["halted"] is None


def test_an_idle_worker_keeps_a_study_as_well_until_it_leaves(sqlite_url, pathfront):
    make_study(sqlite_url, trials=4)
    engine = create_engine(sqlite_url)
    with engine.begin() as connection:
        seen = {"started_at": tables.clock(), "seen_at": tables.clock(), "host": "vm", "pid": 7}
        connection.execute(tables.workers.insert().values(study="quick", worker="vm:7:ab", **seen))
    engine.dispose()
    option = ["--storage", sqlite_url]
    assert [row.worker for row in status(sqlite_url, "quick").workers] == ["vm:7:ab"]
    assert "1 worker alive" in pathfront("status", "quick", *option)[1]
    assert pathfront("delete", "quick", "--yes", *option)[0] == 1
    change(sqlite_url, tables.workers, {"left_at": 1e9})
    assert status(sqlite_url, "quick").workers == []
    change(sqlite_url, tables.workers, {"left_at": None, "seen_at": 1e9})  # killed long ago
    assert status(sqlite_url, "quick").workers == []


def test_a_study_whose_folder_is_not_there_is_kept_unless_one_insists(
    launch, sqlite_url, tmp_path, template, pathfront
):
    shutil.copy(template, tmp_path / "studies.db")
    make_study(sqlite_url, name="toy", trials=4, artifacts=tmp_path / "art" / "toy")
    storage = optuna_storage(sqlite_url)
    optuna.create_study(study_name="other", storage=storage)
    close_storage(storage)
    (tmp_path / "art" / "toy").rename(tmp_path / "away")
    with pytest.raises(
        StorageError, match=r"4 checkpoints of study 'toy' lay in '/.*/art/toy', and it is not"
    ):
        plan_deletion(sqlite_url, "toy", str(tmp_path / "art"))
    code, out, _ = pathfront("delete", "toy", "--yes", "--storage", sqlite_url)
    assert (code, out) == (4, "")
    assert len(read(sqlite_url, tables.checkpoints)) == 4
    assert status(sqlite_url, "toy").halted is None
    assert pathfront("delete", "toy", "--yes", "--forget-checkpoints", "--storage", sqlite_url)[0] == 0
    gone(sqlite_url, tmp_path / "art" / "toy")
    assert len(list((tmp_path / "away").iterdir())) == 4


def test_of_a_folder_that_others_may_share_only_files_with_a_row_go(
    sqlite_url, template, tmp_path, pathfront
):
    shutil.copy(template, tmp_path / "studies.db")
    make_study(sqlite_url, name="toy", trials=4, artifacts=tmp_path / "art" / "toy")  # without an id
    theirs = tmp_path / "art" / "toy" / "theirs.safetensors"
    theirs.write_text("of a study with the same name in another database")
    code, out, err = pathfront("delete", "toy", "--yes", "--storage", sqlite_url)
    assert code == 0, err
    assert "4 files, 2.05kB freed" in out
    assert f"a study of another database may own it: {theirs.parent}" in err
    assert list(theirs.parent.iterdir()) == [theirs]


def test_a_study_of_another_program_is_refused(sqlite_url, template, tmp_path, pathfront):
    shutil.copy(template, tmp_path / "studies.db")
    storage = optuna_storage(sqlite_url)
    optuna.create_study(study_name="theirs", storage=storage)
    close_storage(storage)
    code, out, err = pathfront("delete", "theirs", "--yes", "--storage", sqlite_url)
    assert (code, out) == (2, "")
    assert "'theirs' in" in err
    assert "another program's" in err
    assert optuna_names(sqlite_url) == ["theirs"]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("n\n", 1, "nothing was deleted"),
        pytest.param("\n", 1, "nothing", marks=pytest.mark.slow),
        ("y\n", 0, "deleted study"),
    ],
)
def test_it_asks_at_a_terminal(sqlite_url, template, tmp_path, answer, code, words):
    shutil.copy(template, tmp_path / "studies.db")
    make_study(sqlite_url, trials=4)
    ours, theirs = os.openpty()
    os.write(ours, answer.encode())
    done = subprocess.run(
        [Path(sys.executable).parent / "pathfront", "delete", "quick", "--storage", sqlite_url],
        stdin=theirs,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "delete study 'quick'" in done.stderr
    assert "4 trials" in done.stderr
    assert words in done.stdout + done.stderr
    assert bool(read(sqlite_url, tables.studies)) == bool(code)


def test_without_a_terminal_it_wants_yes(sqlite_url, tmp_path):
    make_study(sqlite_url, trials=4)
    done = subprocess.run(
        [Path(sys.executable).parent / "pathfront", "delete", "quick", "--storage", sqlite_url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "add --yes" in done.stderr
    assert done.stderr.count("\n") == 1
    assert read(sqlite_url, tables.studies)
