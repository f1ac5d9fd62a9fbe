"""SQLite files of one user that another user reads: nothing is left that locks the owner out.

The tests run as root, so the owner is `nobody`, and the guest is root without any of root's privileges.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import insert

from search.database import tables
from search.database.sqlite_files import connect_to_read, shm, wal
from search.database.storage import open_writer

PATHFRONT = Path(sys.executable).with_name("pathfront")
GUEST = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--clear-groups"]
NAMES = "import sys; from search.database.sqlite_files import connect_to_read as c; from pathlib import Path;\
 print(*[name for name, in c(Path(sys.argv[1])).execute('SELECT name FROM pf_studies ORDER BY 1')])"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="acting as two users needs root and setpriv"
)


@pytest.fixture
def folder():
    """A folder that all may use, and whose parents all may enter."""
    made = Path(tempfile.mkdtemp(prefix="pathfront-guests-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def study(folder):
    """A database of `nobody`'s that all may read, with one study."""
    path = folder / "study.db"
    engine = open_writer(f"sqlite:///{path}")
    row = {"config": {}, "suite": {"name": "toys"}, "created_at": 1, "launched_at": 1}
    with engine.begin() as connection:
        connection.execute(insert(tables.studies).values(name="first", **row))
    engine.dispose()
    path.chmod(0o644)
    shutil.chown(path, "nobody")
    assert files(folder) == ["study.db"]
    return path


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def run(*command):
    return subprocess.run(
        [str(part) for part in command], cwd="/", capture_output=True, text=True, check=False
    )


def names_seen_by_a_guest(path):
    done = run(*GUEST, sys.executable, "-c", NAMES, path)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def insert_study(path, name):
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO pf_studies (name, config, suite, created_at, launched_at, stop_requested)"
        " VALUES (?, '{}', '{}', 1, 1, 0)",
        [name],
    )
    connection.commit()
    return connection


def killed_writer(path, name):
    """Leave a commit in the log, as a process does that is killed."""
    child = os.fork()
    if child == 0:
        insert_study(path, name)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert wal(path).stat().st_size > 0


def test_the_guest_may_not_write(study):
    done = run(*GUEST, "sh", "-c", f"echo x >> {study}")
    assert done.returncode != 0


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o555])
@pytest.mark.slow
def test_status_leaves_nothing_beside_another_users_study(study, folder, mode):
    folder.chmod(mode)
    done = run(*GUEST, PATHFRONT, "status", "--storage", f"sqlite:///{study}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "first" in done.stdout
    assert files(folder) == ["study.db"]


def test_a_guest_reads_beside_the_owners_worker(study, folder):
    owner = insert_study(study, "second")
    assert names_seen_by_a_guest(study) == ["first", "second"]
    owner.execute("DELETE FROM pf_studies WHERE name = 'first'")
    owner.commit()
    assert names_seen_by_a_guest(study) == ["second"]
    owner.close()
    assert files(folder) == ["study.db"]


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_a_guest_reads_what_a_killed_worker_left(study, folder, mode):
    killed_writer(study, "second")
    folder.chmod(mode)
    assert names_seen_by_a_guest(study) == ["first", "second"]
    owners = {path.owner() for path in folder.iterdir()}
    assert owners == {"nobody"}


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_a_log_that_a_guest_cannot_read_is_said_with_what_to_do(study, folder, mode):
    killed_writer(study, "second")
    shm(study).unlink()
    folder.chmod(mode)
    done = run(*GUEST, PATHFRONT, "status", "--storage", f"sqlite:///{study}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
    assert done.stderr.endswith(f"let its owner run, once, pathfront status --storage sqlite:///{study}\n")
    assert files(folder) == ["study.db", "study.db-wal"]
    connect_to_read(study).close()  # as the owner, or root for the owner
    assert names_seen_by_a_guest(study) == ["first", "second"]


def test_roots_own_reads_leave_the_owners_files(study, folder):
    connect_to_read(study).close()
    assert {path.owner() for path in folder.iterdir()} == {"nobody"}


def test_a_log_that_another_user_left_is_named(study, folder):
    """What older versions did: a reader of no rights made the log, and the owner cannot write."""
    for beside in (wal(study), shm(study)):
        beside.touch(mode=0o644)
        shutil.chown(beside, "nobody")
    shutil.chown(study, "root")  # the guest is the owner now
    done = run(*GUEST, PATHFRONT, "launch", "quick", "--storage", f"sqlite:///{study}")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert f"while nothing runs, rm -f '{wal(study)}' '{shm(study)}'" in done.stderr


def test_a_read_only_file_system_is_read_and_who_writes_is_told(study, folder, tmp_path):
    mounted = folder / "mounted"
    mounted.mkdir()
    if run("mount", "--bind", "-o", "ro", folder, mounted).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        if not os.statvfs(mounted).f_flag & os.ST_RDONLY:
            run("mount", "-o", "remount,bind,ro", mounted)
        done = run(PATHFRONT, "status", "--storage", f"sqlite:///{mounted / 'study.db'}")
        assert (done.returncode, done.stderr) == (0, "")
        assert "first" in done.stdout
        done = run(PATHFRONT, "retry", "first", "--storage", f"sqlite:///{mounted / 'study.db'}")
        assert (done.returncode, done.stderr.count("\n")) == (4, 1)
        assert done.stderr.endswith(f"; you may not write '{mounted / 'study.db'}', '{mounted}'\n")
        assert files(folder) == ["mounted", "study.db"]
    finally:
        subprocess.run(["umount", mounted], check=True)
