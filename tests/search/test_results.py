"""Reading a study: the front against Optuna, every row's fields, and that nothing is ever written."""

import json
from dataclasses import fields

import numpy as np
import optuna
import pytest
from factories import make_study, suite
from pydantic_core import to_jsonable_python
from sqlalchemy import create_engine, update
from work import work_of

from search.database import tables
from search.read.results import Reader
from search.read.rows import FrontRow
from space.candidate import CandidateConfig
from space.errors import NotFoundError, StorageError

FRONT_KEYS = [
    "trial",
    "candidate",
    "score",
    "score_stderr",
    "confirmed",
    "flops_per_token",
    "active_params",
    "total_params",
    "rung",
    "tokens",
    "tasks",
    "mixture",
    "config",
]
TWICE = ("number", "stderr")  # other names of two fields
CONFIRMED_KEYS = ["seeds", "split", "interval", "selected_score", "control_of"]


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def reader(url):
    make_study(url, trials=24, running=2, failed=1, finished=False)
    reader = Reader(url)
    yield reader
    reader.close()


def change(url, table, values, **where):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(update(table).filter_by(**where).values(**values))
    engine.dispose()


def test_front_equals_optunas_best_trials_without_rungs_and_with_one_seed(url):
    make_study(url, trials=200, rungs=(100_000,))
    reader = Reader(url)
    rows = reader.trials("quick")
    twin = next(row for row in rows if row.number == reader.front("quick")[2].trial)
    other = next(row for row in rows if row.candidate != twin.candidate)
    values = {"score": twin.score, "flops_per_token": twin.flops_per_token}
    change(url, tables.trials, values, number=other.number)  # a tie on the front
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize", "minimize"])
    for row in reader.trials("quick"):
        assert row.score is not None
        study.add_trial(optuna.trial.create_trial(values=[row.score, row.flops_per_token]))
    front = [row.trial for row in reader.front("quick")]
    assert sorted(front) == sorted(trial.number for trial in study.best_trials)
    assert {twin.number, other.number} <= set(front)


def test_front_is_taken_over_each_candidates_highest_rung(url, reader):
    finalists = {row.candidate: row for row in reader.finalists("quick")}
    done = [row for row in reader.trials("quick") if row.state == "done"]
    assert set(finalists) == {row.candidate for row in done}
    for row in done:
        assert row.rung <= finalists[row.candidate].rung
    climber = next(row for row in finalists.values() if row.rung == 2)
    lucky = next(row for row in done if row.candidate == climber.candidate and row.rung == 0)
    change(url, tables.trials, {"score": 5.0}, number=lucky.number)
    assert lucky.number not in [row.trial for row in reader.front("quick")]
    assert reader.front("quick")[0].score < 5


def test_seeds_of_the_highest_rung_are_averaged(url):
    make_study(url, trials=60, seeds=(0, 1, 2))
    reader = Reader(url)
    rows = reader.trials("quick")
    for row in reader.front("quick"):
        seeds = [r for r in rows if r.candidate == row.candidate and r.rung == row.rung]
        assert len(seeds) == 3
        assert row.confirmed
        assert row.score == pytest.approx(sum(r.score or 0.0 for r in seeds) / 3)
        assert row.score_stderr == pytest.approx(0.012 / 3**0.5)
        assert row.trial == seeds[0].number
        scores = reader.task_scores("quick", [r.number for r in seeds])
        mean = np.mean([tasks["digits"].fraction for tasks in scores.values()])
        assert row.tasks["digits"] == pytest.approx(mean)


def test_front_rows_have_the_fields_of_the_design_and_the_other_names_of_two(reader):
    front = reader.front("quick")
    assert [field.name for field in fields(FrontRow)] == [*FRONT_KEYS, *CONFIRMED_KEYS, "objectives", *TWICE]
    assert [row.score for row in front] == sorted((row.score for row in front), reverse=True)
    row = json.loads(json.dumps(to_jsonable_python(front[0])))
    assert list(row) == [*FRONT_KEYS, *CONFIRMED_KEYS, "objectives", *TWICE]
    assert (row["number"], row["stderr"]) == (row["trial"], row["score_stderr"])
    assert set(row["tasks"]) == set(row["mixture"]) == set(suite().tasks)
    assert CandidateConfig.model_validate(row["config"]).id == row["candidate"]
    assert row["tokens"] == (225_000, 450_000, 900_000)[row["rung"]]
    assert row["confirmed"] is False


def test_front_within_a_limit(reader):
    limit = np.median([row.flops_per_token for row in reader.finalists("quick")])
    within = reader.front("quick", max_flops=float(limit))
    assert within
    assert all(row.flops_per_token <= limit for row in within)
    assert reader.front("quick", max_flops=1.0) == []


def test_trial_tells_all(reader):
    best = reader.front("quick")[0]
    detail = reader.trial("quick", best.trial)
    assert detail.on_front
    assert detail.config.id == best.candidate
    assert set(detail.tasks) == set(suite().tasks)
    assert [point.tokens for point in detail.curves] == sorted(point.tokens for point in detail.curves)
    assert {point.rung for point in detail.curves} == set(range(best.rung + 1))
    assert detail.export_command.startswith(
        f"pathfront export quick --trial {best.trial} -o quick-{best.trial}/ --storage "
    )
    architecture = detail.config.architecture
    if architecture.sparse:
        assert np.shape(detail.routing["text"]) == (architecture.depth, architecture.experts)
    to_jsonable_python(detail)
    failed = next(row for row in reader.trials("quick") if row.state == "failed")
    assert reader.trial("quick", failed.number).error == "the loss is not finite"
    assert reader.trial("quick", failed.number).tasks == {}


def test_status_counts_what_runs_and_what_is_left(url, reader):
    status = reader.status("quick")
    assert status.states == {"done": 24, "failed": 1, "running": 2}
    assert sum(rung.done for rung in status.rungs) == 24
    assert [trial.rung for trial in status.running] == [0, 0]
    assert status.running[0].progress_tokens == 112_500
    assert status.best is not None
    assert status.best.score == reader.front("quick")[0].score
    assert 0 < status.fraction_done < 1
    assert status.seconds_left
    assert [event.kind for event in status.events] == ["failed", "launched"]
    change(url, tables.trials, {"lease_until": 0.0}, state="running")
    assert reader.status("quick").states == {"done": 24, "failed": 1, "lost": 2}
    change(url, tables.studies, {"finished_at": 1.8e9}, name="quick")
    assert reader.status("quick").fraction_done == 1


def test_studies_are_listed_with_their_best(url, reader):
    make_study(url, name="other", trials=5, rungs=(50_000,), seed=3)
    summaries = {row.name: row for row in reader.studies()}
    assert summaries["quick"].trials == 27
    assert (summaries["quick"].running, summaries["quick"].failed) == (2, 1)
    assert summaries["other"].finished
    assert not summaries["quick"].finished
    for name, summary in summaries.items():
        assert summary.best_score == reader.front(name)[0].score


@pytest.mark.parametrize(
    ("table", "values", "where"),
    [
        (tables.trials, {"progress_tokens": 113_000}, {"state": "running"}),
        (tables.trials, {"state": "done", "score": 0.1}, {"state": "running"}),
        (tables.trials, {"lease_until": 0.0}, {"state": "running"}),
        (tables.trials, {"attempt": 9}, {"number": 3}),
        (tables.studies, {"finished_at": 1.0}, {"name": "quick"}),
        (tables.studies, {"stop_requested": True}, {"name": "quick"}),
    ],
)
def test_change_token_changes_with_what_is_visible(url, reader, table, values, where):
    before = reader.change_token("quick")
    assert reader.change_token("quick") == before
    change(url, table, values, **where)
    assert reader.change_token("quick") != before


def test_throughput_is_measured_over_done_trials(reader):
    speed = reader.throughput("cpu")
    assert speed is not None
    assert speed.flops_per_second == pytest.approx(1e10)
    assert (speed.evaluation_seconds, speed.trials) == (4.0, 24)
    assert reader.throughput("cuda") is None


def test_what_is_missing_is_named_with_the_nearest(reader):
    with pytest.raises(NotFoundError, match=r"no study 'quikc' in .*; did you mean 'quick'\?"):
        reader.front("quikc")
    with pytest.raises(NotFoundError, match="study 'quick' has no trial 99; it has trials up to 26"):
        reader.trial("quick", 99)
    for read in (reader.config, reader.suite, reader.trials, reader.finalists, reader.status):
        with pytest.raises(NotFoundError):
            read("none")


def test_a_study_of_another_version_is_refused_in_one_line(url, reader):
    config = reader.config("quick").model_dump(mode="json") | {"schema_version": 9}
    change(url, tables.studies, {"config": config}, name="quick")
    with pytest.raises(StorageError, match="written by another version") as error:
        reader.config("quick")
    assert "\n" not in str(error.value)


def test_reads_create_and_change_nothing(tmp_path, url, reader):
    with pytest.raises(NotFoundError):
        Reader(f"sqlite:///{tmp_path / 'none.db'}")
    before = (tmp_path / "studies.db").read_bytes()
    names = {path.name for path in tmp_path.iterdir()}
    number = reader.front("quick")[0].trial
    reader.studies(), reader.status("quick"), reader.trial("quick", number), reader.change_token("quick")
    assert (tmp_path / "studies.db").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == names


READS = {
    "front": lambda reader: reader.front("quick"),
    "trials": lambda reader: reader.trials("quick"),
    "change token": lambda reader: reader.change_token("quick"),
}


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Studies of 300 and of 1,200 trials."""
    found = []
    for trials in (300, 1200):
        url = f"sqlite:///{tmp_path_factory.mktemp('sizes') / 'studies.db'}"
        make_study(url, trials=trials, curve_points=1)
        found.append(Reader(url))
        for read in READS.values():
            read(found[-1])  # SQLAlchemy compiles each statement once
    yield found
    for reader in found:
        reader.close()


@pytest.mark.parametrize("read", READS)
def test_four_times_the_trials_are_read_by_as_many_statements_with_about_four_times_the_work(readers, read):
    small, large = (work_of(lambda reader=reader: READS[read](reader)) for reader in readers)
    assert large.statements == small.statements <= 10
    assert large.sql <= 6 * small.sql  # 4 times where it is linear, 16 times where it is quadratic
    assert large.python <= 6 * small.python
