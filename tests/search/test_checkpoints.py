"""Checkpoints of a study: which stay, which are dropped, and what a worker's death leaves."""

import subprocess
from collections import Counter

import pytest
from sqlalchemy import create_engine
from test_artifacts import mounted
from toy_trainers import RUNGS, climb, floor

from search.database import tables
from search.export.write import export
from search.read.results import Reader
from search.store.leases import expire_leases
from search.worker import Worker, run_worker
from space.errors import CheckpointError, Diverged, LeaseLost, StorageError, StorageFull

SMALL = {"tokens": RUNGS[:2], "eta": 2}


def low(candidate, suite, budget, resume, report):
    """Climbs, and scores at its floor."""
    climb(candidate, suite, budget, resume, report)
    return floor(candidate, suite, budget, resume, report)


def diverge_above(candidate, suite, budget, resume, report):
    """Diverges on its way to rung 1."""
    if budget.rung:
        raise Diverged("training diverged: the loss is nan")
    return climb(candidate, suite, budget, resume, report)


def crash_above(candidate, suite, budget, resume, report):
    """Dies on its way to rung 1, after a checkpoint."""
    if budget.rung:
        report.checkpoint(lambda path: path.write_text("4000"), 4_000, "trunk")
        raise RuntimeError("out of luck")
    return climb(candidate, suite, budget, resume, report)


@pytest.fixture
def kept(rows):
    """How many rows there are of each kind and rung."""
    return lambda: Counter((row["kind"], row["rung"]) for row in rows(tables.checkpoints))


@pytest.fixture
def whole(rows, tmp_path):
    """Check that files and rows are the same."""

    def check():
        home = tmp_path / "study-artifacts"
        found = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
        noted = {row["uri"] for row in rows(tables.checkpoints)}
        assert {name for name in found if not name.endswith("study.json")} == noted

    return check


def claimed(url, rung):
    """A worker that has claimed the first trial of a rung, and the claim."""
    worker = Worker(url, "toy", "study-artifacts", "first")
    while (claim := worker.choose()).rung < rung:
        worker.work(claim)
    return worker, claim


def test_what_no_promotion_needs_is_dropped(launch, url, kept, whole):
    launch(stop={"candidates": 8})
    run_worker(url, "toy")
    assert kept() == {
        ("decayed", 0): 8,
        ("decayed", 1): 4,
        ("decayed", 2): 2,
        ("trunk", 0): 4,
        ("trunk", 1): 2,
    }
    whole()


def test_candidates_at_their_floor_leave_no_trunk(launch, url, kept, whole):
    launch(stop={"candidates": 3}, trainer="test_checkpoints:low")
    run_worker(url, "toy")
    assert kept() == {("decayed", 0): 3}
    whole()


def test_candidates_at_their_floor_train_on_from_their_trunk_where_all_are_promoted(launch, url, rows, whole):
    launch(stop={"candidates": 2}, search={"promotion": "all"}, trainer="test_checkpoints:low")
    run_worker(url, "toy")
    trials = rows(tables.trials)
    assert sorted(row["rung"] for row in trials) == [0, 0, 1, 1, 2, 2]
    made = [row for row in rows(tables.checkpoints) if row["kind"] == "trunk"]
    assert made == []  # none is left, and none was lost before its candidate went on
    curves = Counter((row["candidate"], row["rung"]) for row in rows(tables.curves))
    assert {count for (_, rung), count in curves.items() if rung} == {2}  # a third of it lies below
    whole()


def test_a_candidate_that_diverged_leaves_no_trunk(launch, url, kept, whole):
    launch(stop={"candidates": 2}, rungs=SMALL, trainer="test_checkpoints:diverge_above")
    run_worker(url, "toy")
    assert kept() == {("decayed", 0): 2, ("trunk", 0): 1}
    whole()


def test_a_candidate_that_crashed_can_be_retried_from_its_newest_trunk(launch, url, kept, whole, rows):
    launch(stop={"candidates": 2}, rungs=SMALL, trainer="test_checkpoints:crash_above")
    run_worker(url, "toy")
    assert kept() == {("decayed", 0): 2, ("trunk", 0): 1, ("trunk", 1): 1}
    whole()


def test_a_damaged_newest_trunk_is_survived_while_its_trial_runs(launch, url, rows, audit, tmp_path):
    launch(stop={"candidates": 1}, rungs=SMALL)
    worker, claim = claimed(url, 0)
    for tokens in (500, 1_000, 1_500):
        text = str(tokens)
        worker.checkpoints.save(claim, lambda path, text=text: path.write_text(text), tokens, "trunk")
    noted = sorted(rows(tables.checkpoints), key=lambda row: row["tokens"])
    assert [row["tokens"] for row in noted] == [1_000, 1_500]
    (tmp_path / "study-artifacts" / noted[1]["uri"]).write_text("9999")
    worker.work(claim)
    worker.ledger.close()
    (done,) = audit(failed=0)
    assert done["epochs"]["start"] == 1_000
    assert [row["kind"] for row in rows(tables.events)].count("damaged") == 1


def test_a_trunk_that_its_trainer_refuses_is_struck_out_only_if_it_is_there(launch, url, rows, tmp_path):
    launch(stop={"candidates": 1}, rungs=SMALL)
    worker, claim = claimed(url, 0)
    worker.checkpoints.save(claim, lambda path: path.write_text("500"), 500, "trunk")
    (noted,) = rows(tables.checkpoints)
    path = tmp_path / "study-artifacts" / noted["uri"]
    path.rename(tmp_path / "away")
    with pytest.raises(StorageError, match="is missing"):
        worker.checkpoints.refuse_latest(claim, "it cannot be read")
    assert rows(tables.checkpoints) == [noted]
    (tmp_path / "away").rename(path)
    worker.checkpoints.refuse_latest(claim, "it is another run's")
    assert rows(tables.checkpoints) == []
    (event,) = rows(tables.events, tables.events.c.kind == "damaged")
    assert event["text"].startswith("it is another run's")
    worker.ledger.close()


def test_the_rung_below_stays_until_the_climb_is_done(launch, url, kept, whole):
    launch(stop={"candidates": 2}, rungs=SMALL)
    worker, claim = claimed(url, 1)
    worker.checkpoints.save(claim, lambda path: path.write_text("4000"), 4_000, "trunk")
    worker.checkpoints.settle(claim)
    assert kept()["trunk", 0] == 2
    assert kept()["trunk", 1] == 1
    worker.work(claim)
    worker.ledger.close()
    assert kept() == {("decayed", 0): 2, ("decayed", 1): 1, ("trunk", 0): 1}
    whole()


def test_a_trunk_that_another_worker_dropped_is_no_missing_one(launch, url, tmp_path, monkeypatch):
    """A worker that settles drops a spare trunk while the next one looks for the newest that is whole."""
    launch(stop={"candidates": 2}, rungs=SMALL)
    worker, claim = claimed(url, 1)
    worker.checkpoints.save(claim, lambda path: path.write_text("4000"), 4_000, "trunk")
    newest, older = worker.checkpoints._trunks(claim)
    other = Worker(url, "toy", "study-artifacts", "other")
    look = worker.files.fetch

    def fetch(uri, sha256, folder):
        if uri == newest.uri:
            with worker.ledger.write() as connection:
                connection.execute(tables.checkpoints.delete().where(tables.checkpoints.c.uri == newest.uri))
            other.files.remove([newest.uri])
        return look(uri, sha256, folder)

    monkeypatch.setattr(worker.files, "fetch", fetch)
    trunk = worker.checkpoints.latest_trunk(claim, tmp_path)
    assert (trunk.rung, trunk.tokens) == (0, older.tokens)
    for each in (worker, other):
        each.ledger.close()


def test_leftovers_of_killed_workers_are_swept(launch, url, whole, tmp_path):
    launch(stop={"candidates": 2}, rungs=SMALL)
    worker, claim = claimed(url, 0)
    folder = tmp_path / "study-artifacts" / worker.files.name / claim.candidate / "rung0-seed0"
    (folder / ".writing-x").mkdir(parents=True)
    (folder / ".writing-x" / "trunk-500-1.ckpt").write_text("half")
    (folder / "trunk-500-1.ckpt").write_text("without a row")
    worker.work(claim)
    assert not (folder / ".writing-x").exists()
    whole()
    (folder / "trunk-700-1.ckpt").write_text("without a row")  # as a death between row and file leaves it
    worker.run()
    worker.ledger.close()
    whole()


def test_a_trial_that_runs_is_not_swept(launch, url, rows, tmp_path):
    launch(stop={"candidates": 2}, rungs=SMALL)
    one, other = (Worker(url, "toy", "study-artifacts", name) for name in ("one", "other"))
    claim = one.choose()

    def save(path):
        path.write_text("1000")
        other.work(other.choose())  # ends, settles and sweeps meanwhile
        other.checkpoints.conclude()

    one.checkpoints.save(claim, save, 1_000, "trunk")
    (trunk,) = rows(tables.checkpoints, tables.checkpoints.c.candidate == claim.candidate)
    assert (tmp_path / "study-artifacts" / trunk["uri"]).read_text() == "1000"
    for worker in (one, other):
        worker.ledger.close()


def test_a_worker_that_lost_its_trial_hears_that_and_not_of_its_files(launch, url):
    launch(stop={"candidates": 1}, rungs=SMALL)
    one, other = (Worker(url, "toy", "study-artifacts", name) for name in ("one", "other"))
    claim = one.choose()
    engine = create_engine(url)
    expire_leases(engine, "toy", "one")
    engine.dispose()

    def save(path):
        path.write_text("1000")
        other.run()  # takes the trial over, ends it, and sweeps the draft away

    with pytest.raises(LeaseLost, match="has taken trial"):
        one.checkpoints.save(claim, save, 1_000, "trunk")
    for worker in (one, other):
        worker.ledger.close()


def exportable(url, tmp_path):
    """Numbers of the done trials that can be exported, and of those on the front."""
    reader = Reader(url)
    able, refusals = set(), []
    for row in reader.trials("toy"):
        try:
            export(reader, "toy", tmp_path / f"trial{row.number}", lambda _: b"", trial=row.number)
            able.add(row.number)
        except CheckpointError as error:
            refusals.append(str(error))
    assert all("since the study has keep: front" in text and "\n" not in text for text in refusals)
    front = {row.trial for row in reader.front("toy")}
    reader.close()
    return able, front


def test_any_trial_can_be_exported(launch, url, tmp_path):
    launch(stop={"candidates": 6})
    run_worker(url, "toy")
    able, front = exportable(url, tmp_path)
    assert front < able
    assert len(able) == 6 + 3 + 1


def test_only_the_front_is_kept_where_a_study_says_so(launch, url, tmp_path, kept, whole):
    launch(stop={"candidates": 8}, keep="front")
    run_worker(url, "toy")
    able, front = exportable(url, tmp_path)
    assert able == front
    assert sum(count for (kind, _), count in kept().items() if kind == "decayed") == len(front)
    whole()


@pytest.mark.slow
def test_a_study_that_kept_all_is_pruned_when_it_goes_on(launch, url, tmp_path, kept, whole):
    launch(stop={"candidates": 8}, keep="all")
    run_worker(url, "toy")
    before = kept()
    launch(stop={"candidates": 9}, keep="front")
    worker = Worker(url, "toy", "study-artifacts", "first")
    worker.work(worker.choose())
    worker.ledger.close()
    assert kept()["decayed", 0] < before["decayed", 0]
    able, front = exportable(url, tmp_path)
    assert front <= able
    whole()


def test_a_full_disk_stops_a_worker_and_costs_no_checkpoint(launch, url, rows, audit, tmp_path):
    with mounted(tmp_path / "small", "size=1m") as small:
        launch(stop={"candidates": 1})
        worker = Worker(url, "toy", str(small), "first")
        claim = worker.choose()
        worker.checkpoints.save(claim, lambda path: path.write_text("500"), 500, "trunk")
        with pytest.raises(StorageFull, match="no space left"):
            worker.checkpoints.save(claim, lambda path: path.write_bytes(bytes(2_000_000)), 700, "trunk")
        assert [row["tokens"] for row in rows(tables.checkpoints)] == [500]
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={small / 'other'}", "bs=64k"], capture_output=True, check=False
        )
        with pytest.raises(StorageFull):
            worker.work(claim)
        assert [row["tokens"] for row in rows(tables.checkpoints)] == [500]
        assert not list(small.rglob(".writing-*"))
        (small / "other").unlink()
        assert [(row["state"], row["crashes"]) for row in rows(tables.trials)] == [("paused", 0)]
        worker.run()
        worker.ledger.close()
        assert [row["epochs"]["start"] for row in audit() if row["rung"] == 0] == [500]
