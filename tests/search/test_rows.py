"""Rows are filled by name, and as JSON they have every key that scripts read."""

import json
from dataclasses import fields

import pytest
from factories import make_study

from search.choose.snapshot import take_snapshot
from search.database.storage import open_reader
from search.read import queries
from search.read.plain import as_json, column_names
from search.read.results import Reader
from search.read.rows import (
    FrontRow,
    ListedTrial,
    RunningTrial,
    TrialRow,
    WorkerRow,
)
from space.candidate import CandidateConfig
from space.description import describe

# Keys of version 0.1's JSON, before candidates had a description: scripts read them.
TRIAL_KEYS = {
    *("number", "candidate", "rung", "seed", "attempt", "state", "score", "stderr", "flops_per_token"),
    *("active_params", "total_params", "tokens", "progress_tokens", "training_flops", "wall_seconds"),
    *("sparse", "experts", "top_k", "depth", "width", "origin", "worker", "error", "log", "final"),
    *("confirmed", "trial", "score_stderr", "attempts"),
}
RUNNING_KEYS = {
    *("number", "candidate", "rung", "seed", "attempt", "worker", "start_tokens", "progress_tokens"),
    *("tokens", "loss", "experts", "top_k", "depth", "width", "trial"),
}
STATUS_KEYS = {
    *("study", "suite", "finished", "stopping", "candidates", "states", "rungs", "best", "training_flops"),
    *("wall_seconds", "fraction_done", "seconds_left", "running", "events", "halted", "finished_because"),
    *("failures", "failed_for_good", "at_floor", "origins", "disk_bytes", "workers", "workers_left"),
    "reasons",
}
SHOW_KEYS = {
    *(
        "row",
        "config",
        "training_bytes",
        "devices",
        "tokens_per_second",
        "tasks",
        "domains",
        "memorisable_score",
    ),
    *("generalising_score", "curves", "routing", "epochs", "checkpoints", "device", "worker"),
    *("evaluation_seconds", "started_at", "finished_at", "error", "on_front", "export_command", "log"),
    *("attempts", "proposed_by"),
}


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    make_study(url, trials=60, running=2, failed=1, finished=False)
    return url


@pytest.fixture
def reader(url):
    reader = Reader(url)
    yield reader
    reader.close()


def test_a_description_is_the_one_of_the_candidates_configuration(reader):
    for row in reader.trials("quick"):
        assert row.description == describe(reader.trial("quick", row.number).config)
    for row in reader.status("quick").running:
        assert row.description == describe(reader.trial("quick", row.number).config)


def test_columns_may_be_selected_in_any_order(reader, monkeypatch):
    trials, listed = reader.trials("quick"), reader.listed_trials("quick")
    monkeypatch.setattr(queries, "_ROW", tuple(reversed(queries._ROW)))
    assert reader.trials("quick") == trials
    assert reader.listed_trials("quick") == listed


@pytest.mark.parametrize("row", [ListedTrial, TrialRow, FrontRow, RunningTrial, WorkerRow])
def test_a_row_takes_no_value_by_position(row):
    with pytest.raises(TypeError, match="positional argument"):
        row(1)


def test_a_snapshot_knows_which_candidates_are_sparse(any_url):
    make_study(any_url, trials=60)
    engine = open_reader(any_url)
    view = take_snapshot(engine, "quick", 0)
    engine.dispose()
    reader = Reader(any_url)
    sparse = {row.candidate: row.description.sparse for row in reader.trials("quick")}
    reader.close()
    assert set(sparse.values()) == {True, False}
    assert {candidate.id: candidate.sparse for candidate in view.candidates} == sparse
    assert {type(candidate.sparse) for candidate in view.candidates} == {bool}


def test_json_has_every_key_that_scripts_read(pathfront, url):
    def read(*arguments):
        code, out, error = pathfront(*arguments, "--json", "--storage", url)
        assert (code, error) == (0, "")
        return json.loads(out)

    now, detail = read("status", "quick"), read("show", "quick", 3)
    assert now.keys() >= STATUS_KEYS
    assert detail.keys() >= SHOW_KEYS
    for row in [*read("trials", "quick"), now["best"], detail["row"]]:
        assert row.keys() >= TRIAL_KEYS
    assert len(now["running"]) == 2
    for row in now["running"]:
        assert row.keys() >= RUNNING_KEYS


@pytest.mark.slow
def test_json_says_of_a_candidate_what_its_configuration_says(pathfront, url):
    for row in json.loads(pathfront("trials", "quick", "--json", "--storage", url)[1]):
        shown = json.loads(pathfront("show", "quick", row["number"], "--json", "--storage", url)[1])
        candidate = CandidateConfig.model_validate(shown["config"])
        assert (row["label"], row["sparse"]) == (
            describe(candidate).label,
            candidate.architecture.sparse,
        )
        knobs = candidate.architecture.model_dump() | {"learning_rate": candidate.learning_rate}
        assert knobs.items() <= row.items()


def test_commands_print_descriptions(pathfront, url, reader):
    best = reader.front("quick")[0].trial
    described = reader.trial("quick", best).row.description
    shown = pathfront("show", "quick", best, "--storage", url)[1].splitlines()
    assert {f"{title.lower()}: {value}" for title, value in described.facts.items()} <= set(shown)
    assert described.label in pathfront("front", "quick", "--storage", url)[1]


@pytest.mark.parametrize("row", [ListedTrial, TrialRow, RunningTrial])
def test_no_knob_is_called_as_a_field_of_a_row_is(row):
    names = column_names(row)
    assert len(set(names)) == len(names)
    assert {each.name for each in fields(row)} - {"description"} < set(names)


def test_the_columns_are_known_without_any_row(reader):
    (first, *_) = reader.listed_trials("quick")
    assert column_names(ListedTrial) == list(as_json(first))
