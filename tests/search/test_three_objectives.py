"""A study of three objectives and a threshold, from its launch to its export, with a toy for a trainer."""

import json
from dataclasses import replace

import optuna
import pytest
from toy_trainers import toy_config

from search.choose.optuna_samplers import OptunaSampler
from search.choose.promote import ranked
from search.choose.propose import Proposer
from search.choose.snapshot import SnapshotTrial
from search.database import tables
from search.database.storage import optuna_storage
from search.export.card import _why_not
from search.export.write import choose, export
from search.read.results import Reader
from search.read.suggestions import suggest
from search.store.finalists import Finalist, front_of
from search.store.optuna_trials import close_storage
from search.store.retention import exportable
from search.store.studies import create_or_resume
from search.worker import run_worker
from space.cost import price
from space.errors import NotFoundError, StudyFileError
from space.objectives import COSTS, Objectives

THREE = {
    "objectives": [{"score": {"text": 2, "vision": 1}}, "total_params", "training_flops"],
    "threshold": 0.4,
    "rungs": {"tokens": [3_000, 6_000], "eta": 2},
    "stop": {"candidates": 9},
}
OURS = {"sampler": "pathfront", "promotion": "gain"}


def optuna_study(url, name="toy"):
    """Optuna's own view of a study: its metric names, its directions and its trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna_storage(url)
    study = optuna.load_study(study_name=name, storage=storage)
    try:
        directions = [direction.name.lower() for direction in study.directions]
        return study.metric_names, directions, study.trials, study.best_trials
    finally:
        close_storage(storage)


@pytest.fixture
def done(launch, url, once):
    """The study, finished."""

    def study():
        launch(**THREE, search=OURS)
        run_worker(url, "toy")

    once("three-objectives", study)
    return Reader(url)


@pytest.mark.slow
def test_optuna_and_every_reader_have_the_same_three_values(done, url, pathfront):
    config, suite = done.config("toy"), done.suite("toy")
    names, directions, trials, _ = optuna_study(url)
    assert names == ["score", "total_params", "training_flops"]
    assert directions == ["maximize", "minimize", "minimize"]
    made, rows = done.candidates("toy"), {row.number: row for row in done.trials("toy")}
    assert {row.rung for row in rows.values()} == {0, 1}
    for trial in trials:
        row = rows[trial.number]
        known = made[row.candidate]
        costs = config.costs(price(known.architecture, suite), known.optimizer, suite)
        assert trial.values == [row.score, *(pytest.approx(cost, rel=1e-11) for cost in costs)]
        assert list(row.objectives.values()) == trial.values
        assert list(row.objectives) == names
    view = done.snapshot("toy", 0)
    assert {t.candidate: t.costs for t in view.trials} == {
        row.candidate: tuple(row.objectives.values())[1:] for row in rows.values()
    }
    _, out, _ = pathfront("trials", "toy", "--csv", "--storage", url)
    assert out.splitlines()[0].endswith("objective.total_params,objective.training_flops")


def test_the_front_is_optunas_over_the_highest_rungs_above_the_threshold(done):
    finalists = done.finalists("toy")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    for row in finalists:
        values = [float(value or 0) for value in row.objectives.values()]
        study.add_trial(optuna.trial.create_trial(values=values, user_attrs={"number": row.number}))
    best = {t.user_attrs["number"] for t in study.best_trials if t.values[0] >= 0.4}
    front = done.front("toy")
    assert {row.trial for row in front} == best
    assert any(row.score < 0.4 for row in finalists), "the threshold leaves one out"
    assert [row.score for row in front] == sorted((row.score for row in front), reverse=True)
    assert all(set(row.costs) == {"total_params", "training_flops"} for row in front)


def test_commands_show_the_objectives(done, pathfront, url):
    code, out, _ = pathfront("front", "toy", "--storage", url, "--json")
    rows = json.loads(out)
    assert code == 0
    assert rows[0]["objectives"] == done.front("toy")[0].objectives
    assert {"trial", "score", "flops_per_token", "total_params", "config"} <= set(rows[0])
    _, out, _ = pathfront("front", "toy", "--storage", url)
    assert "planned FLOPs" in out
    _, out, _ = pathfront("show", "toy", rows[0]["trial"], "--storage", url)
    assert "of the expert, weighted mean: " in out
    assert "objectives: the score, " in out
    assert "training FLOPs to the top rung" in out


def test_best_and_knee_are_exported_with_a_card_that_says_what_was_traded_off(done, tmp_path):
    front = done.front("toy")
    assert choose(done, "toy", "best").row.number == front[0].trial
    knee = choose(done, "toy", "knee").row.number
    export(done, "toy", tmp_path / "knee", lambda suite: b"pieces", "knee")
    card = (tmp_path / "knee" / "README.md").read_text()
    assert f"# Trial {knee} of study" in card
    assert "weighted mean: " in card
    assert f"| {COSTS['training_flops'].heading} |" in card
    below = min(done.finalists("toy"), key=lambda row: row.score or 0.0)
    export(done, "toy", tmp_path / "below", lambda suite: b"pieces", trial=below.number)
    assert "its score is below the study's threshold of 0.4" in (tmp_path / "below" / "README.md").read_text()


def test_a_card_compares_the_mean_over_seeds_with_the_threshold(done):
    detail = done.trial("toy", 0)
    lucky = replace(detail, row=replace(detail.row, score=0.41), mean_score=0.39)
    assert _why_not(lucky, 0.4) == "its score is below the study's threshold of 0.4"
    above = replace(lucky, mean_score=0.42)
    assert _why_not(above, 0.4) == (
        "another candidate is better at no more total parameters and training FLOPs to the top rung"
    )


def test_what_is_suggested_next_gains_in_three_objectives(done, url, launch, pathfront):
    launch(**{**THREE, "stop": {"candidates": 20}}, search=OURS)
    suggested = suggest(Reader(url), "toy", 3)
    assert len(suggested) == 3
    assert any(each.expected is not None and each.expected.gain > 0 for each in suggested)
    config, suite = done.config("toy"), done.suite("toy")
    for each in suggested:
        costs = config.costs(price(each.config.architecture, suite), each.config.optimizer, suite)
        assert each.costs == dict(zip(config.objectives.costs, costs, strict=True))
    _, out, _ = pathfront("suggest", "toy", "--storage", url)
    assert "(score times log params times log planned FLOPs)" in out
    assert " training FLOPs to the top rung\n" in out


def test_a_threshold_that_nothing_reaches_is_said_in_one_line(launch, url, pathfront, tmp_path):
    launch(stop={"candidates": 2}, rungs={"tokens": [3_000]}, threshold=0.95)
    run_worker(url, "toy")
    reader = Reader(url)
    best = max(row.score or 0.0 for row in reader.finalists("toy"))
    line = f"no candidate of study 'toy' reaches the threshold 0.95; the best score is {best:.3f}"
    code, out, err = pathfront("front", "toy", "--storage", url)
    assert (code, out, err.splitlines()[-1]) == (0, "", line)
    code, out, err = pathfront("export", "toy", "-o", tmp_path / "best", "--storage", url)
    assert (code, err.strip()) == (3, f"error: {line}")
    assert not (tmp_path / "best").exists()
    with pytest.raises(NotFoundError, match="reaches the threshold"):
        choose(reader, "toy", "knee")
    assert reader.status("toy").best is not None


def test_other_objectives_or_another_threshold_are_refused_once_there_are_candidates(done, url):
    for changes, key in (
        ({"objectives": ["score", "total_params"]}, "objectives"),
        ({"objectives": [{"score": {"text": 1, "vision": 1}}, *THREE["objectives"][1:]]}, "objectives"),
        ({"threshold": 0.5}, "threshold"),
    ):
        with pytest.raises(StudyFileError, match=f"^{key}: a study keeps its specification"):
            create_or_resume(url, toy_config(**{**THREE, **changes}, search=OURS))


def test_a_study_without_candidates_may_still_get_other_objectives(launch, url):
    few = {**THREE, "stop": {"candidates": 2}}
    launch()
    launch(**few)
    assert optuna_study(url)[:2] == (
        ["score", "total_params", "training_flops"],
        ["maximize", "minimize", "minimize"],
    )
    run_worker(url, "toy")
    assert all(len(trial.values) == 3 for trial in optuna_study(url)[2])
    launch(**few)  # again, now with trials: nothing is lost
    assert optuna_study(url)[2]


def test_other_objectives_replace_a_study_whose_launcher_was_killed_before_it_named_them(launch, url):
    launch()
    storage = optuna_storage(url)
    optuna.delete_study(study_name="toy", storage=storage)
    optuna.create_study(study_name="toy", storage=storage, directions=["maximize", "minimize"])
    close_storage(storage)
    launch(**THREE)
    assert optuna_study(url)[:2] == (
        ["score", "total_params", "training_flops"],
        ["maximize", "minimize", "minimize"],
    )


def test_a_study_stored_before_there_were_objectives_goes_on(launch, url, change_config):
    launch(stop={"candidates": 2}, rungs={"tokens": [3_000]})
    run_worker(url, "toy")
    change_config(lambda config: {k: v for k, v in config.items() if k not in ("objectives", "threshold")})
    before = Reader(url).front("toy")
    launch(stop={"candidates": 4}, rungs={"tokens": [3_000]})
    run_worker(url, "toy")
    assert len(Reader(url).trials("toy")) == 4
    assert before[0].objectives == {"score": before[0].score, "flops_per_token": before[0].flops_per_token}
    assert optuna_study(url)[0] == ["score", "flops_per_token"]


@pytest.fixture
def change_config(url):
    """Change the stored configuration of the study."""
    from sqlalchemy import create_engine, select, update

    def change(changed):
        engine = create_engine(url)
        with engine.begin() as connection:
            config = connection.scalar(select(tables.studies.c.config))
            connection.execute(update(tables.studies).values(config=changed(config)))
        engine.dispose()

    return change


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_samplers_of_optuna_learn_from_all_three_values(done, toy_suite, monkeypatch, sampler):
    config = done.config("toy")
    search = config.search.model_copy(update={"sampler": sampler, "sampler_args": {}})
    proposer = Proposer(config.model_copy(update={"search": search}), done.suite("toy"))
    assert isinstance(proposer.sampler, OptunaSampler)
    filled = []
    monkeypatch.setattr(
        OptunaSampler, "_ask", lambda self, study: filled.append(study) or study.ask(self._space)
    )
    view = done.snapshot("toy", 0)
    next(proposer.sampler._suggestions(view))
    study = filled[-1]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    costs = {trial.candidate: trial.costs for trial in view.trials}
    values = [tuple(trial.values[1:]) for trial in study.trials if trial.values]
    assert sorted(values) == sorted(costs[candidate.id] for candidate in view.candidates)


def standing(name, score, *costs):
    return SnapshotTrial(name, 0, "done", True, score, 0.01, 1e6, 1.0, costs=costs)


def test_promotion_by_rank_goes_by_all_objectives():
    two, three = (Objectives.model_validate(["score", *list(COSTS)[:count]]) for count in (1, 2))
    trials = [standing("a", 0.9, 10.0, 1e3), standing("b", 0.8, 20.0, 1e2), standing("c", 0.1, 30.0, 1e4)]
    assert [trial.candidate for trial in ranked(trials, 0, three)][-1] == "c"
    assert {trial.candidate for trial in ranked(trials, 0, three)[:2]} == {"a", "b"}
    plain = [standing(trial.candidate, trial.score, trial.costs[0]) for trial in trials]
    assert [trial.candidate for trial in ranked(plain, 0, two)] == ["a", "b", "c"]


def finalist(number, score, *costs, below=False):
    return Finalist(number, f"c{number}", 1, score, 0.001, 1e6, 1, costs=costs, below=below)


def test_a_candidate_that_is_best_in_one_cost_stays_on_the_front_and_is_kept():
    rows = [finalist(0, 0.9, 10, 100), finalist(1, 0.8, 20, 50), finalist(2, 0.7, 30, 100)]
    assert [row.number for row in front_of(rows)] == [0, 1]
    kept = exportable(rows, {"c0", "c1", "c2"}, over=False)
    assert kept == {("c0", 1), ("c1", 1)}


def test_a_candidate_below_the_threshold_is_not_on_the_front_and_may_still_be_promoted():
    rows = [finalist(0, 0.9, 10, 100), finalist(1, 0.3, 1, 1, below=True)]
    assert [row.number for row in front_of(rows)] == [0]
    assert exportable(rows, {"c0"}, over=False) == {("c0", 1), ("c1", 1)}
    assert exportable(rows, {"c0", "c1"}, over=True) == {("c0", 1)}
