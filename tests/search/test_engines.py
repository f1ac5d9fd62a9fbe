"""Engines: the contract, on the one that ships and on the example; and how a study names one."""

from pathlib import Path

import pytest
from engine_contract import EngineContract, RunsWorkers
from toy_trainers import toy_config

from search.engines import launcher
from search.engines.engine import make_engine, with_engine
from space.errors import MachineError, StudyFileError

EXAMPLES = Path(__file__).parents[1] / "examples"
BAD = """
class Lazy:
    def __init__(self, config):
        pass


class Unready(Lazy):
    def plan(self, workers):
        return "cpu", 1

    def start(self, job):
        raise RuntimeError("the queue is closed")


class Unmade:
    pass
"""


class TestLocal(EngineContract):
    """Processes of this machine."""

    engine = "local"


@pytest.mark.slow  # test_examples.py runs a study with it
class TestExample(RunsWorkers):
    """The example of an engine."""

    engine = "my_engine:Nice"

    @pytest.fixture(autouse=True)
    def _example(self, tmp_path):
        (tmp_path / "my_engine.py").write_text((EXAMPLES / "my_engine.py").read_text())


def test_wrong_engines_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "bad_engines.py").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    for engine, message in {
        "bad_engines:Lazy": "with the methods plan and start, and 'bad_engines:Lazy' has no plan",
        "bad_engines:Unmade": "engine: 'bad_engines:Unmade' raises TypeError",
        "bad_engines:Busy": "module 'bad_engines' has no 'Busy'",
    }.items():
        with pytest.raises(StudyFileError, match=message):
            make_engine(toy_config(engine=engine))
    with pytest.raises(
        StudyFileError, match=r"--engine: engine is local or .*got 'locl'; did you mean 'local'"
    ):
        with_engine(toy_config(), "locl")
    assert with_engine(toy_config(), "my.engines.Slurm").engine == "my.engines:Slurm"


def test_an_engine_that_fails_is_named(launch, url, tmp_path):
    (tmp_path / "bad_engines.py").write_text(BAD)
    launch(engine="bad_engines:Unready")
    with pytest.raises(MachineError, match=r"'bad_engines:Unready' raises RuntimeError: the queue is closed"):
        launcher.run(url, "toy", 1, "artifacts")
