"""The contract of engines: a test class that every engine's tests inherit.

    class TestMine(EngineContract):
        engine = "my_package.my_module:MyEngine"

The workers are real processes, their trainers toys. An engine passes if it starts the workers asked for,
replaces those that die, passes signals on, leaves no process behind, and leaves what a launch can resume.
"""

import os
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import update
from toy_trainers import RUNGS

from search.database import tables
from search.database.storage import open_writer
from search.engines import launcher
from space.errors import Interrupted, MachineError, PathfrontError, StudyFileError, Terminated

SMALL = {"stop": {"candidates": 2}, "rungs": {"tokens": list(RUNGS[:2]), "eta": 2}}
LIMIT_SECONDS = 60
CRASHING = """
import search.worker
from toy_trainers import climb


def choose(self):
    raise TypeError("a bug in choose")


search.worker.Worker.choose = choose
"""
NOISY = """
import atexit

atexit.register(print, "goodbye")
raise ValueError("no luck here")
"""


class RunsWorkers:
    """An engine starts workers, passes signals on, and leaves no process behind.

    Attributes:
        engine: as a study file names it.
    """

    engine: str

    @pytest.fixture
    def study(self, launch, tmp_path):
        """Creates a study on the engine; its folder holds the file `wait`, which holds toys up."""
        (tmp_path / "crashing.py").write_text(CRASHING)
        (tmp_path / "noisy.py").write_text(NOISY)
        (tmp_path / "wait").touch()
        return lambda **changes: launch(engine=self.engine, **{**SMALL, **changes})

    @pytest.fixture
    def run(self, url, rows):
        """Runs the study, and checks that no worker is left."""

        def run(workers=2, on_tick=lambda: None, **told):
            try:
                launcher.run(url, "toy", workers, "artifacts", on_tick, **told)
            finally:
                assert [row["pid"] for row in rows(tables.workers) if alive(row["pid"])] == []

        return run

    @pytest.fixture
    def running(self, rows):
        """How many trials are being trained."""
        return lambda: sum(row["number"] is not None for row in rows(tables.trials))

    def test_as_many_workers_as_asked_for_finish_a_study(self, study, run, running, audit, rows, tmp_path):
        study(trainer="toy_trainers:patient")
        most = []

        def go_on_when_both_train():
            most.append(running())
            if most[-1] == 2:
                (tmp_path / "wait").unlink(missing_ok=True)

        run(2, go_on_when_both_train)
        assert max(most[: most.index(2) + 1]) == 2
        assert sorted(row["rung"] for row in audit(failed=0)) == [0, 0, 1]
        assert len(rows(tables.workers)) == 2

    def test_logs_are_where_the_database_says(self, study, run, rows):
        study()
        run(1)
        (worker,) = rows(tables.workers)
        log = Path(worker["log"])
        assert log.name == "worker-0.log"
        assert "scored" in log.read_text()
        assert {row["log"] for row in rows(tables.trials)} == {str(log)}

    def test_the_trial_of_a_killed_worker_is_taken_over_at_once(self, study, run, audit, events, rows):
        study(trainer="toy_trainers:fatal_once")
        told = []
        run(1, on_replaced=told.append)
        (log,) = {row["log"] for row in rows(tables.workers)}
        assert told == [f"worker 0 was killed by SIGKILL; another one begins; see {log}"]
        audit(failed=1)
        assert events().count("lost") == 1
        assert len(rows(tables.workers)) == 2

    @pytest.mark.slow  # test_launch.py and test_faults.py send the same signals
    @pytest.mark.parametrize(
        ("which", "error", "code"),
        [
            (signal.SIGINT, Interrupted, 130),
            (signal.SIGTERM, Terminated, 143),
        ],
    )
    def test_the_first_signal_stops_at_a_checkpoint(
        self, study, run, running, rows, audit, tmp_path, which, error, code
    ):
        study(trainer="toy_trainers:patient")
        with pytest.raises(error) as stopped:
            run(2, _Signals(running, which, 1))
        assert stopped.value.exit_code == code
        assert {(row["state"], row["crashes"], row["progress_tokens"]) for row in rows(tables.trials)} == {
            ("paused", 0, RUNGS[0] // 3)
        }
        (tmp_path / "wait").unlink()
        run(2)  # the next launch goes on from there
        assert {row["crashes"] for row in audit()} == {0}

    def test_the_second_signal_stops_at_once(self, study, run, running, rows, audit, tmp_path):
        study(trainer="toy_trainers:deaf")
        with pytest.raises(Interrupted):
            run(1, _Signals(running, signal.SIGINT, 2))
        assert [(row["state"], row["crashes"]) for row in rows(tables.trials)] == [("paused", 0)]
        (tmp_path / "wait").unlink()
        run(1)
        assert {row["crashes"] for row in audit(failed=1)} == {0}

    @pytest.mark.slow
    def test_a_request_in_the_database_stops_at_a_checkpoint(self, study, run, running, rows, url):
        study(trainer="toy_trainers:patient")
        database = open_writer(url, create=False)

        def ask():
            if running():
                with database.begin() as connection:
                    connection.execute(update(tables.studies).values(stop_requested=True))

        with pytest.raises(Interrupted, match="somebody asked study 'toy' to stop"):
            run(1, ask)
        database.dispose()
        assert {(row["state"], row["crashes"]) for row in rows(tables.trials)} == {("paused", 0)}


class EngineContract(RunsWorkers):
    """An engine also says how its workers ended, so that the launcher draws the right conclusion."""

    @pytest.mark.slow
    def test_workers_that_always_die_are_given_up(self, study, run, rows):
        study(trainer="toy_trainers:fatal")
        with pytest.raises(PathfrontError, match=r"was killed by SIGKILL; see .*worker-0\.log") as ended:
            run(1)
        assert ended.value.exit_code == 1
        assert len(rows(tables.workers)) == launcher.EARLY_DEATHS

    @pytest.mark.slow
    def test_workers_that_crash_are_replaced_and_then_say_why(self, study, run, rows):
        study(trainer="crashing:climb")
        with pytest.raises(
            PathfrontError, match=r"exited with 70: TypeError: a bug in choose \(crash"
        ) as ended:
            run(1)
        assert ended.value.exit_code == 1
        assert len(rows(tables.workers)) == launcher.EARLY_DEATHS

    def test_what_workers_refuse_is_said_whatever_their_logs_end_with(self, study, run, rows):
        study(trainer="noisy:climb")
        with pytest.raises(StudyFileError, match=r"trainer: .* raises ValueError: no luck here") as ended:
            run(2)
        assert ended.value.exit_code == 2
        assert len(rows(tables.workers)) == 2  # none is replaced
        assert all("goodbye" in Path(row["log"]).read_text().splitlines()[-1] for row in rows(tables.workers))

    @pytest.mark.slow
    def test_errors_of_the_machine_end_the_launch(self, study, run, rows):
        study(trainer="toy_trainers:broken_machine")
        with pytest.raises(MachineError, match=r"failed 3 times in a row: .*there is no disk.*worker-0\.log"):
            run(1)
        assert {(row["crashes"], row["final"]) for row in rows(tables.trials)} == {(0, False)}


class _Signals:
    """Sends this process a signal once a trial runs, and again a second later."""

    def __init__(self, running, which, times):
        self.running, self.which, self.times, self.last = running, which, times, 0.0

    def __call__(self):
        if self.times and self.running() and time.monotonic() - self.last > 1:
            self.times -= 1
            self.last = time.monotonic()
            os.kill(os.getpid(), self.which)


def alive(pid):
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
