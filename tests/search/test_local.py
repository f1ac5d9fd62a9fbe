"""Workers on this machine: how many there are, and full disks and databases that go away under them.

That they finish, die, are interrupted or refuse is in the contract of engines (test_engines.py).
"""

import os
import signal
import subprocess
import threading

import pytest
from toy_trainers import RUNGS, toy_config

from search.database import tables
from search.engines import devices, launcher, local
from space.errors import StorageError, StudyFileError, Terminated

SMALL = {"stop": {"candidates": 2}, "rungs": {"tokens": list(RUNGS[:2]), "eta": 2}}


@pytest.mark.slow
def test_workers_finish_a_study(launch, url, audit, tmp_path):
    launch(**SMALL)
    ticks = []
    launcher.run(url, "toy", 2, "artifacts", lambda: ticks.append(1))
    assert [row["rung"] for row in audit(failed=0)].count(1) == 1
    assert len(ticks) > 2
    logs = sorted((tmp_path / "artifacts").glob("toy-*/logs/worker-*.log"))
    assert [log.name for log in logs] == ["worker-0.log", "worker-1.log"]
    assert "scored" in "".join(log.read_text() for log in logs)


@pytest.mark.parametrize(
    ("changes", "found", "cores", "workers", "expected"),
    [
        ({}, [], 4, None, ("cpu", 4)),
        ({"stop": {"candidates": 3}}, [], 4, None, ("cpu", 3)),
        ({"workers": 5}, [], 4, None, ("cpu", 5)),
        ({"workers": 5}, [], 4, 7, ("cpu", 7)),
        ({"trials_per_gpu": 2}, ["0", "1"], 4, None, ("cuda", 4)),
        ({"device": "cpu"}, ["0", "1"], 8, None, ("cpu", 8)),
        ({"devices_per_trial": 2}, ["0", "1", "2", "3", "4"], 8, None, ("cuda", 2)),
        ({"devices_per_trial": 2}, [], 5, None, ("cpu", 2)),
        ({"devices_per_trial": 2}, [], 1, None, ("cpu", 1)),
    ],
)
def test_a_plan_fills_the_machine(monkeypatch, changes, found, cores, workers, expected):
    monkeypatch.setattr(local, "gpus", lambda: found)
    monkeypatch.setattr(local, "cpu_count", lambda: cores)
    assert local.plan(toy_config(**changes), workers) == expected


def test_a_gpu_study_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(local, "gpus", list)
    with pytest.raises(StudyFileError, match=r"^device: cuda needs a GPU"):
        local.plan(toy_config(device="cuda"))


def test_trials_on_several_gpus_need_as_many(monkeypatch):
    monkeypatch.setattr(local, "gpus", lambda: ["0", "1"])
    with pytest.raises(StudyFileError, match=r"^devices_per_trial: 4 GPUs train a trial, and .* shows 2"):
        local.plan(toy_config(devices_per_trial=4))


def test_each_worker_sees_the_gpus_of_its_trial(monkeypatch):
    monkeypatch.setattr(local, "gpus", lambda: ["0", "1", "2", "3", "4"])
    engine = local.LocalEngine(toy_config(devices_per_trial=2))
    assert engine._devices == ["0,1", "2,3"]


def test_devices_are_those_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-abc")
    assert devices.gpus() == ["0", "GPU-abc"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.gpus() == []
    assert 1 <= devices.cpu_count() <= (os.cpu_count() or 1)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_pauses_a_study_and_costs_no_candidate(launch, url, rows, audit, small_disk):
    launch(stop={"candidates": 4}, trainer="toy_trainers:climb_with_weight")
    (small_disk / "ballast").write_bytes(bytes(400_000))
    with pytest.raises(StorageError, match=r"[Nn]o space left"):
        launcher.run(url, "toy", 2, str(small_disk / "artifacts"))
    ledger = rows(tables.trials)
    assert {(row["state"], row["crashes"]) for row in ledger} <= {("paused", 0), ("done", 0)}
    assert any(row["state"] == "paused" for row in ledger)
    (small_disk / "ballast").unlink()
    launcher.run(url, "toy", 2, str(small_disk / "artifacts"))
    assert {(row["state"], row["crashes"]) for row in audit()} == {("done", 0)}


class TestOnPostgreSQL:
    """A server that restarts in the middle of a study."""

    @pytest.fixture
    def url(self, postgresql_url):
        return postgresql_url

    @pytest.mark.slow
    def test_a_restart_of_the_database_ends_nothing(self, launch, url, audit, rows, postgresql_server):
        launch(stop={"candidates": 8}, trainer="toy_trainers:climb_in_time")
        restarted = []

        def restart():
            found = rows(tables.trials)
            both_at_work = len({row["worker"] for row in found}) == 2
            if not restarted and both_at_work and any(row["state"] == "done" for row in found):
                restarted.append(True)
                postgresql_server.stop()  # -m immediate: every connection is cut
                postgresql_server.start()

        launcher.run(url, "toy", 2, "artifacts", restart)
        assert restarted
        ledger = audit()
        assert len(ledger) == 14
        assert {(row["state"], row["crashes"]) for row in ledger} == {("done", 0)}
        assert len(rows(tables.workers)) == 2  # nobody died and was replaced

    @pytest.mark.slow
    def test_a_stop_while_the_database_is_away_is_no_crash(
        self, launch, url, rows, tmp_path, postgresql_server
    ):
        launch(**SMALL, trainer="toy_trainers:patient")
        (tmp_path / "wait").touch()
        back = threading.Timer(3, postgresql_server.start)

        def stop():
            if not back.ident and [row for row in rows(tables.trials) if row["number"] is not None]:
                postgresql_server.stop()
                back.start()
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(Terminated):
            launcher.run(url, "toy", 1, "artifacts", stop)
        back.join()
        assert [(row["state"], row["crashes"]) for row in rows(tables.trials)] == [("paused", 0)]
