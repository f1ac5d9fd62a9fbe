"""Failures: whose fault they are, and what a worker and a study make of several in a row."""

import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, update
from test_kills import die, let_go
from toy_trainers import MEMORY, RUNGS

from search.database import tables
from search.failure_policy import StudyHalted
from search.signals import StopRequest
from search.store.faults import Failure, same_cause
from search.store.workers import REPLACEABLE
from search.worker import Worker, run_worker
from space.errors import CheckpointError, Diverged, MachineError, StorageError, TaskError

SMALL = {"stop": {"candidates": 4}, "rungs": {"tokens": list(RUNGS[:2]), "eta": 2}}


class AcceleratorError(RuntimeError):
    """What torch raises where a CUDA context is broken."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), "machine"),
        (FileNotFoundError("corpus.bin"), "machine"),
        (ImportError("libcuda.so.1"), "machine"),
        (MachineError("no cache"), "machine"),
        (StorageError("no folder"), "machine"),
        (AcceleratorError("an illegal memory access"), "machine"),
        (RuntimeError("CUDA error: device-side assert triggered"), "machine"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "memory"),
        (RuntimeError("shape mismatch"), "crash"),
        (MemoryError(), "memory"),
        (CheckpointError("not ours"), "crash"),
        (FloatingPointError("nan"), "diverged"),
        (Diverged("training diverged"), "diverged"),
        (TaskError("no such task"), "permanent"),
    ],
)
def test_every_error_is_somebodys_fault(error, kind):
    assert Failure.of(error).kind == kind


def test_a_reason_is_one_line_and_compares_without_its_numbers():
    failure = Failure.of(RuntimeError("step 17\nfailed at 0x7f"))
    assert failure.reason == "RuntimeError: step 17 failed at 0x7f"
    assert same_cause(failure.reason) == same_cause("RuntimeError: step 18 failed at 0x3f")
    assert Failure.of(MemoryError()).reason == "out of memory"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<X object at 0x7fa3bc>", "<X object at 0x5590d1e0>"),
        ("no head for 0123abcd4567", "no head for deadbeefcafe"),
        ("step 9", "step 10"),
    ],
)
def test_reasons_that_differ_in_an_address_a_candidate_or_a_number_have_the_same_cause(one, other):
    assert same_cause(f"KeyError: {one}") == same_cause(f"KeyError: {other}")
    assert same_cause(f"KeyError: {one}") != same_cause(f"ValueError: {other}")


@pytest.mark.slow
def test_a_bad_machine_fails_no_candidate(launch, url, rows, audit, monkeypatch):
    launch(**SMALL, trainer="toy_trainers:climb_unless_bad_machine")
    with pytest.raises(MachineError, match=r"this machine failed 3 times in a row: OSError: .*no disk"):
        run_worker(url, "toy", name="bad")
    ledger = rows(tables.trials)
    assert {(row["final"], row["crashes"]) for row in ledger} == {(False, 0)}
    (left,) = rows(tables.workers)
    assert left["left_because"].startswith("this machine failed 3 times")
    run_worker(url, "toy", name="good")
    assert {row["state"] for row in audit()} == {"done"}


@pytest.mark.slow
def test_a_bad_worker_beside_a_good_one_fails_no_candidate(launch, url, rows, audit):
    launch(stop={"candidates": 12}, trainer="toy_trainers:climb_unless_bad_code")
    ended = {}

    def work(name):
        try:
            ended[name] = run_worker(url, "toy", name=name)
        except MachineError as error:
            ended[name] = str(error)

    good = threading.Thread(target=work, args=("good",))
    bad = threading.Thread(target=work, args=("bad",))
    good.start()
    while not rows(tables.trials):  # before the bad one fails, the good one has begun
        time.sleep(0.01)
    bad.start()
    good.join()
    bad.join()
    ledger = audit()
    assert {row["state"] for row in ledger} == {"done"}
    assert {row["worker"] for row in ledger} == {"good"}
    assert ended["good"] == len(ledger) == 21
    assert ended["bad"] == 0 or "failed here and not on other workers" in ended["bad"]


def test_a_candidate_that_runs_out_of_memory_is_tried_twice_and_none_as_large_is_proposed_after(
    launch, url, rows, audit
):
    launch(stop={"candidates": 10}, trainer="toy_trainers:climb_within_memory")
    run_worker(url, "toy")
    ledger = {row["candidate"]: row for row in audit() if row["rung"] == 0}
    known = sorted(rows(tables.candidates), key=lambda row: row["ordinal"])
    large = [row for row in known if row["training_bytes"] > MEMORY]
    assert large
    assert {(ledger[row["candidate"]]["attempt"], ledger[row["candidate"]]["final"]) for row in large} == {
        (2, True)
    }
    assert all(ledger[row["candidate"]]["error"].startswith("out of memory: CUDA") for row in large)
    sizes = [row["training_bytes"] for row in large]
    assert sizes == sorted(sizes, reverse=True)  # each is smaller than those that ran out before it
    assert len(set(sizes)) == len(sizes)
    done = [row for row in ledger.values() if row["state"] == "done"]
    assert len(done) == 10  # a candidate without a result is replaced


def test_a_trial_that_ran_out_of_memory_waits_until_it_is_alone(launch, url, rows):
    launch(stop={"candidates": 4}, trainer="toy_trainers:climb")
    one, other = (Worker(url, "toy", "artifacts", name) for name in ("one", "other"))
    failed, beside = begin(one), begin(other)
    one.ledger.fail(failed, Failure.of(MemoryError()))
    third = begin(one)
    assert failed.candidate not in (beside.candidate, third.candidate)
    one.ledger.pause(third)
    assert begin(one).candidate == third.candidate  # `other` still trains
    one.close()
    other.close()


def begin(worker):
    """Claim a trial and start its attempt, as a worker that then trains does."""
    claim = worker.choose()
    row = worker.ledger.candidate(claim.candidate)
    worker.ledger.start(claim, row.params, row.distributions, RUNGS[0])
    return claim


def test_a_study_is_not_halted_while_an_older_attempt_may_still_succeed(launch, url, rows, monkeypatch):
    """However fast a bad worker fails, one that has not trained anything yet is waited for."""
    launch(stop={"candidates": 12}, trainer="toy_trainers:climb_unless_bad_code")
    bad, good = (Worker(url, "toy", "artifacts", name) for name in ("bad", "good"))
    claim = begin(good)
    waited = []

    def poll(seconds):
        waited.append(seconds)
        good.ledger.heartbeat(claim, [{"tokens": 100, "loss": 1.0, "task_losses": {}}])

    monkeypatch.setattr("search.failure_policy.time", SimpleNamespace(sleep=poll))
    with pytest.raises(MachineError, match="failed here and not on other workers"):
        bad.run()
    assert len(waited) == 1
    assert [row["kind"] for row in rows(tables.events)].count("failed") == 3
    assert rows(tables.studies)[0]["halted"] is None
    bad.close()
    good.close()


@pytest.mark.parametrize("end", ["fails", "is killed", "is asked to stop"])
def test_the_oldest_attempt_under_way_decides_about_a_study_that_always_fails(
    launch, url, rows, monkeypatch, end
):
    launch(**SMALL, trainer="toy_trainers:crash")
    request = StopRequest()
    first, second = (
        Worker(url, "toy", "artifacts", "first"),
        Worker(url, "toy", "artifacts", "second", request),
    )
    oldest = begin(first)

    def poll(seconds):
        if end == "fails":
            first.ledger.fail(oldest, Failure.of(RuntimeError("out of\nluck")))
        elif end == "is killed":
            first.register.leave()
        else:
            request.count(signal.SIGTERM)

    monkeypatch.setattr("search.failure_policy.time", SimpleNamespace(sleep=poll))
    attempts = 4 if end == "fails" else 3
    if end == "is asked to stop":
        second.run()
        assert rows(tables.studies)[0]["halted"] is None
    else:
        with pytest.raises(StudyHalted, match=f"the first {attempts} attempts all failed"):
            second.run()
    assert [row["kind"] for row in rows(tables.events)].count("failed") == attempts
    first.close()
    second.close()


def test_a_retry_goes_to_another_worker_while_one_is_alive(launch, url):
    launch(**SMALL, trainer="toy_trainers:climb_unless_bad_code")
    bad, good = (Worker(url, "toy", "artifacts", name) for name in ("bad", "good"))
    claim = bad.choose()
    bad.work(claim)
    assert bad.ledger.take_over() is None
    good.register.leave()
    assert bad.ledger.take_over().candidate == claim.candidate
    bad.close()
    good.close()


def test_the_same_error_on_the_first_candidates_halts_a_study_and_costs_nothing(launch, url, rows, audit):
    launch(**SMALL, trainer="toy_trainers:crash")
    with pytest.raises(
        StudyHalted, match=r"the first 4 attempts all failed with the same error: .*out of luck"
    ):
        run_worker(url, "toy")
    (study,) = rows(tables.studies)
    assert "out of luck" in study["halted"]
    assert study["finished_at"] is None
    assert {(row["final"], row["crashes"]) for row in rows(tables.trials)} == {(False, 0)}
    with pytest.raises(StudyHalted):
        run_worker(url, "toy")  # until it is launched again
    launch(**SMALL, trainer="toy_trainers:crash")
    assert rows(tables.studies)[0]["halted"] is None


def test_a_study_goes_on_where_only_some_candidates_fail(launch, url, audit):
    launch(**SMALL, trainer="toy_trainers:crash_if_dense")
    run_worker(url, "toy")
    assert [row["state"] for row in audit()].count("done") == 6


@pytest.mark.slow
def test_a_trial_that_gains_something_at_each_attempt_is_never_given_up(launch, url, audit, rows):
    launch(stop={"candidates": 1}, rungs={"tokens": [9_000], "eta": 2}, trainer="toy_trainers:climb_slowly")
    for life in range(5):
        die(url, "trunk noted", f"life {life}")  # kill -9 after one more checkpoint
        let_go(url, f"life {life}")
        (row,) = rows(tables.trials)
        assert (row["state"], row["attempt"]) == ("running", life + 1)
        assert row["crashes"] <= 1
    run_worker(url, "toy", name="last")
    (row,) = audit(failed=5)
    assert (row["state"], row["crashes"]) == ("done", 1)


def test_a_trial_that_hangs_is_let_go_and_its_process_ends(launch, url, rows, tmp_path):
    launch(stop={"candidates": 1}, trainer="toy_trainers:hang", stall_minutes=0.01)
    command = [sys.executable, "-m", "search.cli", "worker", "toy", "--storage", url]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == REPLACEABLE
    assert "no progress for" in ended.stderr
    (row,) = rows(tables.trials)
    assert (row["state"], row["lease_until"]) == ("running", 0.0)
    assert "stalled" in [row["kind"] for row in rows(tables.events)]
    worker = Worker(url, "toy", "artifacts", "next")
    assert worker.ledger.take_over().attempt == 2
    assert rows(tables.trials)[0]["crashes"] == 1
    worker.close()


def shift(url, table, **values):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(update(table).values(values))
    engine.dispose()


@pytest.mark.parametrize("until", [1.0, 9e12])
def test_a_clock_that_jumps_takes_no_trial_away(launch, url, rows, monkeypatch, until):
    monkeypatch.setenv("PATHFRONT_LEASE_SECONDS", "2")
    launch(**SMALL)
    holder, other = (Worker(url, "toy", "artifacts", name) for name in ("holder", "other"))
    claim = holder.choose()
    now = [time.monotonic()]
    monkeypatch.setattr("search.store.leases.time.monotonic", lambda: now[0])
    shift(url, tables.trials, lease_until=until)  # as if the database's clock had jumped
    assert other.ledger.take_over() is None
    holder.ledger.heartbeat(claim)
    now[0] += 1.1  # half a lease
    assert other.ledger.take_over() is None
    shift(url, tables.trials, lease_until=until + 1)
    assert other.ledger.take_over() is None
    now[0] += 1.1
    assert other.ledger.take_over() is not None  # the holder was silent all that time
    holder.close()
    other.close()


def test_a_clock_that_jumps_does_not_end_a_study_by_its_minutes(launch, url, rows):
    launch(stop={"candidates": 4, "wall_minutes": 30})
    worker = Worker(url, "toy", "artifacts", "one")
    for _ in range(2):
        worker.work(worker.choose())
    now = rows(tables.studies)[0]["launched_at"]
    shift(url, tables.studies, launched_at=now - 3600)
    assert worker.view().may_start(worker.config.stop)
    worker.run()
    worker.close()
    assert len(rows(tables.trials)) == 7
    assert 0 < rows(tables.studies)[0]["ran_seconds"] < 600


@pytest.mark.parametrize("round_", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_sigterm_to_a_whole_group_pauses_every_trial(launch, url, rows, tmp_path, round_):
    """As a service manager or scancel sends it; the launcher passes SIGINT on at the same moment."""
    launch(**SMALL, trainer="toy_trainers:patient", checkpoint_seconds=600)
    (tmp_path / "wait").touch()
    launcher = subprocess.Popen([sys.executable, "-c", MAIN, url], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len([r for r in rows(tables.trials) if r["number"] is not None]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = [row["pid"] for row in rows(tables.workers)]
    for pid in (launcher.pid, *pids):
        os.kill(pid, signal.SIGTERM)
    _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 143, said
    assert {(row["state"], row["crashes"], row["progress_tokens"]) for row in rows(tables.trials)} == {
        ("paused", 0, RUNGS[0] // 3)
    }


MAIN = """
import sys
from search.engines import launcher
from space.errors import PathfrontError
try:
    launcher.run(sys.argv[1], "toy", 2, "artifacts")
except PathfrontError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
