"""Confirmations: which are wanted, that they are ordinary trials, and what a study says afterwards."""

import subprocess
import sys
from collections import Counter

import pytest
from sqlalchemy import create_engine, update
from test_kills import die, let_go
from toy_trainers import RUNGS, toy_config

from search.choose.propose import Proposal
from search.confirming import reopen
from search.database import tables
from search.maintenance import delete_all, plan_deletion, retry
from search.read.results import Reader
from search.store.environment import Environment
from search.store.studies import create_or_resume
from search.worker import Worker, run_worker
from space.candidate import CandidateConfig
from space.confirm import Confirm
from space.errors import NotFoundError, StudyFileError
from space.mixture import TaskMixture

TOP = len(RUNGS) - 1
HERE = Environment(python="3", packages={}, data={}, code={})
LUCK = {"trainer": "toy_trainers:climb_with_luck"}


@pytest.fixture
def finished(launch, url, once):
    """A finished study whose scores hold luck."""

    def study():
        launch(**LUCK)
        assert run_worker(url, "toy") == 21

    once("finished-with-luck", study)
    return toy_config(**LUCK)


@pytest.fixture
def small(launch, url, once):
    """A finished study of four candidates whose scores hold luck."""

    def study():
        launch(stop={"candidates": 4}, **LUCK)
        run_worker(url, "toy")

    once("small-with-luck", study)


def confirm(url, top=2, seeds=2, uniform=True, numbers=()):
    return reopen(url, "toy", Confirm(top=top, seeds=seeds, uniform=uniform), numbers, HERE)


def report(rows):
    return rows(tables.trials, tables.trials.c.split == "report")


def test_the_best_candidates_are_confirmed_beside_the_uniform_mixture(finished, url, rows, audit, events):
    reader = Reader(url)
    before, status = reader.front("toy"), reader.status("toy")
    at_top = [row for row in before if row.rung == TOP]
    assert confirm(url, top=1).left == 4
    assert run_worker(url, "toy") == 4
    audit(failed=0)
    found = report(rows)
    assert {(row["rung"], row["seed"]) for row in found} == {(TOP, 1_000), (TOP, 2_000)}
    assert all(row["epochs"] == {"start": 0, "from": 0, "report": 1.0} for row in found)  # in one go
    best = at_top[0].candidate
    (control,) = {row["candidate"] for row in found} - {best}
    (uniform,) = rows(tables.candidates, tables.candidates.c.candidate == control)
    (searched,) = rows(tables.candidates, tables.candidates.c.candidate == best)
    assert uniform["origin"] == f"control; uniform mixture of {best}"
    assert uniform["ordinal"] == -1
    tasks = reader.suite("toy").tasks
    assert uniform["config"] == {
        **searched["config"],
        "mixture": TaskMixture.uniform(tasks).model_dump(mode="json"),
    }
    after = reader.status("toy")
    assert after.finished
    assert after.candidates == status.candidates  # the control takes no place
    assert after.training_flops > status.training_flops
    assert [rung.done for rung in after.rungs] == [rung.done for rung in status.rungs]
    assert events()[-1] == "confirmed"
    stays = [row for row in reader.front("toy") if row.split == "select"]
    assert {row.trial for row in stays} <= {row.trial for row in before}


def test_the_front_holds_confirmed_means(finished, url, rows):
    reader = Reader(url)
    (before, *_) = [row for row in reader.front("toy") if row.rung == TOP]
    confirm(url, top=1, uniform=False)
    run_worker(url, "toy")
    (row,) = [row for row in reader.front("toy") if row.split == "report"]
    scores = [trial["score"] for trial in report(rows)]
    assert row.trial == before.trial
    assert (row.confirmed, row.seeds) == (True, 2)
    assert row.score == pytest.approx(sum(scores) / 2)
    assert row.selected_score == before.score
    low, high = row.interval
    assert (low + high) / 2 == pytest.approx(row.score)
    assert high - low >= 2 * 1.96 * row.score_stderr
    tasks = rows(tables.task_scores, tables.task_scores.c.seed >= 1_000)
    of = next(iter(row.tasks))
    mean = sum(each["fraction"] for each in tasks if each["task"] == of) / 2
    assert row.tasks[of] == pytest.approx(mean)
    detail = reader.trial("toy", row.trial)
    assert detail.row.score == before.score  # the trial is what it was
    assert detail.mean_score == before.score
    assert (detail.confirmed.score, detail.confirmed.done) == (row.score, 2)
    status = reader.status("toy")
    assert status.best.score == row.score
    assert status.confirmation.best_before == before.trial
    assert status.confirmation.optimism == pytest.approx(before.score - row.score)


def test_more_seeds_and_more_candidates_add_what_is_missing(finished, url, rows):
    confirm(url, top=1, uniform=False)
    run_worker(url, "toy")
    first = {(row["candidate"], row["seed"]) for row in report(rows)}
    assert confirm(url, top=1, uniform=False).left == 0
    assert Reader(url).status("toy").finished
    assert confirm(url, top=2, seeds=3, uniform=False).left == 4
    run_worker(url, "toy")
    second = {(row["candidate"], row["seed"]) for row in report(rows)}
    assert first < second
    assert Counter(name for name, _ in second) == dict.fromkeys({name for name, _ in second}, 3)
    assert {row["attempt"] for row in report(rows)} == {1}


def test_given_trials_are_confirmed(finished, url, rows):
    (low, *_) = [row for row in rows(tables.trials) if row["rung"] == 0]
    confirm(url, uniform=False, numbers=[low["number"]])
    run_worker(url, "toy")
    assert {(row["candidate"], row["rung"]) for row in report(rows)} == {(low["candidate"], TOP)}
    found = [row for row in Reader(url).front("toy") if row.candidate == low["candidate"]]
    assert all(row.rung == TOP for row in found)


def test_a_stop_at_the_end_of_a_study_plans_once(launch, url, rows, audit, events):
    launch(stop={"candidates": 4, "confirm": {"top": 1, "seeds": 2}}, **LUCK)
    one, other = (Worker(url, "toy", "study-artifacts", name) for name in ("one", "other"))
    while not isinstance(found := one.choose(), tuple):
        one.work(found)
    assert one._more_to_confirm() is other._more_to_confirm() is True  # both saw the end at once
    assert len(rows(tables.confirmations)) == 4
    assert events().count("confirming") == 1
    assert one.run() == 4 + 7
    assert other.run() == 0
    for worker in (one, other):
        worker.close()
    audit(failed=0)
    assert Counter(row["split"] for row in rows(tables.trials)) == {"select": 7, "report": 4}
    assert events().count("finished") == 1
    assert events()[-1] == "finished"


@pytest.mark.slow
def test_four_workers_end_a_study_together(launch, url, rows, audit, events):
    launch(stop={"candidates": 4, "confirm": {"top": 2, "seeds": 2}}, **LUCK)
    command = [sys.executable, "-m", "search.cli", "worker", "toy", "--storage", url]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(4)]
    said = [worker.communicate()[0].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, said
    audit(failed=0)
    wanted = {(row["candidate"], row["seed"]) for row in rows(tables.confirmations)}
    assert {(row["candidate"], row["seed"]) for row in report(rows)} == wanted
    assert events().count("finished") == 1


@pytest.mark.slow
def test_a_study_proposes_the_same_after_a_confirmation(small, launch, url, rows):
    """What a resumed study proposes does not depend on confirmations, though the control has a row."""

    def next_proposals():
        worker = Worker(url, "toy", "study-artifacts", "look")
        view = worker.view()
        found = worker.proposer.propose(view)
        worker.close()
        assert isinstance(found, Proposal)
        return len(view.candidates), found.candidate.id, found.origin

    launch(stop={"candidates": 8}, **LUCK)
    before = next_proposals()
    confirm(url)
    run_worker(url, "toy")
    assert next_proposals() == before
    launch(stop={"candidates": 8}, **LUCK)
    run_worker(url, "toy")
    ordinals = sorted(row["ordinal"] for row in rows(tables.candidates))
    assert ordinals == [-1, *range(8)]


def test_a_control_that_the_search_proposes_later_becomes_its_candidate(finished, url, rows):
    confirm(url, top=1)
    run_worker(url, "toy")
    (control,) = rows(tables.candidates, tables.candidates.c.ordinal < 0)
    worker = Worker(url, "toy", "study-artifacts", "one")
    row = {name: value for name, value in control.items() if name not in ("study", "created_at")}
    trial = worker.new_trial(CandidateConfig.model_validate(control["config"]), 0, 0)
    claim = worker.ledger.claim(trial, {**row, "ordinal": 12, "origin": "stratified"})
    assert claim is not None
    worker.work(claim)
    assert len(worker.view().candidates) == 13
    worker.close()
    (now,) = rows(tables.candidates, tables.candidates.c.candidate == control["candidate"])
    assert (now["ordinal"], now["origin"]) == (12, "stratified")


@pytest.mark.slow
def test_limits_do_not_hold_for_confirmations(launch, url, rows):
    launch(stop={"training_flops": 12e9}, **LUCK)
    run_worker(url, "toy")
    searched = len(rows(tables.trials))
    top = {row["candidate"] for row in rows(tables.trials, tables.trials.c.rung == TOP)}
    assert top
    confirm(url, seeds=4, uniform=False)
    run_worker(url, "toy")
    assert len(rows(tables.trials)) == searched + 4 * min(2, len({*top}))
    launch(stop={"training_flops": 12e9}, **LUCK)
    assert run_worker(url, "toy") == 0  # confirmations leave the budget as it was


@pytest.mark.slow
def test_a_study_that_was_interrupted_is_confirmed_and_its_search_waits(launch, url, rows):
    launch(**LUCK)
    worker = Worker(url, "toy", "study-artifacts", "one")
    while (claim := worker.choose()).rung < TOP:
        worker.work(claim)
    worker.work(claim)
    claim = worker.choose()
    worker.ledger.pause(claim)
    worker.register.leave()
    worker.close()
    searched = len(rows(tables.trials))
    confirm(url, top=1, seeds=1, uniform=False)
    assert run_worker(url, "toy") == 1
    assert len(rows(tables.trials)) == searched + 1
    assert [row["state"] for row in rows(tables.trials) if row["state"] == "paused"] == ["paused"]
    (study,) = rows(tables.studies)
    assert (study["finished_at"], study["confirming"]) == (None, False)
    launch(**LUCK)
    run_worker(url, "toy")
    assert Counter(row["split"] for row in rows(tables.trials)) == {"select": 21, "report": 1}


@pytest.mark.parametrize(
    "step",
    ["trunk noted", *(pytest.param(s, marks=pytest.mark.slow) for s in ("claimed", "scored", "settled"))],
)
def test_a_confirmation_survives_a_kill(small, url, audit, rows, step):
    confirm(url, top=1, uniform=False)
    die(url, step)
    let_go(url)
    assert confirm(url, top=1, uniform=False).left == (1 if step in ("scored", "settled") else 2)
    run_worker(url, "toy")
    audit()
    found = report(rows)
    assert [row["state"] for row in found] == ["done", "done"]
    assert {row["epochs"]["from"] for row in found} == {0}
    starts = {row["attempt"]: row["epochs"]["start"] for row in found}
    assert starts.get(2, 0) == (RUNGS[TOP] // 3 if step == "trunk noted" else 0)


def test_a_launch_finishes_what_is_wanted_and_searches_no_more(finished, url, rows):
    confirm(url, top=1)
    create_or_resume(url, finished)
    (study,) = rows(tables.studies)
    assert study["finished_at"] is not None
    assert not Reader(url).status("toy").finished
    assert run_worker(url, "toy") == 4
    assert Reader(url).status("toy").finished


def test_a_failed_confirmation_is_told_and_tried_again(launch, url, rows, tmp_path):
    launch(stop={"candidates": 4}, trainer="toy_trainers:broken")
    run_worker(url, "toy")
    dense = next(row for row in Reader(url).trials("toy") if not row.description.sparse)
    (tmp_path / "broken").touch()
    confirm(url, uniform=False, seeds=1, numbers=[dense.number])
    run_worker(url, "toy")
    status = Reader(url).status("toy")
    assert (status.confirmation.done, status.confirmation.failed) == (0, 1)
    assert status.confirmation.candidates[0].score is None
    assert all(row.split == "select" for row in Reader(url).front("toy"))
    (tmp_path / "broken").unlink()
    retry(url, "toy")
    (study,) = rows(tables.studies)
    assert study["finished_at"] is not None  # the search has ended
    assert not Reader(url).status("toy").finished
    assert confirm(url, uniform=False, seeds=1, numbers=[dense.number]).left == 1
    run_worker(url, "toy")
    assert Reader(url).status("toy").confirmation.done == 1
    assert Reader(url).status("toy").finished


def test_a_fixed_or_uniform_mixture_has_no_control(launch, url, rows):
    launch(stop={"candidates": 4}, space={"mixture": {"fixed": True}}, **LUCK)
    run_worker(url, "toy")
    confirm(url, top=1)
    assert {row["control_of"] for row in rows(tables.confirmations)} == {None}


@pytest.mark.slow
def test_weights_of_confirmed_candidates_are_kept(launch, url, rows):
    launch(stop={"candidates": 4}, keep="front", **LUCK)
    run_worker(url, "toy")
    confirm(url, top=1)
    run_worker(url, "toy")
    kept = {
        (row["candidate"], row["seed"]) for row in rows(tables.checkpoints, tables.checkpoints.c.rung == TOP)
    }
    wanted = {(row["candidate"], row["seed"]) for row in rows(tables.confirmations)}
    assert wanted <= kept
    assert not rows(tables.checkpoints, tables.checkpoints.c.kind == "trunk", tables.checkpoints.c.seed > 0)


def test_a_study_with_confirmations_is_deleted_whole(finished, url, rows, tmp_path):
    confirm(url, top=1)
    run_worker(url, "toy")
    delete_all(url, plan_deletion(url, "toy", str(tmp_path / "study-artifacts")))
    for name in ("confirmations", "trials", "candidates", "studies"):
        assert rows(getattr(tables, name)) == []


def changed(url, table, **values):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(update(table).values(values))
    engine.dispose()


class TestRefused:
    """Bad input: one line, and nothing is changed."""

    def test_a_study_that_still_runs(self, finished, url, rows):
        worker = Worker(url, "toy", "study-artifacts", "alive")
        before = rows(tables.studies)
        with pytest.raises(StudyFileError, match=r"'toy' still runs \(1 worker: alive"):
            confirm(url)
        assert rows(tables.confirmations) == []
        assert rows(tables.studies) == before
        worker.register.leave()
        worker.close()
        assert confirm(url).left

    def test_a_running_trial_whose_worker_is_unknown(self, finished, url, rows):
        changed(url, tables.trials, state="running", lease_until=tables.clock() + 60)
        with pytest.raises((StudyFileError, NotFoundError)) as caught:
            confirm(url)
        assert "\n" not in str(caught.value)
        assert rows(tables.confirmations) == []

    def test_no_candidate_at_the_top_rung(self, launch, url, rows):
        launch(stop={"candidates": 1}, **LUCK)
        run_worker(url, "toy")
        with pytest.raises(NotFoundError, match=r"top rung \(12,000 tokens\), so there is none to confirm"):
            confirm(url)
        assert rows(tables.confirmations) == []

    def test_no_such_trial(self, finished, url, rows):
        with pytest.raises(NotFoundError, match="no trial 999"):
            confirm(url, numbers=[0, 999])
        assert rows(tables.confirmations) == []

    def test_a_trial_without_a_score(self, launch, url, rows):
        launch(stop={"candidates": 6}, trainer="toy_trainers:diverge")
        run_worker(url, "toy")
        failed = next(row for row in rows(tables.trials) if row["state"] == "failed")
        with pytest.raises(StudyFileError, match="a candidate with a score is confirmed"):
            confirm(url, numbers=[failed["number"]])

    def test_other_data(self, finished, url, rows):
        known = HERE.model_copy(update={"data": {"docs": "1"}})
        changed(url, tables.studies, environment=known.model_dump(mode="json"))
        other = HERE.model_copy(update={"data": {"docs": "2"}})
        with pytest.raises(StudyFileError, match="--accept-changes"):
            reopen(url, "toy", Confirm(), (), other)
        assert rows(tables.confirmations) == []
        assert reopen(url, "toy", Confirm(), (), other, accept_changes=True).left


def test_a_stopped_confirmation_goes_on(launch, url, rows, tmp_path, monkeypatch):
    launch(stop={"candidates": 2}, rungs={"tokens": [3_000, 6_000], "eta": 2}, trainer="toy_trainers:patient")
    run_worker(url, "toy")
    confirm(url, top=1, seeds=1, uniform=False)
    (tmp_path / "wait").touch()
    worker = Worker(url, "toy", "study-artifacts", "one")
    with monkeypatch.context() as patched:
        patched.setattr(Worker, "asked_to_stop", True)
        assert worker.choose().under_way == 0  # nothing begins
    claim = worker.choose()
    worker.ledger.pause(claim)
    worker.register.leave()
    worker.close()
    (tmp_path / "wait").unlink()
    assert confirm(url, top=1, seeds=1, uniform=False).left == 1
    assert run_worker(url, "toy") == 1
    assert [row["state"] for row in report(rows)] == ["done"]
