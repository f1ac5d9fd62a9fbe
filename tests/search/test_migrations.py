"""Upgrades of our tables: the same tables by either way, all or nothing, and a study goes on afterwards."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from old_studies import ARTIFACTS, PAUSED, SCORED, VERSIONS, copy_rows, execute, migrate, scalar, unpack
from sqlalchemy import NullPool, create_engine, update
from tables_seen import tables_seen

from search.database import tables
from search.database.storage import open_reader, open_writer, optuna_storage, upgrade
from search.database.versions import REVISIONS
from search.read.results import Reader
from search.store.optuna_trials import close_storage
from search.worker import Worker
from space.errors import NotFoundError, StorageError, StorageUnavailable

ROOT = Path(__file__).parents[2]
PATHFRONT = Path(sys.executable).with_name("pathfront")
TODAY = tables.TABLES_VERSION
FEW = 10  # statements of an upgrade, at least
each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def version():
    """Version of the old tables; `each_version` runs a test with all of them."""
    return VERSIONS[-1]


@pytest.fixture
def old(tmp_path, version):
    """A folder with the study `old` as that version left it."""
    unpack(version, tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture(params=["sqlite", "postgresql"])
def old_url(request, old, version):
    """That study's database, of each kind."""
    url = f"sqlite:///{old / 'pathfront.db'}"
    if request.param == "sqlite":
        return url
    target = request.getfixturevalue("postgresql_url")
    migrate(target, str(version))
    if version == 1:
        execute(target, f"DROP TABLE {REVISIONS}")  # version 1 had none
    close_storage(optuna_storage(target, create=True))
    copy_rows(url, target)
    return target


@pytest.fixture
def command_line(old, monkeypatch):
    """Runs the console script in the study's folder -> (exit code, stdout, stderr)."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATHFRONT_CACHE": str(old / "cache"),
        "COLUMNS": "200",
    }

    def run(*arguments):
        done = subprocess.run(
            [PATHFRONT, *map(str, arguments)],
            cwd=old,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def command(old, run_command, monkeypatch):
    """Runs a command in the study's folder and in this process -> (exit code, stdout, stderr)."""
    monkeypatch.setenv("PATHFRONT_CACHE", str(old / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(old)
    return run_command


def differences(url):
    """What Alembic finds between a database and `search.database.tables`."""
    engine = create_engine(url, poolclass=NullPool)
    options = {
        "include_name": lambda name, kind, parents: kind != "table" or name.startswith("pf_"),
        "version_table": REVISIONS,
        "compare_type": True,
        "compare_server_default": _default_differs,
    }
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)
    engine.dispose()
    return found


def _default_differs(context, seen_column, known_column, seen, known, rendered):
    """None for Alembic's own answer, which on SQLite takes one empty text for two."""
    return False if seen == "('')" and known is not None and known.arg == "" else None


def test_new_tables_and_migrated_ones_are_the_same(any_url, tmp_path):
    open_writer(any_url).dispose()
    made = tables_seen(any_url)
    assert differences(any_url) == []
    assert scalar(any_url, f"SELECT version_num FROM {REVISIONS}") == str(TODAY)
    if any_url.startswith("sqlite"):
        (tmp_path / "study.db").unlink()
    else:
        execute(any_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    migrate(any_url, "head")
    assert differences(any_url) == []
    assert tables_seen(any_url) == made
    assert scalar(any_url, "SELECT version FROM pf_schema") == TODAY
    open_writer(any_url).dispose()  # nothing is left to do


def test_a_forgotten_revision_is_found(any_url):
    migrate(any_url, "1")
    found = {(change[0], change[-1].name) for change in differences(any_url) if isinstance(change, tuple)}
    assert ("add_table", "pf_workers") in found
    assert ("add_column", "artifacts_id") in found


@each_version
def test_the_revisions_make_each_version_as_it_was(old, version, tmp_path):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    migrate(url, str(version))
    was = tables_seen(f"sqlite:///{old / 'pathfront.db'}")
    assert (REVISIONS in was) == (version > 1)
    assert {name: made for name, made in tables_seen(url).items() if name in was} == was


@each_version
def test_an_old_database_is_upgraded_and_optuna_keeps_its_own_revision(old_url, version, capsys):
    optunas = scalar(old_url, "SELECT version_num FROM alembic_version")
    with pytest.raises(StorageError, match=rf"holds {version}; upgrade it: pathfront storage upgrade"):
        open_reader(old_url)
    open_writer(old_url, create=False).dispose()
    assert "upgrading the tables of" in capsys.readouterr().err
    assert differences(old_url) == []
    assert scalar(old_url, "SELECT version_num FROM alembic_version") == optunas
    artifacts_id = ARTIFACTS[version].partition("old-")[2]
    assert scalar(old_url, "SELECT artifacts_id FROM pf_studies") == artifacts_id
    reader = Reader(old_url)
    assert [row.trial for row in reader.front("old")] == [1, 0]
    assert reader.status("old").states == {"done": 2, "paused": 1}
    labels = ["1 x 16, dense", "1 x 16, 2 experts, top-1", "1 x 16, 2 experts, top-1"]
    assert [row.description.label for row in reader.trials("old")] == labels
    reader.close()
    assert upgrade(old_url) == TODAY
    assert capsys.readouterr().err == ""


def test_trials_of_version_3_were_scored_on_the_select_episodes(old_url, version, capsys):
    migrate(old_url, "3")
    assert scalar(old_url, "SELECT version FROM pf_schema") == 3
    assert upgrade(old_url) == 3
    assert f"from version 3 to {TODAY}" in capsys.readouterr().err
    assert differences(old_url) == []
    assert scalar(old_url, "SELECT count(*) FROM pf_trials WHERE split = 'select'") == 3
    assert scalar(old_url, "SELECT count(*) FROM pf_confirmations") == 0
    reader = Reader(old_url)
    assert [(row.trial, row.split, row.selected_score) for row in reader.front("old")] == [
        (1, "select", None),
        (0, "select", None),
    ]
    assert reader.status("old").confirmation is None
    reader.close()


def test_studies_of_version_4_have_tokenizers_that_ship(old_url, version, capsys):
    migrate(old_url, "4")
    assert upgrade(old_url) == 4
    assert f"from version 4 to {TODAY}" in capsys.readouterr().err
    assert differences(old_url) == []
    reader = Reader(old_url)
    assert reader.tokenizer("old") is None
    assert reader.config("old").tokenizer is None
    assert reader.suite("old").tokenizer == "generalist-1024"
    reader.close()


@pytest.mark.parametrize(
    ("old_url", "version"),
    [
        pytest.param(kind, v, marks=() if (kind, v) == ("sqlite", VERSIONS[-1]) else pytest.mark.slow)
        for kind in ("sqlite", "postgresql")
        for v in VERSIONS
    ],
    indirect=["old_url"],
)
def test_an_upgrade_that_is_killed_anywhere_leaves_the_old_version_or_the_new_one(old_url, version):
    before = tables_seen(old_url)
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, here / "mortal_upgrade.py", old_url],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(ROOT)]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    left = [json.loads(line) for line in done.stdout.splitlines()]
    after = json.loads(json.dumps(tables_seen(old_url)))
    before = json.loads(json.dumps(before))
    assert len(left) > FEW
    assert [found for _, found, _ in left if found != version] == [TODAY]
    assert all(seen == (before if found == version else after) for _, found, seen in left)
    assert differences(old_url) == []


def test_of_several_that_upgrade_at_once_one_does(old_url):
    code = "import sys; from search.database.storage import upgrade; input(); print(upgrade(sys.argv[1]))"
    crew = [
        subprocess.Popen(
            [sys.executable, "-c", code, old_url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in crew:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate() for process in crew]
    assert [process.returncode for process in crew] == [0] * len(crew), said
    assert sum("upgrading the tables" in error for _, error in said) == 1
    assert differences(old_url) == []


def test_tables_are_not_changed_under_a_worker_of_an_older_pathfront(old_url, version, capsys):
    before = tables_seen(old_url)
    held = update(tables.trials).where(tables.trials.c.state == "paused")
    execute(old_url, held.values(state="running", lease_until=tables.clock() + 60))
    with pytest.raises(StorageUnavailable, match=r"of an older Pathfront trains study 'old'; stop it first"):
        upgrade(old_url)
    assert tables_seen(old_url) == before
    assert capsys.readouterr().err == ""
    execute(old_url, update(tables.trials).where(tables.trials.c.state == "running").values(lease_until=0))
    assert upgrade(old_url) == version


def test_a_worker_stops_when_its_tables_were_upgraded(launch, url, rows):
    launch()
    worker = Worker(url, "toy", f"{url.removeprefix('sqlite:///')}-artifacts", "one")
    execute(url, f"UPDATE pf_schema SET version = {TODAY + 1}")
    with pytest.raises(StorageError, match=rf"knows version {TODAY} of its tables, and .* holds {TODAY + 1}"):
        worker.run()
    assert rows(tables.trials) == []
    worker.ledger.close()


@each_version
def test_versions_that_contradict_each_other_are_refused(old_url, version):
    before = tables_seen(old_url)
    if version == 1:  # it had no such table
        execute(old_url, f"CREATE TABLE {REVISIONS} (version_num VARCHAR(32))")
        execute(old_url, f"INSERT INTO {REVISIONS} VALUES ('')")
    execute(old_url, f"UPDATE {REVISIONS} SET version_num = '{version + 1}'")
    refused = f"holds version {version} of the tables by pf_schema, and {version + 1} by"
    with pytest.raises(StorageError, match=refused):
        upgrade(old_url)
    assert tables_seen(old_url).keys() == before.keys() | {REVISIONS}
    assert scalar(old_url, "SELECT version FROM pf_schema") == version


@pytest.mark.parametrize("journal", ["wal", pytest.param("delete", marks=pytest.mark.slow)])
def test_a_newer_database_is_not_touched(old, command, journal):
    path = old / "pathfront.db"
    execute(
        f"sqlite:///{path}",
        f"UPDATE pf_schema SET version = {TODAY + 1}",
        "ALTER TABLE pf_trials RENAME score TO scores",
    )
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA journal_mode={journal}")
    engine.dispose()
    before = path.read_bytes()
    for arguments in (["status", "old"], ["launch", "old.yaml"], ["worker", "old"], ["storage", "upgrade"]):
        code, out, error = command(*arguments)
        assert (code, out) == (4, "")
        assert error == (
            f"error: this Pathfront knows version {TODAY} of its tables, and 'sqlite:///pathfront.db' holds"
            f" {TODAY + 1}; use the Pathfront that made it\n"
        )
        assert path.read_bytes() == before


def test_a_missing_database_is_not_made(command, old):
    (old / "pathfront.db").unlink()
    code, _, error = command("storage", "upgrade")
    assert (code, error.count("\n")) == (3, 1)
    assert not (old / "pathfront.db").exists()


def test_a_worker_makes_no_tables(postgresql_url):
    with pytest.raises(NotFoundError, match="no study in"):
        open_writer(postgresql_url, create=False)
    assert tables_seen(postgresql_url, prefix="") == {}


@pytest.mark.slow
@pytest.mark.timeout(900)  # it trains, on a busy machine
@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_study_goes_on(old, version, command_line):
    url = f"sqlite:///{old / 'pathfront.db'}"
    for arguments in (["status", "old"], ["export", "old", "-o", "best/"], ["dashboard"]):
        code, out, error = command_line(*arguments)
        assert (code, out, error.count("\n")) == (4, "", 1)
        assert error.endswith("upgrade it: pathfront storage upgrade\n")
    assert command_line("storage", "upgrade") == (
        0,
        f"the tables of 'sqlite:///pathfront.db' are now of version {TODAY}\n",
        f"upgrading the tables of 'sqlite:///pathfront.db' from version {version} to {TODAY}\n",
    )
    assert command_line("status", "old")[0] == 0
    assert command_line("front", "old")[0] == 0
    code, out, _ = command_line("show", "old", "1")
    assert code == 0
    assert f"{ARTIFACTS[version]}/{SCORED}/rung0-seed0/decayed-71680-1.safetensors" in out
    assert "2 experts, top-1" in out

    paused = f"candidate = '{PAUSED}' AND rung = 0"
    checkpoint = f"SELECT max(created_at) FROM pf_checkpoints WHERE {paused} AND tokens = 59392"
    laid_down = scalar(url, checkpoint)
    code, out, error = command_line("launch", "old.yaml")
    assert code == 0, error
    assert "search.sampler: not in the file, so study 'old' keeps 'stratified'" in error
    assert "the front of study 'old'" in out
    assert scalar(url, f"SELECT state FROM pf_trials WHERE {paused}") == "done"
    assert scalar(url, f"SELECT attempt FROM pf_trials WHERE {paused}") == 2
    assert scalar(url, checkpoint) == laid_down  # not trained again
    assert scalar(url, "SELECT count(*) FROM pf_trials WHERE rung = 1 AND state = 'done'") == 2
    code, out, error = command_line("export", "old", "-o", "best/")
    assert code == 0, error
    assert (old / "best/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "state", "version"),
    [
        pytest.param(["launch", "old.yaml"], "finished_at = 1", 1, marks=pytest.mark.slow),
        (["launch", "old.yaml"], "finished_at = 1", 2),
        pytest.param(["worker", "old"], "stop_requested = 1", 2, marks=pytest.mark.slow),
    ],
)
def test_launch_and_worker_upgrade_and_say_so(old, version, command_line, arguments, state):
    url = f"sqlite:///{old / 'pathfront.db'}"
    execute(url, f"UPDATE pf_studies SET {state}")  # nothing is left to train
    code, _, error = command_line(*arguments)
    assert code == 0, error
    said = f"upgrading the tables of 'sqlite:///pathfront.db' from version {version} to {TODAY}\n"
    assert error.startswith(said)
    assert differences(url) == []


def test_the_wheel_holds_the_revisions(old, wheel_folder, tmp_path):
    installed = tmp_path / "installed"
    (found,) = wheel_folder.glob("*.whl")
    with zipfile.ZipFile(found) as archive:
        archive.extractall(installed)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "search.cli", "storage", "upgrade"],
        cwd=old,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith(f"are now of version {TODAY}\n")
