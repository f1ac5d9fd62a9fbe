"""PostgreSQL behind PgBouncer, which hands each transaction another session."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, select, update

from search.database import tables
from search.database.patience import patiently
from search.database.storage import open_reader, open_writer, reachable, upgrade
from search.read.results import Reader
from search.worker import run_worker

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
logfile = {folder}/pgbouncer.log
"""


@pytest.fixture
def url(postgresql_server, postgresql_url):
    """A new database behind a PgBouncer of this test's own."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed")
    folder = postgresql_server.folder / "pgbouncer"
    folder.mkdir()
    if postgresql_server.as_server:
        shutil.chown(folder, "postgres")
    port = postgresql_server.free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(SETTINGS.format(server=postgresql_server.port, port=port, folder=folder))
    process = subprocess.Popen(
        [*postgresql_server.as_server, PROGRAM, "--quiet", settings], stderr=subprocess.PIPE, cwd="/"
    )
    behind = postgresql_url.replace(str(postgresql_server.port), str(port))
    engine = create_engine(behind, poolclass=NullPool)

    def ask():
        with reachable(behind), engine.connect():
            pass

    try:
        patiently(ask, 30.0, stopping=lambda: process.poll() is not None)
        yield behind
    finally:
        process.terminate()
        process.communicate()
        shutil.rmtree(folder)


def test_a_study_runs_behind_pgbouncer(launch, url, audit):
    launch()
    crew = [threading.Thread(target=run_worker, args=(url, "toy")) for _ in range(2)]
    for worker in crew:
        worker.start()
    for worker in crew:
        worker.join()
    audit(failed=0)
    reader = Reader(url)
    assert reader.status("toy").finished
    assert reader.front("toy")
    reader.close()


def test_a_reader_cannot_write_and_leaves_the_sessions_as_they_were(url):
    writer, reader = open_writer(url), open_reader(url)
    for _ in range(4):
        with pytest.raises(Exception, match="read-only"), reader.connect() as connection:
            connection.execute(update(tables.schema).values(version=2))
        with writer.begin() as connection:
            connection.execute(update(tables.schema).values(version=tables.TABLES_VERSION))
        with reader.connect() as connection:
            connection.execute(select(tables.schema)).one()
    reader.dispose()
    writer.dispose()
    assert upgrade(url) == tables.TABLES_VERSION


def test_commands_work_behind_pgbouncer(launch, url):
    launch()
    done = subprocess.run(
        [Path(sys.executable).with_name("pathfront"), "status", "toy", "--storage", url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
