"""A person's candidate in a study that runs, waits or is finished: trained first, once, whatever dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from factories import suite
from sqlalchemy import create_engine, text

from search.choose.enqueue import enqueue
from search.choose.next_trial import Promotions, next_trial
from search.choose.promote import Promotion
from search.choose.snapshot import Candidate, Snapshot, take_snapshot
from search.database import tables
from search.database.storage import open_writer
from search.store.leases import expire_leases
from search.store.studies import finish_study, load_study
from search.worker import Worker, run_worker
from space.study import Stop

MORTAL = Path(__file__).with_name("mortal_worker.py")
OWN = "{depth: 2, width: 64, experts: 8, top_k: 2, expert_ratio: 1, learning_rate: 2.0e-3}"
WEIGHTS = ", ".join(f"{task}: 1" for task in suite().tasks)
WHOLE = f"{OWN[:-1]}, mixture: {{{WEIGHTS}}}}}"
SMALL = {"stop": {"candidates": 2}, "rungs": {"tokens": [3_000, 6_000], "eta": 2}}


@pytest.fixture
def toy(launch, url):
    """A small study without a candidate."""
    launch(**SMALL)
    return url


@pytest.fixture
def ask(pathfront, url):
    """Runs `enqueue` on the study -> (exit code, stdout, stderr)."""
    return lambda *arguments: pathfront("enqueue", "toy", *arguments, "--storage", url)


def trained(rows):
    """Candidate -> rungs that it was trained to, in the order of their starts."""
    found = {}
    for row in sorted(rows(tables.trials), key=lambda row: row["started_at"]):
        found.setdefault(row["candidate"], []).append(row["rung"])
    return found


def origins(rows):
    return [row["origin"] for row in sorted(rows(tables.candidates), key=lambda row: row["ordinal"])]


def test_a_candidate_that_waits_comes_before_all_others():
    known = [Candidate(name, n, {}, 1e5, True) for n, name in enumerate("ab")]
    view = Snapshot(tuple(known), (), 0.0)
    assert view.waiting == ("a", "b")

    def never(*_, **__):
        raise AssertionError("nothing is proposed or promoted before")

    stop = Stop(candidates=1)  # reached, and the candidates wait all the same
    neither = Promotions(never, never)
    assert next_trial(view, stop, never, neither) == Promotion("a", 0)
    none = Promotions(lambda *_, **__: None)
    assert next_trial(view, Stop(training_flops=1e-9, candidates=9), never, none) is not None
    over = Snapshot(tuple(known), (), launched_seconds=100.0)
    assert next_trial(over, Stop(wall_minutes=1), never, neither) is None


def test_it_is_trained_first_and_counts(toy, ask, rows, audit, url, pathfront):
    code, out, _ = ask(OWN)
    assert code == 0
    assert "waits for its first trial" in out
    code, out, said = pathfront("status", "toy", "--storage", url)
    assert code == 0, said
    assert "1 enqueued" in out
    run_worker(url, "toy")
    audit(failed=0)
    assert [origin.partition(";")[0] for origin in origins(rows)] == ["enqueued", "control"]
    (own,) = [row for row in rows(tables.candidates) if row["ordinal"] == 0]
    assert next(iter(trained(rows))) == own["candidate"]
    assert own["params"]["experts"] == 8
    kinds = [row["kind"] for row in rows(tables.events) if row["candidate"] == own["candidate"]]
    assert kinds[0] == "begun"


def test_an_exported_configuration_is_enqueued_and_its_copy_changes_nothing(toy, ask, rows, url, tmp_path):
    run_worker(url, "toy")
    known = rows(tables.candidates)[0]
    text_of = yaml.safe_dump({"candidate": known["config"]})
    (tmp_path / "config.yaml").write_text(text_of)
    before = rows(tables.candidates), rows(tables.events), rows(tables.studies)
    code, out, _ = ask("config.yaml")
    assert code == 0
    assert "has this candidate already" in out
    assert "nothing changed" in out
    assert (rows(tables.candidates), rows(tables.events), rows(tables.studies)) == before


def test_a_finished_study_says_that_launch_resumes_it(toy, ask, rows, url, launch, audit):
    run_worker(url, "toy")
    code, out, _ = ask(OWN)
    assert code == 0
    assert "the study is finished; train it with: pathfront launch" in out
    launch(**SMALL)  # as the launch does that resumes it
    run_worker(url, "toy")
    audit(failed=0)
    assert [origin.partition(";")[0] for origin in origins(rows)] == ["control", "control", "enqueued"]
    assert len(trained(rows)) == 3


def test_a_launch_of_a_finished_study_with_a_waiting_candidate_is_no_end(toy, ask, url):
    from search.operations.launch import _is_finished

    run_worker(url, "toy")
    with_engine = open_writer(url, create=False)
    config = load_study(with_engine, url, "toy").config
    with_engine.dispose()
    assert _is_finished(url, config)
    ask(OWN)
    assert not _is_finished(url, config)


MISFITS = [
    ("{dept: 2}", 2, "candidate.dept: unknown knob; did you mean 'depth'?"),
    ("{depth: 9}", 2, "candidate.depth: the space holds 1 to 4, got 9"),
    (
        "{depth: 4, width: 128, experts: 16, expert_ratio: 4, top_k: 4}",
        2,
        "candidate: a candidate is within the limits, and this one has",
    ),
    ("{mixture: {other: 1}}", 2, "candidate.mixture.other: neither a task nor a domain of suite"),
    ("{depth: [1]}", 2, "candidate.depth: a finite number, got [1]\n"),
    ("{depth:2}", 2, "candidate.depth:2: a finite number, got None\n"),
    ("{depth", 2, "a candidate is a file or a mapping of knobs"),
    ("nowhere.yaml", 3, "no file 'nowhere.yaml'"),
]


@pytest.mark.parametrize(("given", "code", "line"), MISFITS, ids=lambda value: str(value)[:30])
def test_a_misfit_is_one_line_and_nothing_changes(toy, ask, rows, given, code, line):
    before = rows(tables.candidates), rows(tables.events)
    found, out, said = ask(given)
    assert (found, out) == (code, "")
    assert line in said
    assert len(said.strip().splitlines()) == 1
    assert (rows(tables.candidates), rows(tables.events)) == before


def test_a_study_that_is_not_there_is_3(pathfront, url, toy):
    assert pathfront("enqueue", "other", OWN, "--storage", url)[0] == 3


def die(url, step):
    ended = subprocess.run(
        [sys.executable, MORTAL, url, step, "mortal"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    engine = create_engine(url)
    expire_leases(engine, "toy", "mortal")
    engine.dispose()


@pytest.mark.parametrize(
    "step", ["created", *(pytest.param(s, marks=pytest.mark.slow) for s in ("claimed", "scored"))]
)
def test_a_killed_worker_loses_no_enqueued_candidate(toy, ask, rows, audit, url, step):
    ask(OWN)
    die(url, step)
    run_worker(url, "toy")
    audit()
    (own,) = [row for row in rows(tables.candidates) if row["origin"] == "enqueued"]
    mine = [row for row in rows(tables.trials) if row["candidate"] == own["candidate"] and row["rung"] == 0]
    assert [(row["state"], row["attempt"]) for row in mine] == [("done", 1 if step == "scored" else 2)]


ENQUEUE = """
import sys
from search.choose import enqueue as room
from search.cli import main
from space.study import StudyConfig
from factories import suite
StudyConfig.suite_record = lambda self: suite()
main(sys.argv[1:])
"""


def start(url, given):
    command = [sys.executable, "-c", ENQUEUE, "enqueue", "toy", given, "--storage", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ.copy())


def at_once(url, rows):
    """Four people, two of whom give the same candidate."""
    given = [WHOLE, WHOLE, "{depth: 1, experts: 4}", "{width: 96}"]
    processes = [start(url, text_of) for text_of in given]
    said = [process.communicate()[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert sum("nothing changed" in text_of for text_of in said) == 1
    ordinals = sorted(row["ordinal"] for row in rows(tables.candidates))
    assert ordinals == [0, 1, 2]
    assert set(origins(rows)) == {"enqueued"}


@pytest.mark.slow
def test_several_at_once_are_all_kept(toy, rows, url, audit):
    at_once(url, rows)
    run_worker(url, "toy")
    audit(failed=0)
    assert len(trained(rows)) == 3


def test_a_study_does_not_finish_over_a_candidate_that_its_worker_has_not_seen(toy, ask, url, rows):
    run_worker(url, "toy")
    engine = open_writer(url, create=False)
    with engine.begin() as connection:
        connection.execute(text("UPDATE pf_studies SET finished_at = NULL"))
    known = len(take_snapshot(engine, "toy", 0).candidates)
    ask(OWN)
    assert not finish_study(engine, url, "toy", "its stop rule is reached", known)
    assert rows(tables.studies)[0]["finished_at"] is None
    assert finish_study(engine, url, "toy", "its stop rule is reached", known + 1)
    assert rows(tables.studies)[0]["finished_at"] is not None
    engine.dispose()


def test_a_worker_takes_what_comes_in_while_it_works(toy, url, rows, audit):
    """A candidate that is enqueued when the worker has nothing left to do is still trained."""
    worker = Worker(url, "toy", "artifacts", "one")
    finish, came = worker._finish_study, []

    def finish_late(view):
        if not came:
            came.append(True)
            study = load_study(worker.engine, url, "toy")
            enqueue(worker.engine, url, study, yaml.safe_load(OWN))
        return finish(view)

    worker._finish_study = finish_late  # type: ignore[method-assign]
    try:
        worker.run()
    finally:
        worker.close()
    audit(failed=0)
    assert origins(rows)[-1] == "enqueued"
    assert len(trained(rows)) == 3


def test_a_candidate_with_open_knobs_is_drawn_anew_each_time(toy, ask, rows):
    for _ in range(2):
        assert ask("{experts: 4}")[0] == 0
    assert {row["params"]["experts"] for row in rows(tables.candidates)} == {4}
    assert len(rows(tables.candidates)) == 2


def test_json_names_the_candidate(toy, ask, rows):
    import json

    code, out, _ = ask(OWN, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["candidate"] == rows(tables.candidates)[0]["candidate"]
    assert (told["new"], told["finished"]) == (True, False)
    assert told["config"]["architecture"]["experts"] == 8
    assert set(told["config"]["mixture"]["weights"]) == set(suite().tasks)


class TestOnPostgreSQL:
    """The same where the database is a server."""

    @pytest.fixture
    def url(self, postgresql_url):
        return postgresql_url

    @pytest.mark.slow
    def test_several_at_once_are_all_kept(self, toy, rows, url, audit):
        test_several_at_once_are_all_kept(toy, rows, url, audit)

    def test_a_study_does_not_finish_over_a_candidate_that_its_worker_has_not_seen(self, toy, ask, url, rows):
        test_a_study_does_not_finish_over_a_candidate_that_its_worker_has_not_seen(toy, ask, url, rows)
