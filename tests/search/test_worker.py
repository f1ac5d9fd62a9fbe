"""A worker's whole way through studies whose trainers are toys."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import create_engine, update
from toy_trainers import RUNGS

from search.database import tables
from search.read.results import Reader
from search.store.claims import Claim
from search.trainer import load_trainer
from search.worker import Worker, run_worker
from space.errors import Interrupted, NotFoundError, StorageError, StudyFileError


def wait_for_a_trial(rows):
    """Until a worker is in its trainer."""
    deadline = time.monotonic() + 60
    while not [row for row in rows(tables.trials) if row["number"] is not None]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def by_rung(ledger, state="done"):
    counts = Counter(row["rung"] for row in ledger if row["state"] == state)
    return [counts[rung] for rung in range(len(RUNGS))]


def test_a_study_of_twelve_climbs_twelve_six_three(launch, url, audit, rows, events):
    launch()
    assert run_worker(url, "toy") == 21
    ledger = audit(failed=0)
    assert by_rung(ledger) == [12, 6, 3]
    assert events()[-1] == "finished"
    for row in ledger:
        start = RUNGS[row["rung"] - 1] if row["rung"] else 0
        assert row["epochs"] == {"start": start, "from": start}  # resumed where the rung below ended
    curve = rows(tables.curves)
    assert len(curve) == 12 * 3 + 6 * 2 + 3 * 2  # a third of each rung lies below the one before
    assert len(rows(tables.task_scores)) == 21 * 8
    assert len(rows(tables.routing)) == 21


def test_checkpoints_that_stay_are_whole(launch, url, rows, tmp_path):
    launch(stop={"candidates": 4})
    run_worker(url, "toy")
    kept = rows(tables.checkpoints)
    assert Counter(row["kind"] for row in kept) == {"trunk": 3, "decayed": 7}
    assert sorted(row["rung"] for row in kept if row["kind"] == "trunk") == [0, 0, 1]  # which may yet climb
    home = tmp_path / "study-artifacts"
    files = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    (study,) = rows(tables.studies)
    assert files == {row["uri"] for row in kept} | {f"toy-{study['artifacts_id']}/study.json"}


def test_a_study_and_its_artifacts_move_together(launch, url, rows, tmp_path):
    launch(stop={"candidates": 4})
    worker = Worker(url, "toy", "study-artifacts", "first")
    while (claim := worker.choose()).rung < 1:
        worker.work(claim)
    worker.ledger.pause(claim)
    worker.ledger.close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in list(tmp_path.glob("study*")):
        path.rename(elsewhere / path.name)
    moved = f"sqlite:///{elsewhere / 'study.db'}"
    run_worker(moved, "toy")
    reader = Reader(moved)
    details = [reader.trial("toy", row.number) for row in reader.finalists("toy")]
    climbed = [detail for detail in details if detail.row.rung == 1]
    assert climbed
    assert all(detail.epochs["start"] == RUNGS[0] for detail in climbed)  # went on from what had moved
    assert all(
        Path(file.uri.removeprefix("file://")).is_file() for detail in details for file in detail.checkpoints
    )


def test_a_damaged_trunk_of_the_rung_below_is_told_and_the_climb_begins_anew(
    launch, url, rows, audit, tmp_path
):
    launch(stop={"candidates": 4})
    worker = Worker(url, "toy", "study-artifacts", "first")
    while (claim := worker.choose()).rung < 2:
        worker.work(claim)
    (damaged,) = rows(
        tables.checkpoints,
        tables.checkpoints.c.candidate == claim.candidate,
        tables.checkpoints.c.rung == 1,
        tables.checkpoints.c.kind == "trunk",
    )
    (tmp_path / "study-artifacts" / damaged["uri"]).write_text("11111")
    worker.work(claim)
    worker.ledger.close()
    row = next(row for row in audit() if row["rung"] == 2)
    assert row["epochs"] == {"start": 0, "from": 0}
    (event,) = rows(tables.events, tables.events.c.kind == "damaged")
    assert "SHA-256" in event["text"]


def test_a_crash_is_retried_from_its_checkpoint(launch, url, audit, events):
    launch(stop={"candidates": 2}, trainer="toy_trainers:crash_at_first")
    run_worker(url, "toy")
    ledger = audit(failed=2)
    assert by_rung(ledger) == [2, 1, 0]
    assert {row["attempt"] for row in ledger if row["rung"] == 0} == {2}
    assert {row["epochs"]["start"] for row in ledger if row["rung"] == 0} == {RUNGS[0] // 3}
    assert events().count("failed") == 2


def test_a_crash_is_retried_twice_and_no_more(launch, url, audit):
    launch(stop={"candidates": 2}, trainer="toy_trainers:crash_if_dense")
    assert run_worker(url, "toy") >= 1
    ledger = audit()
    crashed = {(r["state"], r["attempt"], r["error"]) for r in ledger if r["state"] != "done"}
    assert crashed == {("failed", 3, "RuntimeError: out of luck")}


@pytest.mark.slow
def test_candidates_that_failed_for_good_are_replaced(launch, url, audit):
    launch(stop={"candidates": 4}, trainer="toy_trainers:crash_if_dense")
    run_worker(url, "toy")
    ledger = audit()
    failed = [row for row in ledger if row["state"] == "failed"]
    assert failed
    assert by_rung(ledger)[0] == 4


def test_divergence_is_final_and_counts_as_a_place(launch, url, audit):
    launch(stop={"candidates": 6}, trainer="toy_trainers:diverge")
    run_worker(url, "toy")
    ledger = audit()
    assert {row["attempt"] for row in ledger} == {1}
    lost = [row for row in ledger if row["state"] == "failed"]
    assert len(lost) == 2
    assert all(row["diverged"] and row["error"].startswith("training diverged") for row in lost)
    assert by_rung(ledger) == [4, 3, 1]


@pytest.mark.parametrize("trainer", ["infinite", "nothing"])
def test_what_is_no_score_is_refused(launch, url, audit, trainer):
    launch(stop={"candidates": 1}, trainer=f"toy_trainers:{trainer}")
    run_worker(url, "toy")
    ledger = audit(failed=2)  # the second one replaces the first
    assert {(row["state"], row["attempt"], row["diverged"]) for row in ledger} == {("failed", 1, False)}


def test_nobody_climbs_from_the_floor(launch, url, audit):
    launch(stop={"candidates": 4}, trainer="toy_trainers:floor")
    run_worker(url, "toy")
    assert by_rung(audit()) == [4, 0, 0]


def test_flops_end_a_study(launch, url, audit, rows):
    launch(stop={"training_flops": 5e9})
    run_worker(url, "toy")
    ledger = audit()
    assert 5e9 <= sum(row["training_flops"] for row in ledger) < 8e9
    assert by_rung(ledger)[0] < 8  # fewer than the study may try


def test_minutes_end_a_study_and_a_launch_goes_on(launch, url, audit):
    launch(stop={"wall_minutes": 1e-9})
    assert run_worker(url, "toy") == 0
    launch(stop={"candidates": 1})
    assert run_worker(url, "toy") == 1
    audit(failed=0)


def test_a_space_that_is_used_up_ends_a_study(launch, url, audit, rows):
    fixed = dict.fromkeys(("depth", "width", "experts", "top_k", "expert_ratio"), 1) | {"width": 48}
    launch(space={**fixed, "learning_rate": {"choices": [0.001, 0.002]}, "mixture": {"fixed": True}})
    assert run_worker(url, "toy") == 3
    audit(failed=0)
    assert rows(tables.events)[-1]["text"] == "no unseen candidate is left"


def test_a_stopped_trial_is_laid_down_and_taken_up(launch, url, audit, rows, tmp_path):
    launch(stop={"candidates": 2}, trainer="toy_trainers:patient")
    (tmp_path / "wait").touch()
    timer = threading.Thread(target=lambda: (wait_for_a_trial(rows), os.kill(os.getpid(), signal.SIGTERM)))
    timer.start()
    with pytest.raises(Interrupted):
        run_worker(url, "toy")
    timer.join()
    (row,) = rows(tables.trials)
    assert (row["state"], row["told"], row["crashes"]) == ("paused", True, 0)
    (tmp_path / "wait").unlink()
    run_worker(url, "toy")
    ledger = audit(failed=1)
    first = next(row for row in ledger if row["attempt"] == 2)
    assert first["epochs"]["start"] == RUNGS[0] // 3


def test_who_is_asked_to_stop_while_it_proposes_starts_nothing(launch, url, rows, monkeypatch):
    launch(stop={"candidates": 2})
    propose = Worker.next_step

    def slowly(self, view):
        os.kill(os.getpid(), signal.SIGINT)
        return propose(self, view)

    monkeypatch.setattr(Worker, "next_step", slowly)
    with pytest.raises(Interrupted):
        run_worker(url, "toy")
    assert rows(tables.trials) == []
    monkeypatch.undo()
    assert run_worker(url, "toy") == 3  # and the study was not ended


def test_a_study_may_be_asked_to_stop(launch, url, rows, tmp_path):
    launch(trainer="toy_trainers:patient")
    (tmp_path / "wait").touch()

    def ask():
        wait_for_a_trial(rows)
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(update(tables.studies).values(stop_requested=True))
        engine.dispose()

    thread = threading.Thread(target=ask)
    thread.start()
    assert run_worker(url, "toy") == 0
    thread.join()
    assert [row["state"] for row in rows(tables.trials)] == ["paused"]


def test_a_study_does_not_end_while_a_promotion_comes_due(launch, url, audit, monkeypatch):
    launch(stop={"candidates": 2}, rungs={"tokens": RUNGS[:2], "eta": 2})
    one, other = (Worker(url, "toy", "study-artifacts", name) for name in ("one", "other"))
    held = [other.choose()]
    look = one.choose

    def choose():
        found = look()
        if not isinstance(found, Claim) and held:
            other.work(held.pop())  # the moment after the other one saw nothing to do
        return found

    monkeypatch.setattr(one, "choose", choose)
    assert one.run() == 2
    assert by_rung(audit(failed=0)) == [2, 1, 0]
    one.ledger.close()
    other.ledger.close()


def test_a_silent_trial_keeps_its_lease(launch, url, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("PATHFRONT_LEASE_SECONDS", "0.5")
    launch(stop={"candidates": 1}, trainer="toy_trainers:patient")
    (tmp_path / "wait").touch()
    timer = threading.Timer(2.0, (tmp_path / "wait").unlink)
    timer.start()
    results = []
    other = threading.Thread(target=lambda: results.append(run_worker(url, "toy", name="other")))
    other.start()
    results.append(run_worker(url, "toy", name="one"))
    other.join()
    assert sorted(results) == [0, 1]
    assert [row["attempt"] for row in rows(tables.trials)] == [1]


def test_what_is_missing_is_said(launch, url):
    launch()
    with pytest.raises(NotFoundError, match=r"no study 'toi' in .*did you mean 'toy'"):
        run_worker(url, "toi")
    with pytest.raises(NotFoundError, match="no study database"):
        run_worker("sqlite:///nowhere.db", "toy")
    assert not Path("nowhere.db").exists()


@pytest.mark.parametrize(
    "name", ["toy_trainers", "no_module:run", "toy_trainers:no", "toy_trainers:not_a_function"]
)
def test_a_trainer_that_is_none_is_said_in_one_line(launch, name):
    with pytest.raises(StudyFileError, match=r"^trainer: .*package\.module:function") as caught:
        load_trainer(launch(trainer=name))
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_refused(launch, url):
    launch()
    engine = create_engine(url)
    with engine.begin() as connection:
        config = dict(connection.execute(tables.studies.select()).mappings().one()["config"])
        connection.execute(update(tables.studies).values(config={**config, "schema_version": 9}))
    engine.dispose()
    with pytest.raises(StorageError, match="schema version 1, and 'toy' has 9"):
        run_worker(url, "toy")


ALL = {"sampler": "stratified", "promotion": "all", "repeats": 0.25, "seed": 3}


def seeds_at_rungs(ledger):
    """Seed -> candidates that are done at each rung."""
    done = [row for row in ledger if row["state"] == "done"]
    return {
        seed: [
            {row["candidate"] for row in done if (row["seed"], row["rung"]) == (seed, r)} for r in range(3)
        ]
        for seed in {row["seed"] for row in done}
    }


@pytest.mark.slow
def test_promotion_of_all_trains_every_candidate_to_the_top_and_repeats_a_share(launch, url, audit, rows):
    launch(search=ALL, stop={"candidates": 8})
    assert run_worker(url, "toy") == 8 * 3 + 2 * 3
    ledger = audit(failed=0)
    found = seeds_at_rungs(ledger)
    everyone = {row["candidate"] for row in rows(tables.candidates)}
    assert found[3] == [everyone] * 3
    again = {row["candidate"] for row in rows(tables.candidates) if row["ordinal"] in (3, 7)}
    assert found[4] == [again] * 3
    for row in ledger:  # the other seed trains on from its own trunks
        start = RUNGS[row["rung"] - 1] if row["rung"] else 0
        assert row["epochs"] == {"start": start, "from": start}
    reader = Reader(url)
    status = reader.status("toy")
    assert [(rung.done, rung.expected) for rung in status.rungs] == [(10, 10)] * 3
    assert status.finished
    both = {row.candidate: row.confirmed for row in reader.finalists("toy")}
    assert {name for name, confirmed in both.items() if confirmed} == again
    assert all(row.confirmed == (row.candidate in again) for row in reader.front("toy"))
    for row in reader.finalists("toy"):
        detail = reader.trial("toy", row.number)
        assert (detail.seeds, detail.mean_score) == (1 + row.confirmed, pytest.approx(row.score))
        assert detail.mean_stderr == pytest.approx(row.stderr)


def test_a_study_with_repeats_resumes_and_does_not_end_while_one_runs(launch, url, audit):
    launch(search=ALL | {"repeats": 1}, stop={"candidates": 1})
    first = Worker(url, "toy", "study-artifacts", "first")
    while (claim := first.choose()).seed == 3 or claim.rung < 1:
        first.work(claim)
    assert (claim.seed, claim.rung) == (4, 1)
    other = Worker(url, "toy", "study-artifacts", "other")
    seen = other.choose()
    assert not isinstance(seen, Claim) or seen.seed == 3
    while isinstance(seen, Claim):
        other.work(seen)
        seen = other.choose()
    assert seen.under_way == 1  # the trial of the other seed, so the study goes on
    other.close()
    first.ledger.pause(claim)
    first.close()
    assert run_worker(url, "toy") == 2
    assert [len(of) for of in seeds_at_rungs(audit())[4]] == [1, 1, 1]


def test_compute_of_repeats_counts_towards_the_stop_rule(launch, url, audit):
    launch(search=ALL | {"repeats": 1}, stop={"training_flops": 6e9})  # a toy's trial spends 1e9
    assert run_worker(url, "toy") == 6
    audit(failed=0)


@pytest.mark.slow
def test_a_killed_worker_leaves_a_study_with_repeats_that_resumes(launch, url, audit, rows):
    launch(search=ALL, stop={"candidates": 8}, trainer="toy_trainers:climb_slowly")
    child = os.fork()
    if child == 0:
        try:
            run_worker(url, "toy")
        finally:
            os._exit(0)
    deadline = time.monotonic() + 60
    while not [row for row in rows(tables.trials) if row["seed"] == 4]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            update(tables.trials).values(lease_until=0).where(tables.trials.c.state == "running")
        )
    engine.dispose()
    run_worker(url, "toy")
    found = seeds_at_rungs(audit())
    assert [len(of) for of in found[3]] == [8, 8, 8]
    assert [len(of) for of in found[4]] == [2, 2, 2]
