"""What the terminal says of studies in every state: why trials failed, who is stuck, what is on the disk."""

import csv
import io
import json
from contextlib import closing

import pytest
from factories import make_study
from rich.console import Console
from sqlalchemy import create_engine, insert, text, update

from search.database import tables
from search.operations.live import draw, line
from search.read.remarks import at_floor, failures, no_front, remarks
from search.read.results import Reader
from space.words import counted


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def change(url):
    """Update rows of a table of ours, by equal columns."""

    def run(table, values, **where):
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(update(table).filter_by(**where).values(**values))
        engine.dispose()

    return run


@pytest.fixture
def say(pathfront, url):
    """What a command prints on stdout; it ends well."""

    def run(*arguments):
        code, out, err = pathfront(*arguments, "--storage", url)
        assert code == 0, err
        return out

    return run


def status(url, study="quick"):
    with closing(Reader(url)) as reader:
        return reader.status(study)


def add_unnumbered(url, **changes):
    """A candidate whose first trial is claimed and has no number yet."""
    engine = create_engine(url)
    with engine.begin() as connection:
        candidate = dict(connection.execute(tables.candidates.select()).mappings().first())
        candidate |= {"candidate": "ffffffffffff", "ordinal": 999, "origin": "tpe"}
        trial = dict(connection.execute(tables.trials.select()).mappings().first())
        trial |= {"candidate": "ffffffffffff", "number": None, "state": "running", "score": None}
        trial |= {"stderr": None, "lease_until": 1e10, "worker": "vm:9:new", "final": False}
        connection.execute(insert(tables.candidates).values(candidate))
        connection.execute(insert(tables.trials).values({**trial, **changes}))
    engine.dispose()


# status and show


def test_reasons_of_failures_are_grouped_and_name_the_log(url, change, say):
    make_study(url, trials=4, failed=3, finished=False)
    numbers = [row.number for row in Reader(url).trials("quick") if row.state == "failed"]
    for i, number in enumerate(numbers):
        error = f"OSError: [Errno 28] no space for {1000 + i} bytes" if i else "RuntimeError: odd"
        change(
            tables.trials, {"error": error, "log": f"/logs/worker-{i}.log", "finished_at": i}, number=number
        )
    out = say("status", "quick")
    last = numbers[-1]
    two = f"2 trials failed: OSError: [Errno 28] no space for 1002 bytes (trial {last})"
    assert f"{two}; log: /logs/worker-2.log\n" in out
    assert f"1 trial failed: RuntimeError: odd (trial {numbers[0]}); log: /logs/worker-0.log\n" in out
    assert "3 trials failed permanently; once the cause is fixed, try again: pathfront retry quick" in out
    found = json.loads(say("status", "quick", "--json"))["failures"]
    assert [(row["count"], row["trial"], row["number"]) for row in found] == [
        (2, last, last),
        (1, numbers[0], numbers[0]),
    ]
    assert found[0]["log"] == "/logs/worker-2.log"
    out = say("show", "quick", last)
    assert "failed: OSError: [Errno 28] no space for 1002 bytes\n" in out
    assert "attempt 2, worker host:1, log: /logs/worker-2.log\n" in out
    assert f"try it again: pathfront retry quick --trial {last}" in out
    assert "episodes" not in out  # no table of scores where there are none
    detail = json.loads(say("show", "quick", last, "--json"))
    assert (detail["log"], detail["attempts"]) == ("/logs/worker-2.log", 2)


def test_reasons_beyond_three_are_counted(url, change):
    make_study(url, trials=4, failed=9)
    failed = [row.number for row in Reader(url).trials("quick") if row.state == "failed"]
    for error, number in zip(["a 1", "a 22", "a 3", "b", "b", "c", "d", "e", None], failed, strict=True):
        change(tables.trials, {"error": error}, number=number)
    now = status(url)
    assert sorted(failure.count for failure in now.failures) == [1, 1, 1, 1, 2, 3]
    said = failures(now, url)
    assert said[0].startswith("3 trials failed: a ")
    assert said[1].startswith("2 trials failed: b (trial ")
    assert said[3].startswith("3 other reasons: pathfront trials quick --state failed")
    assert said[4].startswith("9 trials failed permanently")


def test_a_trial_that_goes_on_after_a_failure_is_not_called_failed(url, change, say):
    make_study(url, trials=2, running=1, finished=False)
    (number,) = [row.number for row in Reader(url).trials("quick") if row.state == "running"]
    change(tables.trials, {"error": "RuntimeError: once"}, number=number)
    assert "an attempt before failed: RuntimeError: once" in say("show", "quick", number)
    change(tables.trials, {"state": "failed", "final": False}, number=number)
    assert "another attempt follows" in say("show", "quick", number)
    assert "1 failed (1 of them will be retried)" in say("status", "quick")


def test_a_study_whose_trials_all_failed_says_so_everywhere(url, change, say, pathfront):
    make_study(url, trials=1, failed=3)
    change(tables.trials, {"state": "failed", "score": None, "final": True}, state="done")
    change(tables.trials, {"error": "ValueError: no", "log": "/logs/worker-0.log"})
    out = say("status", "quick")
    assert out.startswith("study quick, suite quick: finished, nothing was scored\n")
    assert "finished, nothing scored" in say("status")
    option = ["--storage", url]
    words = "no trial of study 'quick' has been scored: 5 failed; 5 trials failed: ValueError: no (trial "
    for command, code in ((["front", "quick"], 0), (["export", "quick", "-o", "best"], 3)):
        result, out, err = pathfront(*command, *option)
        assert (result, out) == (code, "")
        assert words in err
        assert "log: /logs/worker-0.log" in err
        assert err.count("\n") == 1
    code, out, err = pathfront("front", "quick", "--json", *option)
    assert (code, json.loads(out)) == (0, [])
    assert words in err
    assert "5 failed (ValueError: no)" in line(status(url))


@pytest.mark.parametrize(
    ("changes", "of_study", "words"),
    [
        ({"state": "paused"}, {}, "has been scored: 2 paused"),
        ({"lease_until": 0.0}, {}, "has been scored: 2 lost with their worker"),
        ({}, {"halted": "the same error three times"}, "2 running; halted: the same error three times"),
    ],
)
def test_a_study_without_a_score_says_what_its_trials_do(url, change, pathfront, changes, of_study, words):
    make_study(url, trials=1, running=2, finished=False)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("delete from pf_trials where state = 'done'"))
    engine.dispose()
    change(tables.trials, changes or {"seed": 0})
    change(tables.studies, of_study or {"halted": None})
    assert words in pathfront("front", "quick", "--storage", url)[2]


def test_a_study_without_a_candidate_says_how_it_is_run(url, say):
    make_study(url, trials=1, finished=False)
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            if table.name not in ("pf_studies", "pf_schema"):
                connection.execute(table.delete())
    engine.dispose()
    with closing(Reader(url)) as reader:
        assert no_front(reader, "quick").startswith(
            "study 'quick' has no candidate yet; run it: pathfront launch"
        )
    out = say("status", "quick")
    assert "open, 0% done" in out
    assert "0 candidates, 0 trials done" in out
    assert "no worker is at work; resume with: pathfront launch quick" in out
    assert say("trials", "quick") == ""


def test_candidates_at_their_floor_are_counted_and_longer_rungs_suggested(url, change, say):
    make_study(url, trials=8)
    assert status(url).at_floor == 0
    assert "floor" not in say("status", "quick")
    first, *others = Reader(url).finalists("quick")
    change(tables.trials, {"score": 0.01, "stderr": 0.012}, number=first.number)
    (remark,) = at_floor(status(url))
    assert remark.startswith("1 of ")
    assert "rungs.tokens" not in remark  # where it is one of many, there is nothing to do
    for row in others:
        change(tables.trials, {"score": -0.1}, number=row.number)
    now = status(url)
    assert now.at_floor == now.candidates == 1 + len(others)
    out = say("status", "quick")
    assert (
        f"{now.candidates} of {now.candidates} candidates scored within one standard error of the floor"
        in out
    )
    assert "larger rungs.tokens (they begin at 225,000), in a study of another name" in out
    assert f"{now.candidates} candidates at the floor" in line(now)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(draw(now, url))
    assert "larger rungs.tokens" in console.export_text()


def test_a_study_that_ended_short_says_why(url, change, say):
    make_study(url, trials=4)
    engine = create_engine(url)
    with engine.begin() as connection:
        note = {"study": "quick", "at": 1.0, "kind": "finished", "text": "no unseen candidate is left"}
        connection.execute(insert(tables.events).values(note))
    engine.dispose()
    config = Reader(url).config("quick")
    more = config.model_copy(update={"stop": config.stop.model_copy(update={"candidates": 40})})
    assert not remarks(status(url), url)
    change(tables.studies, {"config": more.model_dump(mode="json")})
    have = status(url).candidates
    assert f"finished with {have} of 40 candidates: no unseen candidate is left\n" in say("status", "quick")


def test_halted_stopped_and_left_are_said(url, change, say):
    make_study(url, trials=4, finished=False)
    assert "quick: open, " in say("status", "quick")
    change(tables.studies, {"stop_requested": True})
    assert "quick: stopped, " in say("status", "quick")
    assert "stopped" in say("status")
    change(tables.studies, {"halted": "no space left on the disk"})
    out = say("status", "quick")
    assert "quick: halted, " in out
    assert "halted: no space left on the disk\n" in out
    assert "halted" in say("status")
    assert json.loads(say("status", "--json"))[0]["halted"] == "no space left on the disk"
    engine = create_engine(url)
    with engine.begin() as connection:
        left = {"study": "quick", "worker": "vm:7:ab", "host": "vm", "pid": 7, "log": "/logs/worker-7.log"}
        times = {"started_at": 1.0, "seen_at": 2e9, "left_at": 2e9, "left_because": "three failures in a row"}
        connection.execute(insert(tables.workers).values({**left, **times}))
    engine.dispose()
    assert "worker vm:7:ab left: three failures in a row; log: /logs/worker-7.log\n" in say("status", "quick")


def test_a_study_asked_to_stop_is_stopping_in_the_list_too_while_a_trial_runs(url, change, say):
    make_study(url, trials=4, running=1, finished=False)
    change(tables.studies, {"stop_requested": True})
    assert "quick: stopping, " in say("status", "quick")
    assert "stopping" in say("status")


def test_the_way_to_a_time_limit_counts_only_time_with_a_live_worker(url, change):
    make_study(url, trials=4, finished=False)
    config = Reader(url).config("quick").model_dump(mode="json")
    change(tables.studies, {"config": config | {"stop": {"wall_minutes": 10}}, "ran_seconds": 150.0})
    assert status(url).fraction_done == 0.25  # though it was launched long ago


def test_candidates_that_failed_at_the_first_rung_are_no_way_to_the_stop_rule(url, change):
    make_study(url, trials=4, failed=4, finished=False)
    before = status(url).fraction_done
    change(tables.trials, {"state": "paused"}, state="failed")
    assert status(url).fraction_done == before


def test_the_disk_is_named_by_kind_and_origins_are_counted(url, tmp_path, say):
    make_study(url, trials=4, artifacts=tmp_path / "art")
    engine = create_engine(url)
    with engine.begin() as connection:
        row = dict(connection.execute(tables.checkpoints.select()).mappings().first())
        connection.execute(insert(tables.checkpoints).values({**row, "kind": "trunk", "bytes": 3_000_000}))
    engine.dispose()
    now = status(url)
    assert now.disk_bytes == {"decayed": 2048, "trunk": 3_000_000, "total": 3_002_048}
    assert "checkpoints: 3MB on disk (2.05kB decayed, 3MB trunk)" in say("status", "quick")
    assert sum(now.origins.values()) == now.candidates
    assert f"(1 control, {now.candidates - 1} stratified)" in say("status", "quick")


def test_a_storage_without_a_study_says_how_to_make_one(url, pathfront):
    make_study(url, trials=1)
    assert pathfront("delete", "quick", "--yes", "--storage", url)[0] == 0
    code, out, err = pathfront("status", "--storage", url)
    assert (code, out) == (0, "")
    assert "make one: pathfront launch quick" in err
    assert json.loads(pathfront("status", "--json", "--storage", url)[1]) == []


def test_a_number_of_an_earlier_attempt_is_told_from_one_that_never_was(url, change, pathfront):
    make_study(url, trials=4)
    change(tables.trials, {"number": 9}, number=1)
    for number, words in ((1, "an earlier attempt's"), (10, "it has trials up to 9")):
        code, _, err = pathfront("show", "quick", number, "--storage", url)
        assert code == 3
        assert f"has no trial {number}; " in err
        assert words in err


# trials


@pytest.fixture
def mixed(url, change):
    """Trials in every state, one of them without a number."""
    make_study(url, trials=12, running=2, failed=2, finished=False)
    running = [row.number for row in Reader(url).trials("quick") if row.state == "running"]
    change(tables.trials, {"lease_until": 0.0}, number=running[0])
    add_unnumbered(url)
    return url


def test_all_trials_are_listed_by_number_and_the_unnumbered_last(mixed, say):
    rows = json.loads(say("trials", "quick", "--json"))
    assert [row["trial"] for row in rows] == [*range(16), None]
    assert {row["state"] for row in rows} == {"done", "failed", "running", "lost"}
    out = say("trials", "quick")
    lines = [part for part in out.splitlines() if part.strip()][2:]
    assert len(lines) == len(rows)
    for shown, row in zip(lines, rows, strict=True):
        assert shown.split()[0] == ("-" if row["trial"] is None else str(row["trial"]))
        for word in (row["candidate"], row["state"], row["origin"], row["worker"]):
            assert f" {word} " in shown
        if row["state"] == "failed":
            assert shown.rstrip().endswith("the loss is not finite")


@pytest.mark.parametrize("state", ["running", "done", "failed", "paused", "lost"])
def test_the_list_by_state_counts_as_the_status_does(mixed, say, state):
    rows = json.loads(say("trials", "quick", "--state", state, "--json"))
    assert len(rows) == status(mixed).states.get(state, 0)
    assert {row["state"] for row in rows} <= {state}


def test_csv_has_the_columns_and_the_values_of_json(mixed, say):
    rows = json.loads(say("trials", "quick", "--json"))
    table = list(csv.DictReader(io.StringIO(say("trials", "quick", "--csv"))))
    for row in rows:
        objectives = row.pop("objectives")
        row["objective.flops_per_token"] = objectives["flops_per_token"]
    assert list(table[0]) == list(rows[0])
    for shown, row in zip(table, rows, strict=True):
        for name, value in row.items():
            word = shown[name]
            if value is None:
                assert word == ""
            elif isinstance(value, bool):
                assert word == str(value).lower()
            else:
                assert type(value)(word) == value
    header = say("trials", "quick", "--csv", "--state", "paused")
    assert header.splitlines() == [",".join(rows[0])]


def test_every_row_about_a_trial_goes_by_both_names(mixed, say):
    now = json.loads(say("status", "quick", "--json"))
    rows = [*json.loads(say("front", "quick", "--json")), *json.loads(say("trials", "quick", "--json"))]
    rows += [now["best"], json.loads(say("show", "quick", 3, "--json"))["row"]]
    for row in rows:
        assert row["trial"] == row["number"]
        assert row["score_stderr"] == row["stderr"]
    for row in [*now["running"], *now["failures"]]:
        assert row["trial"] == row["number"]


def test_wrong_uses_are_one_line(mixed, pathfront):
    option = ["--storage", mixed]
    for arguments, code, words in (
        (["trials", "quick", "--state", "faild"], 2, "'faild' is not one of"),
        (["trials", "quick", "--json", "--csv"], 2, "leave one out"),
        (["trials", "quikc"], 3, "did you mean 'quick'?"),
        (["retry", "quikc"], 3, "did you mean 'quick'?"),
        (["retry", "quick", "--trial", "x"], 2, "--trial"),
        (["delete", "quikc", "--yes"], 3, "did you mean 'quick'?"),
    ):
        result, out, err = pathfront(*arguments, *option)
        assert (result, out) == (code, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert words in err
    assert "no trial that is paused" in pathfront("trials", "quick", "--state", "paused", *option)[2]


def test_tables_cut_nothing_and_take_brackets_for_text(url, change, say):
    name = "a" * 100
    make_study(url, name=name, trials=2, failed=1)
    engine = create_engine(url)
    with engine.begin() as connection:
        suite = Reader(url).suite(name).model_dump(mode="json") | {"name": f"{'wide' * 30}[digits,taxi]"}
        connection.execute(update(tables.studies).values(suite=suite))
    engine.dispose()
    out = say("status")
    assert name in out
    assert f"{'wide' * 30}[digits,taxi]" in out
    assert "finished" in out
    change(tables.trials, {"error": "OSError: [Errno 28] full", "worker": "w" * 150}, state="failed")
    out = say("trials", name)
    assert "[Errno 28] full" in out
    assert "w" * 150 in out


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 workers"), (1, "1 worker"), (2, "2 workers"), (1200, "1,200 workers")]
)
def test_one_is_singular(number, text):
    assert counted(number, "worker") == text
    assert counted(number, "family", "families").endswith("family" if number == 1 else "families")
