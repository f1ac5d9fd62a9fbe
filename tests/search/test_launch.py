"""The main line with a trainer of one's own: launch, interrupt, go on, relaunch; and the price of a study."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.cli import main
from search.read.results import Reader
from space.errors import NotFoundError

ROOT = Path(__file__).resolve().parents[2]

STUDY = """
study: mine
rungs: {tokens: [20_000, 40_000], eta: 2}
stop: {candidates: 4}
workers: 2
trainer: own:train
"""

TRAINER = """
import os, time
from space.errors import Interrupted
from space.scores import Scorecard, Spent

def train(candidate, suite, budget, resume, report):
    for step in range(1, 11):
        tokens = budget.start_tokens + (budget.tokens - budget.start_tokens) * step // 10
        time.sleep(float(os.environ.get("STEP_SECONDS", "0.01")))
        report.progress(tokens, 5 - step / 10, {})
        report.checkpoint(lambda path: path.write_bytes(b"trunk"), tokens, "trunk")
        if report.stopping:
            raise Interrupted("stopped as asked")
    report.checkpoint(lambda path: path.write_bytes(b"weights"), budget.tokens, "decayed")
    quality = 0.3 + 0.2 * budget.rung + int(candidate.id, 16) % 100 / 400
    values = {}
    for name, record in suite.records.items():
        floor, expert = record.checked("select")
        values[name] = [floor.mean + q * (expert.mean - floor.mean) for q in (quality, quality + 0.02)]
    return Scorecard.of(suite, values, spent=Spent(tokens=budget.tokens, training_flops=1e9, wall_seconds=1))
"""

SCRIPT = """
import sys
import trainers.tasks.prepare
trainers.tasks.prepare.prepare = lambda suite, workers, progress: progress("all", 1, 1)
from search.cli import main
main(sys.argv[1:])
"""

COUNTED = """
import atexit, collections, sys
import space.ranges, space.study
priced, checks = collections.Counter(), []
price, check = space.ranges.price, space.study.StudyConfig.check
def counting_price(architecture, suite):
    priced[architecture.model_dump_json()] += 1
    return price(architecture, suite)
def counting_check(self):
    checks.append(self.study)
    return check(self)
space.ranges.price, space.study.StudyConfig.check = counting_price, counting_check
atexit.register(lambda: print("counted", len(checks), len(priced), priced.total(), file=sys.stderr))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(STUDY)
    (tmp_path / "own.py").write_text(TRAINER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    return tmp_path


@pytest.fixture
def relaunch(folder, run_command, monkeypatch):
    """Launches in this process; the workers are processes -> (exit code, stdout, stderr)."""
    monkeypatch.setattr("trainers.tasks.prepare.prepare", lambda *given: given[-1]("all", 1, 1))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield lambda *options: run_command("launch", "mine.yaml", *options)
    sys.modules.pop("own", None)


@contextmanager
def started(
    folder: Path, *arguments: str, script: str = SCRIPT, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def launch(folder: Path, *options: str) -> tuple[int, str, str]:
    with started(folder, "launch", "mine.yaml", *options) as process:
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.mark.slow
def test_a_launch_checks_its_study_once_and_prices_each_architecture_once(folder):
    small = STUDY.replace("candidates: 4", "candidates: 1").replace("workers: 2", "workers: 1")
    (folder / "mine.yaml").write_text(small)
    with started(folder, "launch", "mine.yaml", script=COUNTED + SCRIPT) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    checks, architectures, priced = map(int, err.splitlines()[-1].removeprefix("counted").split())
    assert checks == 1
    assert priced == architectures > 1


def test_a_study_runs_to_its_front_and_a_relaunch_says_so(folder, relaunch):
    code, out, err = launch(folder)
    assert code == 0, err
    assert "Traceback" not in err
    assert "mine: 100%, 6 of 6 trials (rungs 4/4 2/2)" in err
    reader = Reader("sqlite:///pathfront.db")
    front = reader.front("mine")
    assert all(f" {row.score:.3f} ± " in out for row in front)
    for command in ("dashboard", "export mine --pick best -o mine-best/"):
        assert f"  pathfront {command}\n" in out
    before = reader.trials("mine")
    code, out, err = relaunch("--json")
    assert code == 0
    assert "is finished" in err
    assert [row["trial"] for row in json.loads(out)] == [row.trial for row in front]
    assert reader.trials("mine") == before
    (folder / "mine.yaml").write_text(STUDY.replace("candidates: 4", "candidates: 5"))
    assert relaunch()[0] == 0
    assert reader.status("mine").candidates == 5
    (folder / "mine.yaml").write_text(STUDY.replace("40_000", "50_000"))
    code, out, err = relaunch()
    assert (code, out) == (2, "")
    assert err.startswith("error: rungs.tokens: a study keeps its specification")
    assert err.count("\n") == 1


def test_ctrl_c_stops_at_checkpoints_and_the_same_command_goes_on(folder):
    with started(folder, "launch", "mine.yaml", STEP_SECONDS="0.3") as process:
        deadline = time.monotonic() + 60
        while not _running() and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (
        "interrupted: study 'mine' is saved at its checkpoints; resume with: pathfront launch mine.yaml"
    )
    assert Reader("sqlite:///pathfront.db").status("mine").states["paused"] >= 1
    code, _, err = launch(folder)
    assert code == 0, err
    reader = Reader("sqlite:///pathfront.db")
    assert reader.status("mine").states == {"done": 6}
    keys = [(row.candidate, row.rung) for row in reader.trials("mine")]
    assert len(keys) == len(set(keys)) == 6


def _running() -> bool:
    try:
        running = Reader("sqlite:///pathfront.db").status("mine").running
    except NotFoundError:
        return False
    return any(trial.progress_tokens > 0 for trial in running)


def files(folder):
    """Names in a folder, without what Python itself keeps of own.py."""
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")


def test_a_dry_run_prices_the_study_and_writes_nothing(folder, capsys):
    names = files(folder)
    with pytest.raises(SystemExit) as stop:
        main(["launch", "mine.yaml", "--dry-run", "--json"])
    price = json.loads(capsys.readouterr().out)
    assert stop.value.code == 0
    assert [rung["trials"] for rung in price["rungs"]] == [4, 2]
    assert price["workers"] == 2
    assert price["speed"]["trials"] == 0
    with pytest.raises(SystemExit):
        main(["launch", "mine.yaml", "--dry-run"])
    out = capsys.readouterr().out
    for words in (
        "candidates possible",
        "FLOPs per token",
        "6 trials of 4 candidates",
        "expected time",
        "pathfront.db",
    ):
        assert words in out
    assert files(folder) == names


@pytest.mark.parametrize("name", ["quick", pytest.param("gpu", marks=pytest.mark.slow)])
def test_every_shipped_study_can_be_priced_anywhere(folder, capsys, name):
    with pytest.raises(SystemExit) as stop:
        main(["launch", name, "--dry-run", "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["study"] == name
