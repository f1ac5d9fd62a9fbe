"""Pathfront from Python: the examples of the docstrings and of studies/README.md, and what goes wrong."""

import doctest
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from factories import make_study

import search.api as api
from search.read.results import Reader
from space.errors import Interrupted, NotFoundError, StorageError, StudyFileError
from space.growth import TargetSize
from trainers.exports.policy import ExportedPolicy

ROOT = Path(__file__).parents[2]
README = (ROOT / "studies/README.md").read_text(encoding="utf-8")
EXAMPLES = [  # in this order: each one uses what those before it have made
    api.launch,
    api.open_study,
    api.Study.status,
    api.Study.trial,
    api.Study.front,
    api.Study.to_frame,
    api.Study.export,
    api.Study.export_larger,
    api.load_export,
    ExportedPolicy.generate,
    ExportedPolicy.act,
    ExportedPolicy.answer,
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, for workers too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(ROOT)]))
    return tmp_path


@pytest.fixture
def made(here):
    """A study in the default storage whose trials were written by hand."""
    make_study("sqlite:///pathfront.db", trials=24, running=1, artifacts=here / "artifacts")
    with api.open_study("quick") as study:
        yield study


def toy(**changes):
    return {
        "study": "toy",
        "suite": ["digits"],
        "rungs": {"tokens": [8_192]},
        "search": {"sampler": "stratified", "promotion": "rank"},
        "stop": {"candidates": 2},
        "workers": 1,
        "trainer": "toy_trainers:climb",
        **changes,
    }


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_the_examples_of_the_docstrings(here):
    names = {"launch": api.launch, "open_study": api.open_study, "load_export": api.load_export}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in EXAMPLES:
        found = doctest.DocTestParser().get_doctest(example.__doc__, dict(names), example.__name__, None, 0)
        assert found.examples, example
        said: list[str] = []
        runner.run(found, out=said.append)
        assert not said, "".join(said)


def test_every_public_function_has_an_example():
    named = {example.__name__ for example in EXAMPLES}
    assert {"launch", "open_study", "load_export", "generate", "act", "answer", "to_frame"} <= named


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_the_example_of_the_readme_as_a_script_without_a_guard(here):
    section = README.split("\n## From Python\n")[1].split("\n## ")[0]
    (text,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert "__main__" not in text
    (here / "from_python.py").write_text(text)
    done = run_script(here, "from_python.py")
    assert done.returncode == 0, done.stderr
    assert "FLOPs per token" in done.stdout or not api.open_study("small").front()
    assert re.search(r"the pole stood for \d+ steps", done.stdout)
    assert "task.digits" in done.stdout
    assert len(api.open_study("small")) >= 3


def run_script(folder, name):
    return subprocess.run(
        [sys.executable, name], cwd=folder, capture_output=True, text=True, check=False, timeout=550
    )


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_data_are_made_once_though_the_script_has_no_guard(here, monkeypatch):
    monkeypatch.setenv("PATHFRONT_CACHE", str(here / "cache"))
    (here / "script.py").write_text(
        "print('begun')\n"
        "from space.catalog import load_catalog, local_catalog\n"
        "from trainers.tasks.prepare import prepare\n"
        "suite = load_catalog().of_tasks(('blackjack', 'taxi'), local_catalog())\n"
        "prepare(suite, 2, lambda task, done, total: print(done, total))\n"
    )
    done = run_script(here, "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["begun", "1 2", "2 2"]


@pytest.mark.slow
def test_two_studies_in_one_process_and_outside_the_main_thread(here, capfd):
    seen = []
    first = api.launch(toy(), progress=seen.append)
    assert seen[-1].study == "toy"
    assert capfd.readouterr().err == ""
    found = []
    thread = threading.Thread(target=lambda: found.append(api.launch(toy(study="other"), progress=True)))
    thread.start()
    thread.join()
    assert "other: 100%" in capfd.readouterr().err
    assert len(first) == len(found[0]) == 2
    assert first.config.stop.candidates == 2


@pytest.mark.slow
def test_an_interrupted_launch_is_resumed_by_the_same_call(here):
    def stop(status):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="study 'toy' is saved at its checkpoints") as caught:
        api.launch(toy(), progress=stop)
    assert "\n" not in str(caught.value)
    assert api.launch(toy(), progress=False).status().finished


def test_a_study_gives_the_rows_of_the_reader(made):
    reader = Reader(made.url)
    assert made.trials() == list(made) == reader.trials("quick")
    assert made.front() == reader.front("quick")
    assert made.best == made.front()[0]
    assert made.trial(3) == reader.trial("quick", 3)
    limit = made.front()[-1].flops_per_token
    assert [row.trial for row in made.front(limit)] == [made.front()[-1].trial]
    reader.close()


def test_the_frame_has_a_column_for_each_knob_share_and_task(made):
    frame = made.to_frame()
    assert list(frame.index) == [row.number for row in made]
    for row in made:
        line, detail = frame.loc[row.number], made.trial(row.number)
        assert line["space.depth"] == detail.config.architecture.depth
        assert line["space.learning_rate"] == detail.config.learning_rate
        for task in made.suite.tasks:
            assert line[f"mixture.{task}"] == detail.config.mixture.weights[task]
            score = detail.tasks.get(task)
            assert np.isnan(line[f"task.{task}"]) if score is None else line[f"task.{task}"] == score.fraction
    assert frame["score"].isna().sum() == sum(row.score is None for row in made)
    assert frame.dtypes[["score", "task.docs"]].tolist() == [np.dtype("float64")] * 2


def test_reading_writes_nothing(made, here):
    before = (here / "pathfront.db").read_bytes()
    made.status(), made.to_frame(), made.front()
    assert (here / "pathfront.db").read_bytes() == before


@pytest.mark.parametrize(
    ("use", "kind", "message"),
    [
        (lambda s: api.open_study("quik"), NotFoundError, "no study 'quik' in .*; did you mean 'quick'"),
        (
            lambda s: api.open_study("quick", "sqlite:///none.db"),
            NotFoundError,
            "no study database 'none.db'",
        ),
        (lambda s: api.open_study("quick", "nonsense"), StorageError, "nonsense"),
        (lambda s: s.trial(999), NotFoundError, "has no trial 999"),
        (lambda s: s.trial(-1), StudyFileError, "a trial is a whole number from 0"),
        (lambda s: s.trial(True), StudyFileError, "a trial is a whole number"),
        (
            lambda s: s.export("x", pick="bets"),
            StudyFileError,
            "best or knee, got 'bets'; did you mean 'best'",
        ),
        (lambda s: s.export("x", pick=999), NotFoundError, "has no trial 999"),
        (lambda s: s.export("x", pick=1.5), StudyFileError, "a trial is a whole number"),
        (lambda s: s.export("artifacts"), StudyFileError, "'artifacts' exists"),
        (lambda s: s.export("x", max_flops=1.0), NotFoundError, "no done trial within 1 FLOPs"),
        (lambda s: s.export_larger("x", TargetSize(1.0), pick="best"), StudyFileError, "FLOPs"),
        (lambda s: api.load_export("nowhere"), NotFoundError, r"an export holds config\.yaml"),
    ],
)
def test_what_cannot_be_read_is_the_error_of_the_command_line(use, kind, message, made, here):
    with pytest.raises(kind, match=message) as caught:
        use(made)
    assert "\n" not in str(caught.value)
    assert not (here / "x").exists()
    assert not (here / "none.db").exists()


@pytest.mark.parametrize(
    ("study", "options", "kind", "message"),
    [
        (toy(stp={}), {}, StudyFileError, "stp: unknown key; did you mean 'stop'"),
        (toy(suite=["digit"]), {}, StudyFileError, "suite: .*'digit'"),
        (toy(trainer="toy_trainers:absent"), {}, StudyFileError, "trainer: "),
        (toy(rungs={"tokens": [10]}), {}, StudyFileError, "rungs.tokens: "),
        ({}, {}, StudyFileError, "study: "),
        ("absent.yaml", {}, NotFoundError, "no study file 'absent.yaml'"),
        (Path("absent.yaml"), {}, NotFoundError, "no study file 'absent.yaml'"),
        (toy(), {"workers": 0}, StudyFileError, "workers: a whole number from 1 to 4096, got 0"),
        (toy(), {"workers": True}, StudyFileError, "workers: "),
        (toy(), {"engine": "locl"}, StudyFileError, "engine: .*'locl'"),
        (toy(), {"storage": "sqlite:///no/folder.db"}, StorageError, "folder of a SQLite file must exist"),
    ],
)
def test_what_cannot_be_launched_is_the_error_of_the_command_line(study, options, kind, message, here):
    with pytest.raises(kind, match=message) as caught:
        api.launch(study, **options)
    assert "\n" not in str(caught.value)
    assert not (here / "pathfront.db").exists()
