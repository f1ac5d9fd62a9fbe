"""Software of others reads a study as it reads any other."""

import io
import json
import sys
from wsgiref.util import setup_testing_defaults

import optuna
import pytest

from search.database import tables
from search.read.results import Reader
from search.store.optuna_trials import close_storage
from search.worker import run_worker


@pytest.fixture
def finished(launch, url):
    launch(stop={"candidates": 6}, rungs={"tokens": [3_000, 6_000], "eta": 2})
    run_worker(url, "toy", "artifacts")
    return url


def ask(app, path, query=""):
    """The JSON that a WSGI application answers."""
    environment = {"PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environment)
    environment["wsgi.errors"] = sys.stderr
    status = []
    body = b"".join(app(environment, lambda line, headers, *_: status.append(line)))
    assert status == ["200 OK"], (path, status, body[:500])
    return json.loads(body)


@pytest.mark.filterwarnings("ignore")  # of optuna-dashboard's own imports and routes
@pytest.mark.slow
def test_optuna_dashboard_shows_the_same_trials_and_values(finished, rows):
    from optuna_dashboard._app import create_app

    storage = optuna.storages.RDBStorage(finished)
    app = create_app(storage)
    (summary,) = ask(app, "/api/studies")["study_summaries"]
    assert (summary["study_name"], summary["directions"]) == ("toy", ["maximize", "minimize"])
    shown = ask(app, f"/api/studies/{summary['study_id']}", "after=0&limit=1000")["trials"]
    close_storage(storage)
    done = {row["number"]: [row["score"], row["flops_per_token"]] for row in rows(tables.trials)}
    assert len(done) == 9
    assert {t["number"]: t["values"] for t in shown} == done
    assert {t["state"] for t in shown} == {"Complete"}


@pytest.mark.parametrize("trainer", ["climb", "narrow_at_floor"])
def test_without_rungs_our_front_is_optunas_over_those_above_their_floor(launch, url, rows, trainer):
    launch(stop={"candidates": 8}, rungs={"tokens": [3_000]}, trainer=f"toy_trainers:{trainer}")
    run_worker(url, "toy", "artifacts")
    storage = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name="toy", storage=storage)
    floored = {row["number"] for row in rows(tables.trials) if row["score"] <= row["stderr"]}
    above = optuna.create_study(directions=study.directions)
    above.add_trials([trial for trial in study.trials if trial.number not in floored])
    theirs = {trial.user_attrs["pathfront:label"] for trial in above.best_trials}
    best = {trial.number for trial in study.best_trials}
    numbers = {t.user_attrs["pathfront:label"]: t.number for t in study.trials}
    close_storage(storage)
    assert {row.trial for row in Reader(url).front("toy")} == {numbers[label] for label in theirs}
    assert bool(best & floored) == bool(floored) == (trainer == "narrow_at_floor")
