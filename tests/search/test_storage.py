"""Databases: found, opened, refused in one line, and never created by a read."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, insert, select, text, update
from toy_trainers import toy_config

from search.database import tables
from search.database.storage import (
    open_reader,
    open_writer,
    optuna_storage,
    reachable,
    resolve_artifacts,
    resolve_url,
    settle,
    shown,
)
from search.store.studies import create_or_resume
from search.worker import Worker
from space.errors import NotFoundError, StorageError

ROUNDS = 3


def test_the_option_comes_before_the_environment(monkeypatch):
    assert resolve_url() == "sqlite:///pathfront.db"
    monkeypatch.setenv("PATHFRONT_STORAGE", "sqlite:///other.db")
    assert resolve_url() == "sqlite:///other.db"
    assert resolve_url("postgresql://me:secret@host/name") == "postgresql+psycopg://me:secret@host/name"


def test_artifacts_stand_beside_the_database(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert resolve_artifacts("sqlite:////data/study.db") == "/data/study-artifacts"
    assert resolve_artifacts("sqlite:///study.db") == str(tmp_path / "study-artifacts")
    assert resolve_artifacts("postgresql://host/runs") == str(tmp_path / "runs-artifacts")
    monkeypatch.setenv("PATHFRONT_ARTIFACTS", "s3://bucket/place")
    assert resolve_artifacts("sqlite:///study.db") == "s3://bucket/place"
    assert resolve_artifacts("sqlite:///study.db", "here") == str(tmp_path / "here")


@pytest.mark.parametrize(
    "bad",
    [
        "study.db",
        "mysql://host/name",
        "sqlite://",
        "sqlite:///:memory:",
        "://",
        "sqlite+aiosqlite:///study.db",
        "sqlite+pysqlcipher:///study.db",
        "postgresql+asyncpg://host/name",
        "postgresql+psycopg2://host/name",
        "postgresql+nosuch://host/name",
        "postgresql://host:port/name",
    ],
)
def test_what_is_no_url_is_said(bad, pathfront):
    code, out, error = pathfront("status", "--storage", bad)
    assert (code, out, error.count("\n")) == (4, "", 1)
    assert error.startswith("error: a storage is a URL such as")


@pytest.mark.parametrize(
    ("arguments", "psycopg"),
    [
        (["status", "x"], "raise ModuleNotFoundError(\"No module named 'psycopg'\")"),
        (["launch", "quick"], "import no_libpq"),
        (["storage", "upgrade"], "import no_libpq"),
    ],
)
def test_a_missing_driver_names_the_extra(tmp_path, arguments, psycopg):
    (tmp_path / "psycopg.py").write_text(psycopg)
    done = subprocess.run(
        [
            Path(sys.executable).with_name("pathfront"),
            *arguments,
            "--storage",
            "postgresql://me@127.0.0.1:1/x",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
    assert done.stderr.startswith("error: a PostgreSQL storage needs the extra 'postgres' (No module named")
    assert done.stderr.endswith("pip install 'pathfront[postgres]'\n")


def test_a_password_is_not_printed():
    assert "secret" not in shown("postgresql://me:secret@host/name")


def test_a_writer_creates_and_a_reader_reads(url, tmp_path):
    writer = open_writer(url)
    with writer.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA busy_timeout")) == 60_000
        assert connection.scalar(text("PRAGMA synchronous")) == 1
        now = connection.scalar(select(tables.clock()))
    assert abs(now - (tmp_path / "study.db").stat().st_mtime) < 5
    reader = open_reader(url)
    with reader.connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.execute(update(tables.schema).values(version=2))
    reader.dispose()
    writer.dispose()
    open_writer(url).dispose()  # a second time changes nothing


def test_optuna_shares_the_pragmas(url):
    open_writer(url).dispose()
    storage = optuna_storage(url, create=True)
    with storage.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 1
    assert storage.get_heartbeat_interval() is None
    storage.engine.dispose()


@pytest.mark.parametrize("open_it", [open_reader, lambda url: open_writer(url, create=False)])
def test_a_read_creates_nothing(url, tmp_path, open_it):
    with pytest.raises(NotFoundError, match="no study database"):
        open_it(url)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_said(tmp_path):
    with pytest.raises(StorageError, match="the folder of a SQLite file must exist"):
        open_writer(f"sqlite:///{tmp_path}/nowhere/study.db")


@pytest.mark.parametrize("open_it", [open_reader, open_writer])
def test_a_file_that_is_no_database_is_left_alone(url, tmp_path, open_it):
    path = tmp_path / "study.db"
    path.write_text("a diary\n" * 1000)
    with pytest.raises(StorageError, match=r"cannot be used: file is not a database$"):
        open_it(url)
    assert path.read_text() == "a diary\n" * 1000


def test_a_database_without_studies_is_said(url, tmp_path):
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(NotFoundError, match="no study in"):
        open_reader(url)


def test_tables_of_another_version_are_refused(url):
    engine = open_writer(url)
    with engine.begin() as connection:
        connection.execute(update(tables.schema).values(version=7))
    engine.dispose()
    for open_it in (open_reader, open_writer):
        with pytest.raises(
            StorageError, match=rf"knows version {tables.TABLES_VERSION} of its tables, and .* holds 7"
        ):
            open_it(url)


@pytest.mark.parametrize("open_it", [open_reader, open_writer])
def test_a_server_that_is_away_is_said_in_one_line(open_it):
    with pytest.raises(StorageError, match="cannot be used: connection failed") as caught:
        open_it("postgresql://me:secret@127.0.0.1:1/name")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_reader_of_postgresql_cannot_write(postgresql_url):
    writer = open_writer(postgresql_url)
    reader = open_reader(postgresql_url)
    with reader.connect() as connection, pytest.raises(Exception, match="read-only"):
        connection.execute(update(tables.schema).values(version=2))
    with writer.connect() as connection:
        assert connection.scalar(select(tables.clock())) > 1e9
    reader.dispose()
    writer.dispose()


def test_other_errors_pass(url):
    with pytest.raises(ZeroDivisionError), reachable(url):
        _ = 1 / 0
    engine = create_engine(url)
    with pytest.raises(StorageError, match="no such table"), reachable(url), engine.connect() as connection:
        connection.execute(text("SELECT * FROM missing"))
    engine.dispose()


def test_a_settled_file_alone_is_the_study_even_while_somebody_reads(url, tmp_path):
    writer, reader = open_writer(url), None
    try:
        with writer.begin() as connection:
            row = {"name": "kept", "config": {}, "suite": {}, "created_at": 1, "launched_at": 1}
            connection.execute(insert(tables.studies).values(row))
        reader = open_reader(url)
        settle(writer, url)
        copy = tmp_path / "copy.db"
        copy.write_bytes((tmp_path / "study.db").read_bytes())
        with sqlite3.connect(copy) as alone:
            assert alone.execute("select name from pf_studies").fetchall() == [("kept",)]
        alone.close()
    finally:
        writer.dispose()
        if reader is not None:
            reader.dispose()


@pytest.fixture
def launchers():
    """Six processes that launch as soon as they are told where; three of them the same study."""
    here = Path(__file__).parent
    path = os.pathsep.join(map(str, [here, here.parent, here.parent.parent]))
    crew = [
        subprocess.Popen(
            [sys.executable, here / "launcher.py", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        for name in ("a", "a", "a", "b", "c", "d")
    ]
    assert [process.stdout.readline() for process in crew] == ["ready\n"] * len(crew)
    yield crew
    said = [process.communicate()[1] for process in crew]
    assert [process.returncode for process in crew] == [0] * len(crew), said


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_several_launch_on_a_new_database_at_once(kind, launchers, request, tmp_path):
    for number in range(ROUNDS):
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        if kind == "postgresql":
            server = request.getfixturevalue("postgresql_url")
            url = f"{server.removesuffix('postgres')}round{number}"
            engine = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
            with engine.connect() as connection:
                connection.execute(text(f"DROP DATABASE IF EXISTS round{number}"))
                connection.execute(text(f"CREATE DATABASE round{number}"))
            engine.dispose()
        for process in launchers:
            process.stdin.write(f"{url}\n")
            process.stdin.flush()
        assert [process.stdout.readline() for process in launchers] == ["done\n"] * len(launchers)
        engine = open_reader(url)
        with engine.connect() as connection:
            names = connection.execute(select(tables.studies.c.name)).scalars().all()
            assert sorted(names) == ["a", "b", "c", "d"]
            launched = select(tables.events.c.text).where(tables.events.c.study == "a")
            texts = sorted(connection.execute(launched).scalars())
            assert texts == ["created and launched", "launched again", "launched again"]
            optunas = connection.execute(text("SELECT study_name FROM studies")).scalars().all()
            assert sorted(optunas) == ["a", "b", "c", "d"]
        engine.dispose()
    if kind == "sqlite":
        beside = {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()}
        assert beside == {f"{number}.db" for number in range(ROUNDS)}


@pytest.mark.parametrize("open_it", [open_writer, lambda url: create_or_resume(url, toy_config())])
def test_a_log_whose_database_was_moved_is_never_overwritten(url, tmp_path, toy_suite, open_it):
    log = tmp_path / "study.db-wal"
    log.write_bytes(b"commits of a database that somebody moved")
    with pytest.raises(StorageError, match="holds commits of a database that is not beside it"):
        open_it(url)
    assert [path.name for path in tmp_path.iterdir()] == ["study.db-wal"]
    assert log.read_bytes() == b"commits of a database that somebody moved"


def test_what_is_finished_is_in_the_file_itself_though_nobody_closes_it(launch, url, tmp_path):
    launch(stop={"candidates": 4})
    worker = Worker(url, "toy", "artifacts", "one")
    worker.work(worker.choose())
    copy = tmp_path / "alone.db"  # as after kill -9, if the file is moved without its log
    copy.write_bytes((tmp_path / "study.db").read_bytes())
    with sqlite3.connect(copy) as alone:
        assert alone.execute("select state from pf_trials").fetchall() == [("done",)]
    alone.close()
    worker.close()
