"""Workers killed with -9 between each two steps, and many at once: nothing lost, nothing doubled."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from search.database import tables
from search.store.leases import expire_leases
from search.worker import run_worker

MORTAL = Path(__file__).with_name("mortal_worker.py")
STEPS = [
    "claimed",
    "created",
    "numbered",
    "trunk stored",
    "trunk noted",
    "decayed stored",
    "decayed noted",
    "scored",
    "told",
    "rows dropped",
    "settled",
]
ENDED = STEPS[STEPS.index("scored") :]
QUICK = ("created", "trunk noted", "scored")  # the other steps are for runs by hand


def die(url, step, name="mortal"):
    command = [sys.executable, MORTAL, url, step, name]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def let_go(url, name="mortal"):
    """As the launcher does that sees its worker die."""
    engine = create_engine(url)
    expire_leases(engine, "toy", name)
    engine.dispose()


def small(launch, **other):
    launch(stop={"candidates": 2}, rungs={"tokens": [3_000, 6_000], "eta": 2}, **other)


@pytest.mark.parametrize(
    "step", [s if s in QUICK else pytest.param(s, marks=pytest.mark.slow) for s in STEPS]
)
def test_a_death_costs_that_attempt_and_nothing_else(launch, url, audit, step, rows, tmp_path):
    small(launch)
    die(url, step)
    let_go(url)
    run_worker(url, "toy")
    retried = step not in ENDED
    created = step != "claimed"
    ledger = audit(failed=int(retried and created))
    assert sorted(row["rung"] for row in ledger if row["state"] == "done") == [0, 0, 1]
    assert sorted(row["attempt"] for row in ledger) == [1, 1, 1 + retried]
    retry = max(ledger, key=lambda row: row["attempt"])
    saved = {"trunk noted": 1_000, "decayed stored": 3_000, "decayed noted": 3_000}  # of rung 0
    assert not retried or retry["epochs"]["start"] == saved.get(step, 0)
    (folder,) = tmp_path.glob("*-artifacts/toy-*")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    noted = {row["uri"].partition(f"{folder.name}/")[2] for row in rows(tables.checkpoints)}
    assert files == noted | {"study.json"}
    assert len(files) == 1 + 3 + 1  # decayed weights of three trials, and a trunk that may be promoted


@pytest.mark.slow
def test_deaths_in_a_row_at_every_step_of_taking_over(launch, url, audit, monkeypatch):
    monkeypatch.setenv("PATHFRONT_LEASE_SECONDS", "2")  # the dead count as alive for a lease
    small(launch, trainer="toy_trainers:crash_at_first")
    for worker, step in enumerate(["failed", "taken over", "created"]):
        die(url, step, f"mortal {worker}")
        let_go(url, f"mortal {worker}")
    run_worker(url, "toy")
    ledger = audit()
    assert {row["state"] for row in ledger} <= {"done", "failed"}
    assert len({(row["candidate"], row["rung"]) for row in ledger}) == len(ledger)


@pytest.mark.slow
def test_a_lease_runs_out_by_itself(launch, url, audit, rows, monkeypatch):
    monkeypatch.setenv("PATHFRONT_LEASE_SECONDS", "1")
    small(launch)
    ended = subprocess.run(
        [sys.executable, MORTAL, url, "numbered", "mortal"], capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    run_worker(url, "toy")
    audit(failed=1)
    assert "lost" in [row["kind"] for row in rows(tables.events)]


@pytest.mark.slow
def test_four_workers_share_a_study(launch, url, audit):
    launch(stop={"candidates": 8})
    command = [sys.executable, "-m", "search.cli", "worker", "toy", "--storage", url]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(4)]
    said = [worker.communicate()[0].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0], said
    ledger = audit(failed=0)
    assert sorted(row["rung"] for row in ledger) == [0] * 8 + [1] * 4 + [2] * 2
    assert {row["attempt"] for row in ledger} == {1}
    assert len({row["worker"] for row in ledger}) > 1


class TestOnPostgreSQL:
    """The same where the database is a server."""

    @pytest.fixture
    def url(self, postgresql_url):
        return postgresql_url

    @pytest.mark.parametrize(
        "step",
        [
            "scored",
            *(pytest.param(s, marks=pytest.mark.slow) for s in ("created", "decayed noted", "rows dropped")),
        ],
    )
    def test_a_death_costs_that_attempt_and_nothing_else(self, launch, url, audit, step, rows, tmp_path):
        test_a_death_costs_that_attempt_and_nothing_else(launch, url, audit, step, rows, tmp_path)

    @pytest.mark.slow
    def test_four_workers_share_a_study(self, launch, url, audit):
        test_four_workers_share_a_study(launch, url, audit)
