"""The pages run without an exception and say what they must, by Streamlit's own test double."""

import pytest
from factories import make_study
from old_studies import VERSIONS, unpack
from page_words import words
from sqlalchemy import create_engine, text


@pytest.mark.parametrize(("page", "charts"), [("studies", 0), ("front", 1), ("tasks", 3)])
def test_every_page_runs(visit, storage, page, charts):
    app = visit(storage, page)
    assert not app.exception
    assert len(app.get("plotly_chart")) == charts
    assert "Running" in words(app)


def test_studies_show_what_was_found_and_spent(visit, storage, study):
    text = words(visit(storage, "studies"))
    for part in (
        "Best score",
        f"{study.front[0].score:.3f}",
        "Compute spent",
        "FLOPs",
        "Towards the stop rule",
    ):
        assert part in text


def test_front_shows_the_trial_of_the_address(visit, storage, study):
    number = study.front[-1].trial
    app = visit(storage, "front", study="quick", trial=str(number))
    assert f"Trial {number} · on the front" in words(app)
    assert f"--trial {number} " in words(app)
    assert app.query_params["trial"] in (str(number), [str(number)])
    table = app.dataframe[0].value
    assert list(table["Trial"]) == [row.trial for row in study.front]
    assert list(table["Above half"]) == [f"{row.above(0.5)} of 8" for row in study.front]
    assert "best" in set(table["Mark"])


def test_front_without_a_selection_says_how_to_export(visit, storage, study):
    text = words(visit(storage, "front"))
    assert "No trial selected" in text
    for pick, number in study.picks.items():
        assert f"{pick}: " in text
        assert f"--trial {number} " in text


def test_a_selection_can_be_cleared(visit, storage, study):
    app = visit(storage, "front", study="quick", trial=str(study.front[0].trial))
    app.button[0].click().run()
    assert not app.exception
    assert "No trial selected" in words(app)
    assert "trial" not in app.query_params


def test_trial_page_opens_the_best_and_goes_to_another(visit, storage, study):
    app = visit(storage, "trial")
    assert f"--trial {study.front[0].trial} " in words(app)
    app.number_input[0].set_value(0).run()
    assert not app.exception
    assert "--trial 0 " in words(app)


def test_a_dense_trial_says_that_it_has_no_experts(visit, storage, study):
    dense = next(trial for trial in study.trials if not trial.description.sparse and trial.state == "done")
    app = visit(storage, "trial", study="quick", trial=str(dense.number))
    assert "This candidate is dense" in words(app)
    assert len(app.get("plotly_chart")) == 3
    sparse = next(trial for trial in study.trials if trial.description.sparse and trial.state == "done")
    app = visit(storage, "trial", study="quick", trial=str(sparse.number))
    assert "This candidate is dense" not in words(app)
    assert len(app.get("plotly_chart")) == 4


def test_pages_show_what_a_candidate_is_as_its_description_says(visit, storage, study):
    trial = next(trial for trial in study.trials if trial.description.sparse and trial.state == "done")
    said = words(visit(storage, "trial", study="quick", trial=str(trial.number)))
    for title, value in trial.description.facts.items():
        assert f"<td>{title}</td><td>{value}</td>" in said
    assert trial.description.label in words(
        visit(storage, "front", study="quick", trial=str(trial.number))
    )  # on its card
    running = next(trial for trial in study.trials if trial.state == "running")
    listed = visit(storage, "trials", study="quick")
    assert f"({running.description.label})" in words(listed)
    table = listed.dataframe[0].value.set_index("Trial")
    assert table.loc[trial.number, "Architecture"] == trial.description.label


@pytest.mark.parametrize("state", ["failed", "running"])
def test_unfinished_trials_open(visit, storage, study, state):
    trial = next(trial for trial in study.trials if trial.state == state)
    for page in ("front", "trial"):
        app = visit(storage, page, study="quick", trial=str(trial.number))
        assert not app.exception
    assert ("the loss is not finite" in words(app)) == (state == "failed")


@pytest.mark.parametrize("page", ["front", "trial"])
def test_a_trial_that_is_not_there_gets_one_line(visit, storage, page):
    app = visit(storage, page, study="quick", trial="99999")
    assert not app.exception
    assert "no trial 99999" in words(app)


@pytest.mark.parametrize("page", ["front", "tasks", "trial"])
def test_a_missing_study_names_the_nearest(visit, storage, page):
    app = visit(storage, page, study="quikc")
    assert not app.exception
    assert "did you mean 'quick'?" in words(app)


@pytest.mark.parametrize("page", ["studies", "front", "tasks", "trial"])
def test_no_database_invites_to_launch_and_creates_none(visit, tmp_path, page):
    app = visit(f"sqlite:///{tmp_path / 'none.db'}", page)
    assert not app.exception
    assert "pathfront launch quick" in words(app)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", VERSIONS)
def test_older_tables_get_one_line_that_names_the_command(visit, tmp_path, version):
    storage = unpack(version, tmp_path)
    for page in ("studies", "front"):
        app = visit(storage, page, study="old")
        assert not app.exception
        (error,) = app.error
        assert f"holds {version}; upgrade it: pathfront storage upgrade --storage {storage}" in error.value


def test_a_file_that_is_no_database_gets_one_line(visit, tmp_path):
    (tmp_path / "letter.db").write_text("Dear reader, " * 200)
    app = visit(f"sqlite:///{tmp_path / 'letter.db'}", "studies")
    assert not app.exception
    assert app.error


@pytest.mark.parametrize("page", ["studies", "front", "tasks", "trial"])
def test_a_study_without_results_opens(visit, tmp_path, page):
    url = f"sqlite:///{tmp_path / 'young.db'}"
    make_study(url, trials=1, running=2, finished=False)
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in ("task_scores", "curves", "routing"):
            connection.execute(text(f"delete from pf_{table}"))
        connection.execute(text("delete from pf_trials where state = 'done'"))
    engine.dispose()
    app = visit(url, page)
    assert not app.exception


def test_reading_writes_nothing(visit, tmp_path):
    url = f"sqlite:///{tmp_path / 'quiet.db'}"
    make_study(url, trials=4)
    before = (tmp_path / "quiet.db").read_bytes()
    for page in ("studies", "front", "tasks", "trial"):
        visit(url, page)
    assert (tmp_path / "quiet.db").read_bytes() == before


def test_choosing_another_study_lets_the_trial_go(visit, tmp_path):
    url = f"sqlite:///{tmp_path / 'two.db'}"
    make_study(url, trials=8)
    make_study(url, name="other", trials=8, seed=1)
    app = visit(url, "front", study="quick", trial="3")
    app.selectbox[0].select("other").run()
    assert not app.exception
    assert app.query_params["study"] in ("other", ["other"])
    assert "trial" not in app.query_params


def test_all_trials_say_how_candidates_were_proposed(visit, storage, study):
    text = words(visit(storage, "trials", study="quick"))
    assert "How candidates were proposed" in text
    assert "<td>stratified</td>" in text
    assert "1 of " in text.split("<td>control</td>")[1]
    detail = study.detail(study.front[0].trial)
    shown = words(visit(storage, "trial", study="quick", trial=str(study.front[0].trial)))
    assert f"<td>Proposed by</td><td>{detail.proposed_by.rule}</td>" in shown


def test_a_study_of_two_costs_shows_both_and_lets_one_be_chosen(visit, tmp_path):
    url = f"sqlite:///{tmp_path / 'three.db'}"
    make_study(url, objectives=["score", "total_params", "training_flops"], artifacts=tmp_path / "artifacts")
    app = visit(url, "front")
    assert not app.exception
    table = app.dataframe[0].value
    assert {"Total params", "Planned training FLOPs", "FLOPs per token"} <= set(table.columns)
    assert (table["Planned training FLOPs"] > 0).all()
    choice = app.get("button_group")[0]
    assert [option.content for option in choice.proto.options] == ["Total params", "Planned training FLOPs"]
    for page in ("trials", "trial", "studies", "tasks"):
        assert not visit(url, page).exception
    assert "Planned training FLOPs" in visit(url, "trials").dataframe[0].value.columns
    assert "Planned training FLOPs" in words(visit(url, "trial"))


def test_each_study_of_two_costs_has_a_choice_of_its_own(visit, tmp_path):
    url = f"sqlite:///{tmp_path / 'three.db'}"
    make_study(url, name="one", objectives=[{"score": "digits"}, "total_params", "training_flops"])
    make_study(url, name="two", objectives=["score", "memory_bytes", "active_params"])
    app = visit(url, "front", study="one")
    assert "Score: task digits." in words(app)
    assert "fraction of the expert, task digits" in app.get("plotly_chart")[0].proto.spec
    app.get("button_group")[0].set_value("training_flops").run()
    assert "Planned training FLOPs to the top rung" in app.get("plotly_chart")[0].proto.spec
    app.query_params["study"] = "two"
    app.run()
    assert not app.exception
    assert "Memory of a training step" in app.get("plotly_chart")[0].proto.spec


def test_a_threshold_that_nothing_reaches_is_said_on_the_page(visit, tmp_path):
    url = f"sqlite:///{tmp_path / 'high.db'}"
    make_study(url, trials=2, rungs=(225_000,), threshold=1.0, artifacts=tmp_path / "artifacts")
    app = visit(url, "front")
    assert not app.exception
    assert "no candidate of study 'quick' reaches the threshold 1; the best score is " in words(app)
