"""States that a page meets besides a good study: nothing, failures, floors, and a database that changes."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_study
from page_words import words
from sqlalchemy import create_engine, text

from dashboard import load, units
from dashboard.views import parts
from search.read.confirm_rows import ConfirmationStatus, ConfirmedRow
from search.read.remarks import LONGER
from search.read.results import Reader

PAGES = ["studies", "front", "tasks", "trials", "trial"]
HALTED = "the first 3 trials failed with the same error: No module named 'nosuch'"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the databases of `make` that were written so far, and their weights."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def make(made, tmp_path):
    """Give the test its own copy of the database of a study in some state -> its URL."""

    def copy(kind):
        if not (made / f"{kind}.db").exists():
            write(made, kind)
        return f"sqlite:///{shutil.copy(made / f'{kind}.db', tmp_path)}"

    return copy


def write(folder, kind):
    studies = {
        "empty": {"trials": 0, "finished": False},
        "running": {"trials": 0, "running": 2, "finished": False},
        "one": {"trials": 1, "rungs": (225_000,), "artifacts": folder / "artifacts"},
        "failed": {"trials": 0, "failed": 6, "finished": False, "halted": HALTED},
        "floored": {"trials": 12, "floored": True, "artifacts": folder / "artifacts"},
    }
    make_study(f"sqlite:///{folder / f'{kind}.db'}", **studies[kind])


def execute(url, *statements):
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", ["empty", "running", "one", "failed", "floored"])
def test_every_page_opens_in_every_state(visit, make, kind, page):
    app = visit(make(kind), page)
    assert not app.exception
    assert "quick" in words(app) or app.selectbox


def test_the_page_names_the_state_of_a_study_as_the_terminal_does(visit, make):
    url = make("empty")
    assert "Open" in words(visit(url, "front"))
    assert "suite quick · open" in words(visit(url, "studies"))


@pytest.mark.parametrize("page", ["front", "tasks", "trials", "trial"])
def test_a_study_whose_trials_all_failed_says_why_and_offers_no_export(visit, make, page):
    said = words(visit(make("failed"), page))
    assert "Halted: the first 3 trials failed" in said
    assert "the loss is not finite" in said
    assert "worker-1.log" in said
    assert ("pathfront retry quick" in said) == (page != "trial")  # that page is about one trial
    assert "pathfront export" not in said
    assert "appear here as they do" not in said


def test_a_failed_trial_is_picked_from_the_list_with_its_error_and_its_log(visit, make):
    url = make("failed")
    app = visit(url, "trials")
    table = app.dataframe[0].value
    assert list(table["State"]) == ["failed"] * 6
    assert set(table["Error"]) == {"the loss is not finite"}
    assert set(table["Log"]) == {"pathfront-artifacts/quick/logs/worker-1.log"}
    app = visit(url, "trial")
    assert app.number_input[0].value == 5  # the latest
    assert [error.value for error in app.error] == ["Attempt 2 failed: the loss is not finite"]
    assert "pathfront-artifacts/quick/logs/worker-1.log" in [code.value for code in app.code]


def test_all_trials_are_listed_whatever_became_of_them(visit, storage):
    app = visit(storage, "trials")
    states = app.dataframe[0].value["State"].value_counts().to_dict()
    assert states == {"done": 60, "running": 2, "failed": 1}
    app.button_group[0].set_value("failed").run()
    assert list(app.dataframe[0].value["State"]) == ["failed"]


@pytest.mark.parametrize("page", ["front", "tasks"])
def test_a_study_at_its_floor_says_so_and_what_to_do(visit, make, page):
    app = visit(make("floored"), page)
    said = words(app)
    assert "none of the 12 scored candidates" in said
    assert LONGER in said
    assert "12 of 12 candidates scored within one standard error of the floor" in said
    assert "100%" in said
    assert "pathfront export" not in said
    assert not app.dataframe


def test_exports_are_offered_for_trials_with_weights_alone(visit, tmp_path):
    url = f"sqlite:///{tmp_path / 'bare.db'}"
    make_study(url, trials=6)
    for page in ("front", "trial"):
        said = words(visit(url, page, study="quick", trial="0"))
        assert "pathfront export" not in said
        assert "weights were not kept" in said


@pytest.mark.parametrize("page", ["front", "trials", "trial"])
@pytest.mark.parametrize("number", ["abc", "-1", "1.5", "99999999999999999999", "²", "%00"])
def test_a_trial_that_is_no_number_gets_one_line(visit, storage, page, number):
    app = visit(storage, page, study="quick", trial=number)
    assert not app.exception
    assert f"has no trial {number}" in words(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_study_that_is_deleted_while_the_page_is_open_gets_one_line(visit, make, page):
    url = make("one")
    app = visit(url, page, study="quick")
    tables = ("task_scores", "curves", "routing", "checkpoints", "events", "trials", "candidates", "studies")
    execute(url, *(f"delete from pf_{table}" for table in tables))
    app.run()
    assert not app.exception
    assert "No study here yet" in words(app)
    make_study(url, name="other", trials=2)
    app.run()
    assert not app.exception
    if page != "studies":
        assert "no study is called 'quick'" in words(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_database_that_goes_and_comes_back_is_opened_again(visit, make, tmp_path, page):
    url = make("floored")
    path = Path(url.removeprefix("sqlite:///"))
    app = visit(url, page)
    path.rename(tmp_path / "away")
    app.run()
    assert not app.exception
    assert "pathfront launch quick" in words(app)
    (tmp_path / "away").rename(path)
    app.run()
    assert not app.exception
    assert "quick" in words(app) or app.selectbox


def test_a_database_in_the_place_of_another_is_shown_with_its_own_results(visit, tmp_path):
    url = f"sqlite:///{tmp_path / 'same.db'}"
    make_study(url, trials=8, artifacts=tmp_path / "artifacts")
    app = visit(url, "front")
    before = app.dataframe[0].value
    make_study(f"sqlite:///{tmp_path / 'new.db'}", trials=8, seed=5)
    (tmp_path / "new.db").replace(tmp_path / "same.db")
    app.run()
    assert not app.exception
    assert not app.dataframe[0].value.equals(before)


@pytest.mark.parametrize("page", PAGES)
def test_a_database_that_is_locked_gets_one_line(visit, make, page, monkeypatch):
    monkeypatch.setattr("search.database.sqlite_files.BUSY_SECONDS", 0.1)
    url = make("one")
    app = visit(url, page)
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA locking_mode = EXCLUSIVE")
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        app.run()
        assert not app.exception
        assert "locked" in " ".join(error.value for error in app.error)
        connection.rollback()
    engine.dispose()
    app.run()
    assert not app.exception
    assert not app.error


def test_a_study_launched_while_a_page_is_open_does_not_take_its_place(visit, make):
    url = make("one")
    app = visit(url, "front")
    make_study(url, name="later", trials=4)
    execute(url, "update pf_studies set launched_at = launched_at + 100 where name = 'later'")
    app.run()
    assert app.selectbox[0].value == "quick"
    assert "later" in app.selectbox[0].options


def test_a_study_of_another_version_is_one_line_beside_the_others(visit, make):
    url = make("one")
    make_study(url, name="future", trials=2)
    execute(url, """update pf_studies set config = '{"study": "future"}' where name = 'future'""")
    app = visit(url, "studies")
    assert not app.exception
    assert "another version of Pathfront" in app.error[0].value
    assert "Best score" in words(app)
    app = visit(url, "front", study="future")
    assert not app.exception
    assert "another version of Pathfront" in app.error[0].value


@pytest.mark.slow
def test_the_work_of_a_page_does_not_repeat_for_every_trial(visit, tmp_path, monkeypatch):
    counts = {}
    for trials in (12, 1200):
        url = f"sqlite:///{tmp_path / f'{trials}.db'}"
        make_study(url, trials=trials, curve_points=2)
        called = []
        original = load.picked

        def counted(front, pick, called=called, original=original):
            called.append(pick)
            return original(front, pick)

        monkeypatch.setattr(load, "picked", counted)
        for page in ("front", "trials"):
            app = visit(url, page)
            assert not app.exception
        monkeypatch.setattr(load, "picked", original)
        counts[trials] = len(called)
    assert counts[12] == counts[1200] > 0


def test_the_best_score_has_the_interval_of_its_confirmed_mean(storage):
    status = Reader(storage).status("quick")
    assert status.best is not None
    of_search = parts.status_html(status)
    assert units.signed(status.best.score, status.best.stderr) in of_search
    row = ConfirmedRow(
        trial=status.best.number,
        candidate=status.best.candidate,
        wanted=2,
        done=2,
        failed=0,
        score=0.8,
        score_stderr=0.01,
        interval=(0.71, 0.89),
        selected_score=0.83,
        flops_per_token=1e5,
        control_of=None,
        label="",
    )
    confirmation = ConfirmationStatus(wanted=2, done=2, running=0, failed=0, candidates=[row])
    best = replace(status.best, score=0.8, split="report")
    shown = parts.status_html(replace(status, best=best, confirmation=confirmation))
    assert "0.800 [0.710, 0.890]" in shown
