"""What to do next: every command that is printed works when it is pasted, again and again."""

import shlex
from pathlib import Path

import pytest
from factories import make_study
from sqlalchemy import create_engine, delete, select, update

from search.commands.advice import can_be_exported, next_steps
from search.commands.launch import _conclude
from search.database import tables
from search.read.results import Reader
from space.recipe import new_folder

URL = "sqlite:///pathfront.db"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study in the default storage of the working folder."""
    monkeypatch.chdir(tmp_path)
    make_study(URL, trials=24, running=1, artifacts=tmp_path / "artifacts")
    reader = Reader(URL)
    yield reader
    reader.close()


def change(statement):
    engine = create_engine(URL)
    with engine.begin() as connection:
        connection.execute(statement)
    engine.dispose()


def use_own_trainer():
    engine = create_engine(URL)
    with engine.connect() as connection:
        config = connection.scalar(select(tables.studies.c.config))
    engine.dispose()
    change(update(tables.studies).values(config=config | {"trainer": "own:train"}))


def suggested(text: str, command: str) -> list[str]:
    """The words of a suggested command after `pathfront`."""
    line = next(line for line in text.splitlines() if f"pathfront {command}" in line)
    return shlex.split(line.partition("pathfront ")[2])


def test_folders_that_are_suggested_do_not_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert new_folder("quick-7") == "quick-7"
    (tmp_path / "quick-7").mkdir()
    (tmp_path / "quick-7-2").touch()
    assert new_folder("quick-7") == "quick-7-3"


def test_what_a_launch_suggests_can_be_pasted_twice(study, pathfront, capsys):
    for _ in range(2):
        _conclude(study, "quick", json=False)
        said = capsys.readouterr().out
        export, train = suggested(said, "export"), suggested(said, "train")
        code, out, err = pathfront(*export)
        assert code == 0, err
        assert train[1] == export[-1]
        assert suggested(out, "train")[1] == export[-1].rstrip("/")


def test_what_show_suggests_can_be_pasted_twice(study, pathfront):
    for _ in range(2):
        command = suggested(pathfront("show", "quick", 3)[1], "export")
        assert command[-1].startswith("quick-3")
        code, _, err = pathfront(*command)
        assert code == 0, err


def test_trials_without_weights_are_not_to_be_exported(study, pathfront, capsys):
    use_own_trainer()
    change(delete(tables.checkpoints))
    front = study.front("quick")
    assert not can_be_exported(study.trial("quick", front[0].trial))
    steps = next_steps(study, "quick", front)
    assert steps == ["pathfront dashboard", f"pathfront show quick {front[0].trial}"]
    _conclude(study, "quick", json=False)
    assert "export" not in capsys.readouterr().out
    assert "export" not in pathfront("show", "quick", front[0].trial)[1]


def test_weights_of_another_trainer_are_exported_but_not_trained(study, pathfront):
    use_own_trainer()
    steps = "\n".join(next_steps(study, "quick", study.front("quick")))
    assert "pathfront train" not in steps
    code, out, err = pathfront(*suggested(steps, "export"))
    assert code == 0, err
    assert "train" not in out
    card = Path(out.split(" to ")[1].split()[0], "README.md").read_text()
    assert "saved by `own:train`" in card
    assert "pathfront train quick" not in card
