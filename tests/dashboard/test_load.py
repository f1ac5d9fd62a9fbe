import subprocess
import sys
from pathlib import Path

import pytest
from factories import make_study
from sqlalchemy import create_engine, text

from dashboard import load
from space.errors import NotFoundError


def execute(url, statement):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture
def live(tmp_path):
    url = f"sqlite:///{tmp_path / 'live.db'}"
    make_study(url, trials=12, running=2, finished=False)
    return url


def test_progress_moves_the_token_and_not_the_results(live):
    token, key = load.token(live, "quick"), load.results_key(load.status(live, "quick"))
    execute(live, "update pf_trials set progress_tokens = progress_tokens + 1 where state = 'running'")
    assert load.token(live, "quick") != token
    assert load.results_key(load.status(live, "quick")) == key


def test_a_trial_that_ends_moves_the_results(live):
    before = load.open_study(live, "quick")
    execute(
        live,
        "update pf_trials set state = 'done', score = 2, stderr = 0 where number ="
        " (select max(number) from pf_trials where state = 'running')",
    )
    after = load.open_study(live, "quick")
    assert after.key != before.key
    assert len(after.front) != len(before.front) or after.front[0].score == 2
    assert load.open_study(live, "quick") == after


def test_unchanged_reads_are_cached(live):
    study = load.open_study(live, "quick")
    assert load.open_study(live, "quick").trials is study.trials
    assert load.status(live, "quick") is load.status(live, "quick")


def test_best_and_knee_are_marked(live):
    study = load.open_study(live, "quick")
    words = ", ".join(study.marks.values())
    assert "best" in words
    assert "knee" in words
    assert study.marks[study.front[0].trial].startswith("best")


def test_a_database_made_anew_is_opened_again(live, tmp_path):
    assert load.studies(live)[0].name == "quick"
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(NotFoundError):
        load.studies(live)
    make_study(live, name="second", trials=4)
    assert [summary.name for summary in load.studies(live)] == ["second"]


def test_a_running_study_is_looked_at_more_often(live):
    now = load.status(live, "quick")
    assert load.poll_seconds(now) == load.BUSY_SECONDS
    execute(live, "update pf_trials set lease_until = 0")
    assert load.poll_seconds(load.status(live, "quick")) == load.IDLE_SECONDS


def test_nothing_heavy_is_imported():
    code = (
        "import sys; import dashboard.load, dashboard.pages;"
        "from dashboard.views import front, parts, studies, tasks, trial;"
        "print(sorted({'torch', 'lightning', 'optuna', 'trainers', 'gymnasium'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_module_hides_a_package():
    folder = Path(load.__file__).parent
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    root = {path.name for path in folder.parent.iterdir() if path.is_dir()}
    assert not names & root
    assert not names & set(sys.stdlib_module_names)
    assert not names & {"streamlit", "plotly", "pandas", "numpy", "sqlalchemy", "pydantic", "optuna", "torch"}
