"""Studies are created once and resumed only as they are."""

import optuna
import pytest
from sqlalchemy import create_engine, delete, update
from toy_trainers import RUNGS, toy_config

from search.database import tables
from search.database.storage import open_writer, optuna_storage
from search.read.results import Reader
from search.store.optuna_trials import close_storage
from search.store.studies import MAY_CHANGE, create_or_resume, finish_study, load_study, planned
from search.worker import Worker
from space.errors import NotFoundError, StorageError, StudyFileError
from space.study import Search, StudyConfig

pytestmark = pytest.mark.usefixtures("toy_suite", "prepared")


@pytest.fixture
def change(url):
    """Run a statement on the database."""

    def run(statement):
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(statement)
        engine.dispose()

    return run


def claim_one(url):
    """Try one candidate, so that the study keeps its specification."""
    worker = Worker(url, "toy", "artifacts", "one")
    assert worker.choose().rung == 0
    worker.close()


def test_a_specification_that_never_ran_a_trial_keeps_no_name(url, rows):
    create_or_resume(url, toy_config())
    study = create_or_resume(url, toy_config(rungs={"tokens": [5_000], "eta": 3}))
    assert study.config.rungs.tokens == (5_000,)
    assert len(rows(tables.studies)) == 1
    claim_one(url)
    with pytest.raises(StudyFileError, match=r"^rungs\..*: a study keeps its specification"):
        create_or_resume(url, toy_config())


def test_a_study_is_created_then_resumed(url, toy_suite, rows):
    assert create_or_resume(url, toy_config()).created
    study = create_or_resume(url, toy_config())
    assert not study.created
    assert study.suite == toy_suite
    assert len(rows(tables.studies)) == 1
    assert [row["kind"] for row in rows(tables.events)] == ["launched"] * 2


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("rungs.eta", {"rungs": {"tokens": list(RUNGS), "eta": 3}}),
        ("search.seed", {"search": {"seed": 1}}),
        ("search.sampler", {"search": {"sampler": "tpe"}}),
        ("limits.flops_per_token", {"limits": {"flops_per_token": 1e6, "total_params": 2.0e7}}),
        ("space.mixture.floor", {"space": {"mixture": {"spread": 1.0, "floor": 0.01}}}),
        ("trainer", {"trainer": None}),
        ("precision", {"precision": "bf16-mixed"}),
    ],
)
def test_another_specification_is_refused_by_its_key(url, rows, key, changes):
    create_or_resume(url, toy_config())
    claim_one(url)
    before = rows(tables.studies)
    with pytest.raises(StudyFileError, match=rf"^{key}: a study keeps its specification") as caught:
        create_or_resume(url, toy_config(**changes))
    assert "\n" not in str(caught.value)
    assert rows(tables.studies) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": {"candidates": 20, "wall_minutes": 3}},
        {"workers": 3},
        {"logger": "csv"},
        {"checkpoint_seconds": 5},
        {"device": "cpu"},
        {"trials_per_gpu": 2},
    ],
)
def test_what_does_not_change_results_may_change(url, rows, changes):
    assert set(changes) <= set(MAY_CHANGE)
    create_or_resume(url, toy_config())
    create_or_resume(url, toy_config(**changes))
    stored = StudyConfig.model_validate(rows(tables.studies)[0]["config"])
    assert stored == toy_config(**changes)


def without(config, section, key):
    """That study, as a file says it that leaves out a key."""
    data = config.model_dump(mode="json", exclude_unset=True)
    data[section] = {name: value for name, value in data.get(section, {}).items() if name != key}
    return StudyConfig.model_validate(data)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("search", "sampler", "stratified"), ("search", "promotion", "rank"), ("rungs", "eta", 5)],
)
def test_what_the_file_leaves_out_stays_as_the_study_has_it(url, section, key, value):
    old = toy_config()
    part = getattr(old, section).model_copy(update={key: value})
    old = old.model_copy(update={section: part})
    create_or_resume(url, old)
    claim_one(url)
    silent = without(old, section, key)
    assert getattr(getattr(silent, section), key) != value  # today's default
    found = planned(url, silent)
    assert found.kept == {f"{section}.{key}": value}
    assert found.config == old
    assert getattr(getattr(create_or_resume(url, silent).config, section), key) == value


def test_a_value_that_the_file_gives_is_never_left_to_the_study(url):
    create_or_resume(url, toy_config(search={"sampler": "stratified"}))
    claim_one(url)
    today = Search().sampler
    assert today != "stratified"
    with pytest.raises(StudyFileError, match=r"^search\.sampler: a study keeps"):
        planned(url, toy_config(search={"sampler": today}))


def test_the_frozen_references_stay(url, toy_suite, monkeypatch):
    create_or_resume(url, toy_config())
    claim_one(url)
    newer = toy_suite.model_copy(update={"context": 256})
    monkeypatch.setattr(StudyConfig, "suite_record", lambda self: newer)
    assert create_or_resume(url, toy_config()).suite == toy_suite


def test_a_launcher_killed_between_its_two_steps_is_completed(url):
    create_or_resume(url, toy_config())
    optuna.delete_study(study_name="toy", storage=url)
    create_or_resume(url, toy_config())
    storage = optuna_storage(url)
    assert optuna.get_all_study_names(storage) == ["toy"]
    close_storage(storage)


def test_a_study_of_another_program_is_left_alone(url, change):
    create_or_resume(url, toy_config())
    change(delete(tables.studies))
    with pytest.raises(StudyFileError, match="'toy' is another program's"):
        create_or_resume(url, toy_config())


def test_a_launch_forgets_the_end_and_the_wish_to_stop(url, rows, change):
    create_or_resume(url, toy_config())
    change(update(tables.studies).values(stop_requested=True, finished_at=1.0, launched_at=1.0))
    create_or_resume(url, toy_config())
    row = rows(tables.studies)[0]
    assert (row["stop_requested"], row["finished_at"]) == (False, None)
    assert row["launched_at"] > 1e9


def test_a_study_ends_once(url, rows):
    create_or_resume(url, toy_config())
    engine = open_writer(url)
    finish_study(engine, url, "toy", "all done")
    finish_study(engine, url, "toy", "all done")
    assert [row["kind"] for row in rows(tables.events)] == ["launched", "finished"]
    engine.dispose()


def test_a_study_that_is_not_there_or_not_ours(url, change):
    create_or_resume(url, toy_config())
    engine = open_writer(url)
    with pytest.raises(NotFoundError, match="did you mean 'toy'"):
        load_study(engine, url, "tob")
    change(update(tables.studies).values(suite={"name": "x"}))
    with pytest.raises(StorageError, match="another version") as caught:
        load_study(engine, url, "toy")
    assert "\n" not in str(caught.value)
    engine.dispose()


def test_a_stored_study_is_explained_like_a_study_file_by_every_reader(url, change):
    create_or_resume(url, toy_config())
    config = toy_config().model_dump(mode="json")
    change(update(tables.studies).values(config=config | {"rungs": {"tokens": [9, 4]}}))
    engine = open_writer(url)
    with pytest.raises(StorageError) as to_work:
        load_study(engine, url, "toy")
    engine.dispose()
    reader = Reader(url)
    with pytest.raises(StorageError) as to_read:
        reader.config("toy")
    reader.close()
    assert (
        str(to_work.value)
        == str(to_read.value)
        == (
            "study 'toy' was written by another version of Pathfront:"
            " rungs.tokens: token budgets rise from rung to rung, got [9, 4]"
        )
    )
