"""Storages that do not answer for a while: told apart from those that never will, and waited for."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, insert, select, text, update

from search.database import tables
from search.database.errors import reachable
from search.database.patience import DEFAULT_MINUTES, patience_seconds, patient, patiently
from search.database.storage import open_reader, open_writer, optuna_storage
from search.read.results import Reader
from search.store.optuna_trials import close_storage
from space.errors import StorageError, StorageUnavailable, StudyFileError

LONG = 120.0  # seconds, far more than a restart takes


class Away:
    """A storage that fails a few times."""

    def __init__(self, failures, error=None):
        self.failures = failures
        self.error = error or StorageUnavailable("away")
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "here"


def caught(url, *statements, **options):
    """The StorageError of the last of some statements."""
    engine = create_engine(url, poolclass=NullPool, **options)

    def execute():
        with reachable(url), engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    with pytest.raises(StorageError) as error:
        execute()
    engine.dispose()
    assert "\n" not in str(error.value)
    return error.value


def test_a_call_is_repeated_until_it_succeeds():
    away, waits = Away(2), []
    assert patiently(away, LONG, lambda error, pause: waits.append((str(error), pause))) == "here"
    assert away.calls == 3
    assert [text for text, _ in waits] == ["away", "away"]
    assert 0 < waits[0][1] < waits[1][1]


def test_patience_ends():
    away = Away(10**6)
    with pytest.raises(StorageUnavailable, match="away"):
        patiently(away, 1.0)
    assert away.calls >= 2
    away = Away(10**6)
    with pytest.raises(StorageUnavailable):
        patiently(away, 0.0)
    assert away.calls == 1


def test_pauses_grow_to_a_longest_one(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("search.database.patience.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "search.database.patience.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    pauses = []
    with pytest.raises(StorageUnavailable):
        patiently(Away(10**6), 600.0, lambda error, pause: pauses.append(pause))
    assert pauses[0] <= 0.625
    assert max(pauses) <= 15
    assert now[0] == pytest.approx(600, abs=0.01)
    assert len(pauses) < 60


@pytest.mark.parametrize("error", [StorageError("damaged"), ValueError("x"), KeyboardInterrupt()])
def test_other_errors_pass_at_once(error):
    away = Away(1, error)
    with pytest.raises(type(error)):
        patiently(away, LONG)
    assert away.calls == 1


def test_a_request_to_stop_ends_the_wait():
    stop = threading.Event()
    with pytest.raises(StorageUnavailable):
        patiently(Away(10**6), LONG, lambda error, pause: stop.set(), stop.is_set)


def test_a_method_waits_as_its_object_says():
    class Ledger:
        patience = LONG

        def __init__(self):
            self.away, self.waits = Away(1), 0

        def on_wait(self, error, seconds):
            self.waits += 1

        def stopping(self):
            return False

        @patient
        def read(self, more):
            """Read."""
            return self.away() + more

    ledger = Ledger()
    assert ledger.read(more="!") == "here!"
    assert ledger.waits == 1
    assert Ledger.read.__doc__ == "Read."


def test_minutes_of_the_environment(monkeypatch):
    monkeypatch.delenv("PATHFRONT_PATIENCE", raising=False)
    assert patience_seconds() == DEFAULT_MINUTES * 60
    monkeypatch.setenv("PATHFRONT_PATIENCE", "0.5")
    assert patience_seconds() == 30
    for bad in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("PATHFRONT_PATIENCE", bad)
        with pytest.raises(StudyFileError, match="PATHFRONT_PATIENCE: minutes of 0 or more"):
            patience_seconds()


def test_a_locked_file_may_pass(url):
    open_writer(url).dispose()
    holder = sqlite3.connect(url.removeprefix("sqlite:///"))
    holder.execute("BEGIN IMMEDIATE")
    error = caught(url, "DELETE FROM pf_events", connect_args={"timeout": 0})
    assert isinstance(error, StorageUnavailable)
    assert str(error).endswith("cannot be used: database is locked")
    holder.rollback()
    holder.close()


def test_optunas_own_errors_are_told_apart_as_well(url):
    open_writer(url).dispose()
    storage = optuna_storage(url, create=True)
    holder = sqlite3.connect(url.removeprefix("sqlite:///"))
    holder.execute("BEGIN IMMEDIATE")
    storage.engine.dispose()
    locked = optuna_storage(url)
    with locked.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=0")  # of the one connection in its pool
    with pytest.raises(StorageUnavailable, match="database is locked"), reachable(url):
        locked.create_new_study(directions=[])
    holder.execute("DROP TABLE studies")
    holder.commit()
    with pytest.raises(StorageError, match="no such table: studies") as error, reachable(url):
        locked.create_new_study(directions=[])
    assert not isinstance(error.value, StorageUnavailable)
    holder.close()
    close_storage(locked)
    close_storage(storage)


def test_a_missing_table_will_not_pass(any_url):
    assert not isinstance(caught(any_url, "SELECT * FROM missing"), StorageUnavailable)


def test_a_server_that_refuses_connections_may_come_back():
    with pytest.raises(StorageUnavailable, match="Connection refused"):
        open_writer("postgresql://me@127.0.0.1:1/name")


def test_what_a_server_refuses_will_not_pass(postgresql_url, postgresql_server):
    for wrong, reason in (
        (postgresql_url.removesuffix("postgres") + "none", 'database "none" does not exist'),
        (postgresql_url.replace("//postgres@", "//none@"), 'role "none" does not exist'),
        (postgresql_url.replace("127.0.0.1", "no-such-host.invalid"), "no-such-host.invalid"),
    ):
        with pytest.raises(StorageError, match=reason) as error:
            open_writer(wrong)
        assert not isinstance(error.value, StorageUnavailable), error.value


def test_a_wrong_password_will_not_pass(postgresql_url, postgresql_server):
    rules = postgresql_server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    engine = create_engine(postgresql_url, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(text("CREATE ROLE guarded LOGIN PASSWORD 'right'"))
            rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + before)
            connection.execute(text("SELECT pg_reload_conf()"))
        with pytest.raises(StorageError, match="password authentication failed") as error:
            open_writer(postgresql_url.replace("postgres@", "guarded:wrong@"))
        assert not isinstance(error.value, StorageUnavailable)
        assert "wrong" not in str(error.value)
    finally:
        rules.write_text(before)
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_reload_conf()"))
            connection.execute(text("DROP ROLE IF EXISTS guarded"))
        engine.dispose()


@pytest.mark.parametrize(
    "statements",
    [
        ["SET LOCAL statement_timeout = 1", "SELECT pg_sleep(5)"],
        ["SELECT pg_terminate_backend(pg_backend_pid())"],
        ["DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'deadlock_detected'; END $$"],
        ["DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'too_many_connections'; END $$"],
        ["DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'cannot_connect_now'; END $$"],
    ],
    ids=["timeout", "terminated", "deadlock", "crowded", "starting"],
)
def test_what_a_server_says_may_pass(postgresql_url, statements):
    assert isinstance(caught(postgresql_url, *statements), StorageUnavailable)


def test_a_full_disk_of_a_server_is_said(postgresql_url):
    error = caught(postgresql_url, "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'disk_full'; END $$")
    assert error.errno == errno.ENOSPC
    assert "its disk is full" in str(error)
    assert not isinstance(error, StorageUnavailable)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("free", [16, 400])  # kB: too little for SQLite's log, and some for it
def test_a_full_disk_is_said(tmp_path, free):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    url = f"sqlite:///{disk / 'study.db'}"
    try:
        engine = open_writer(url)
        (disk / "other").write_bytes(
            b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize - free * 1024)
        )
        rows = [{"study": "x", "at": 0, "kind": "x", "text": "x" * 10_000}] * 1000

        def fill():
            with reachable(url), engine.begin() as connection:
                connection.execute(insert(tables.events), rows)

        with pytest.raises(StorageError, match="its disk is full") as error:
            fill()
        engine.dispose()
        assert error.value.errno == errno.ENOSPC
        with pytest.raises(StorageError, match="its disk is full"):
            open_writer(f"sqlite:///{disk / 'another.db'}")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_engines_go_on_after_a_restart(postgresql_url, postgresql_server):
    writer = open_writer(postgresql_url)
    storage = optuna_storage(postgresql_url, create=True)
    reader = open_reader(postgresql_url)
    engines = (writer, reader, storage.engine)

    def ask():
        with reachable(postgresql_url):
            for engine in engines:
                with engine.connect() as connection:
                    connection.execute(select(tables.schema)).one()
            return storage.get_all_studies()

    def change():
        with reachable(postgresql_url), writer.begin() as connection:
            connection.execute(update(tables.schema).values(version=tables.TABLES_VERSION))
            postgresql_server.stop()
            connection.execute(update(tables.schema).values(version=tables.TABLES_VERSION))

    ask()
    postgresql_server.stop()
    with pytest.raises(StorageUnavailable):
        ask()
    postgresql_server.start()
    assert ask() == []
    try:
        with pytest.raises(StorageUnavailable):  # within a transaction
            change()
    finally:
        postgresql_server.start()
    assert ask() == []
    for engine in engines:
        engine.dispose()
    close_storage(storage)


def test_a_server_is_waited_for_while_it_is_away(postgresql_url, postgresql_server):
    open_writer(postgresql_url).dispose()
    reader = Reader(postgresql_url)
    postgresql_server.stop()
    away = threading.Event()
    starter = threading.Thread(target=lambda: (away.wait(), postgresql_server.start()))
    starter.start()
    try:
        found = patiently(reader.studies, LONG, lambda error, pause: away.set())
    finally:
        away.set()
        starter.join()
    assert found == []
    reader.close()


def test_a_command_says_in_one_line_that_a_server_is_away(postgresql_url, postgresql_server):
    open_writer(postgresql_url).dispose()
    postgresql_server.stop()
    try:
        done = subprocess.run(
            [Path(sys.executable).with_name("pathfront"), "status", "--storage", postgresql_url],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        postgresql_server.start()
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
    assert "Connection refused" in done.stderr
