"""Studies with toy trainers, on SQLite and on PostgreSQL."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from factories import suite
from filelock import FileLock
from installed import User, build_wheel, install
from sqlalchemy import create_engine, select, text
from toy_trainers import toy_config

from search.cli import main
from search.database import tables
from search.database.storage import open_writer, optuna_storage
from search.store.optuna_trials import close_storage
from search.store.studies import create_or_resume
from space.study import StudyConfig


@pytest.fixture
def toy_suite(monkeypatch):
    """Studies get a suite whose references are written by hand."""
    monkeypatch.setattr(StudyConfig, "suite_record", lambda self: self.objectives.weighted(suite()))
    return suite()


@pytest.fixture(scope="session", autouse=True)
def _revisions_of_optuna():
    """Optuna reads all its revisions whenever a database is opened; here they are read once."""
    from optuna.storages._rdb.storage import _VersionManager

    read, found = _VersionManager.get_head_version, []

    def once(self):
        if not found:
            found.append(read(self))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "get_head_version", once)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A SQLite file with all tables and no study, since making Optuna's takes half a second."""
    path = tmp_path_factory.mktemp("template") / "study.db"
    open_writer(f"sqlite:///{path}").dispose()
    close_storage(optuna_storage(f"sqlite:///{path}", create=True))
    return path


@pytest.fixture
def prepared(url, template):
    """A database of a test with all its tables, where that is SQLite."""
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite") and not path.exists():
        shutil.copy(template, path)
    return url


@pytest.fixture
def launch(toy_suite, prepared, tmp_path, monkeypatch):
    """Create a study; worker processes of the test find the toys, and leave their files in its folder."""
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), str(here.parent.parent)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)

    def create(**changes) -> StudyConfig:
        config = toy_config(**changes)
        create_or_resume(prepared, config)
        return config

    return create


@pytest.fixture
def once(url, tmp_path, tmp_path_factory):
    """Run a study in the folder of the first test that asks for it; later ones get a copy of that folder.

    A name stands for the same study in all files.
    """

    def run(name, study):
        if not url.startswith("sqlite"):
            study()
            return
        kept = tmp_path_factory.getbasetemp() / f"once-{name}"
        if kept.exists():
            shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
        else:
            study()
            shutil.copytree(tmp_path, kept)

    return run


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """Data sets, generated data and references of a test's own."""
    monkeypatch.setenv("PATHFRONT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PATHFRONT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PATHFRONT_TASKS", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def run_command(capsys):
    """Runs a command where the test is -> (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def pathfront(run_command, tmp_path, monkeypatch):
    """Runs a command in an empty folder -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    return run_command


@pytest.fixture
def postgresql_url(postgresql):
    """The server's database, emptied."""
    engine = create_engine(postgresql)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def any_url(request, tmp_path):
    """A new database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def url(tmp_path) -> str:
    """A new SQLite database; a test of the contract overrides it with `any_url`."""
    return f"sqlite:///{tmp_path / 'study.db'}"


class PostgresqlServer:
    """A PostgreSQL server in a folder of its own, on loopback.

    Attributes:
        url: of its database.
        port: where it listens.
        folder: where it lives; files that it reads can be put there.
        as_server: what comes before a command to run it as the server's user.
    """

    def __init__(self, binaries, folder):
        self._binaries = binaries
        self.as_server = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.folder = folder
        if self.as_server:
            shutil.chown(folder, "postgres")
        self.port = self.free_port()
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        self._call("initdb", "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")

    @staticmethod
    def free_port():
        """A port of loopback that nobody listens on."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    def start(self):
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off"
        self._call("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self):
        """As a crash does it: connections are cut, and the next start recovers."""
        self._call("pg_ctl", "-m", "immediate", "stop")

    def _call(self, program, *arguments):
        command = [
            *self.as_server,
            str(self._binaries / program),
            "-D",
            str(self.folder / "data"),
            *arguments,
        ]
        subprocess.run(command, check=True, capture_output=True, cwd="/")


@pytest.fixture(scope="session")
def postgresql_server():
    """A PostgreSQL server of this test session's own."""
    binaries = _postgresql_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's own programs (initdb, pg_ctl) are not installed")
    folder = Path(tempfile.mkdtemp(prefix="pathfront-postgresql-"))  # a short path, for its socket
    try:
        server = PostgresqlServer(binaries, folder)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql(postgresql_server):
    """The URL of its database."""
    return postgresql_server.url


def _postgresql_binaries() -> Path | None:
    folders = [Path("/usr/lib/postgresql/15/bin")]
    if shutil.which("pg_config"):
        found = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)
        folders.insert(0, Path(found.stdout.strip()))
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


@pytest.fixture
def rows(url):
    """Read a table of ours: every row as a mapping."""

    def read(table, *where):
        engine = create_engine(url)
        with engine.connect() as connection:
            ordered = select(table).where(*where).order_by(*table.primary_key)
            found = connection.execute(ordered).mappings().all()
        engine.dispose()
        return found

    return read


@pytest.fixture
def events(rows):
    """Kinds of the events so far."""
    return lambda: [row["kind"] for row in rows(tables.events)]


@pytest.fixture
def audit(url, rows):
    """Check that nothing is lost, doubled or left behind: ledger and Optuna hold the same."""

    def check(study="toy", failed=None):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.RDBStorage(url)
        trials = optuna.load_study(study_name=study, storage=storage).trials
        close_storage(storage)
        states = [trial.state.name for trial in trials]
        assert set(states) <= {"COMPLETE", "FAIL"}
        ledger = rows(tables.trials)
        done = {row["number"]: row for row in ledger if row["state"] == "done"}
        complete = {trial.number: trial for trial in trials if trial.state.name == "COMPLETE"}
        assert complete.keys() == done.keys()
        for number, row in done.items():
            trial = complete[number]
            assert trial.values == [row["score"], row["flops_per_token"]]
            label = f"{row['candidate']}/{row['rung']}/{row['seed']}/{row['attempt']}"
            assert trial.user_attrs["pathfront:label"] == label
        labels = [trial.user_attrs["pathfront:label"] for trial in trials]
        assert len(set(labels)) == len(labels)
        assert all(row["told"] for row in ledger)
        assert not [row for row in ledger if row["state"] in ("running", "paused")]
        if failed is not None:
            assert states.count("FAIL") == failed
        return ledger

    return check


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory) -> Path:
    """A folder with the wheel of this checkout, and `programs`, an environment that it is installed in."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # one for all test processes
    folder = shared / "wheel"
    with FileLock(shared / "wheel.lock"):
        if not (folder / "programs").exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            (folder / "source").mkdir(parents=True)
            programs = install(build_wheel(folder), folder / "environment")
            (folder / "programs").symlink_to(programs)
    return folder


@pytest.fixture
def user(wheel_folder, tmp_path) -> User:
    """A user of the installed wheel in an empty folder."""
    return User.of(wheel_folder / "environment" / "bin", tmp_path, wheel_folder / "cache")
