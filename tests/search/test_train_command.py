"""`pathfront train`, `eval` and `shrink` from outside: signals, kills, threads, bars, and what is left.

Each command is the console script in a process of its own, in a folder that is not the checkout.
"""

import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from untrained import untrained_export

from space.candidate import Architecture
from space.catalog import load_catalog
from space.recipe import WEIGHTS_FILE
from trainers.exports.full import train_export
from trainers.exports.huggingface.folder import read_hf
from trainers.exports.load import full_scorecard

ARCH = Architecture(depth=1, width=32, experts=4, top_k=2, expert_ratio=0.5, head_dim=16)
SCRIPT = Path(sys.executable).with_name("pathfront")
STEP = 512  # tokens
TOKENS = 240 * STEP  # of a training: 192 steps of trunk, 48 of decay


@pytest.fixture
def best(tmp_path):
    suite = load_catalog().of_tasks(("iris", "wine"), {}).model_copy(update={"batch_tokens": STEP})
    return untrained_export(tmp_path / "best", suite, ARCH)


def environment(**changes: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OMP", "MKL"))
    }
    return kept | {"OMP_NUM_THREADS": "1"} | changes


def run(folder: Path, *arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    given = {name: value for name, value in environment(**changes).items() if value}
    return subprocess.run(
        command, cwd=folder, env=given, capture_output=True, text=True, check=False, umask=0o027
    )


def stopped(folder: Path, which: signal.Signals, at: str, *arguments: object) -> tuple[int, str]:
    """Run a command and send it a signal when a file of a pattern appears -> its exit code and stderr."""
    with subprocess.Popen(
        [str(SCRIPT), *map(str, arguments)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        umask=0o027,
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith(at):
                break
        process.send_signal(which)
        said += process.stderr.read()
    return process.returncode, said


def train(best: Path, *more: object) -> tuple[object, ...]:
    return ("train", best.name, "--tokens", TOKENS, *more)


def trunk_tokens(best: Path) -> int:
    (trunk,) = (best / "full").glob("trunk-*.ckpt")
    return int(trunk.stem.removeprefix("trunk-"))


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (load_file(folder / "full" / WEIGHTS_FILE) for folder in (one, other))
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.slow
def test_whatever_ends_a_training_the_same_command_goes_on_and_nothing_differs(best):
    whole = best.with_name("whole")
    shutil.copytree(best, whole)
    here = best.parent
    code, said = stopped(here, signal.SIGTERM, "training:", *train(best))
    assert code == 143, said
    again = f"pathfront train best --tokens {TOKENS}"
    assert said.splitlines()[-1] == f"interrupted: stopped at a checkpoint; resume with: {again}"
    assert 0 < trunk_tokens(best) < 192 * STEP
    code, said = stopped(here, signal.SIGHUP, "decay:", *again.split()[1:])
    assert code == 130, said
    assert trunk_tokens(best) == 192 * STEP
    assert len(list((best / "full").glob("branch-*.ckpt"))) == 1
    code, said = stopped(here, signal.SIGKILL, "scoring:", *again.split()[1:])
    assert code == -signal.SIGKILL
    assert "training:" not in said
    done = run(here, *train(best))
    assert done.returncode == 0, done.stderr
    assert "training:" not in done.stderr
    assert "decay:" not in done.stderr
    once_more = run(here, *train(best))
    assert "is trained on 123k tokens already" in once_more.stderr
    assert "training:" not in once_more.stderr
    assert once_more.stdout == done.stdout
    torch.set_num_threads(1)
    card = train_export(whole, TOKENS, lambda *point: None)
    assert same_weights(best, whole)
    assert full_scorecard(best).tasks == card.tasks
    left = {path.name.partition("-")[0] for path in (best / "full").iterdir()}
    assert left == {path.name.partition("-")[0] for path in (whole / "full").iterdir()} | {"threads.json"}
    assert {mode_of(path) for path in (best / "full").rglob("*") if path.is_file()} == {0o640}


@pytest.mark.slow
def test_sigterm_stops_a_shrink_and_the_same_command_goes_on(best, pathfront):
    code, said = stopped(best.parent, signal.SIGTERM, "retraining:", "shrink", "best", "--tokens", 100 * STEP)
    assert code == 143, said
    again = said.splitlines()[-1].partition("resume with: pathfront ")[2]
    assert not best.with_name("best-half").exists()
    code, _, err = pathfront(*shlex.split(again))
    assert code == 0, err
    assert "measuring the channels" in err
    assert "scoring the retrained one: 100%" in err
    assert (best.with_name("best-half") / "config.yaml").is_file()


@pytest.fixture
def free(monkeypatch):
    """No number of threads from the environment, and the process's own after the test."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield monkeypatch
    torch.set_num_threads(before)


@pytest.mark.usefixtures("best")
def test_threads_are_asked_for_or_given_or_measured(pathfront, free):
    code, out, err = pathfront("eval", "best", "--threads", 1, "--json")
    assert code == 0
    assert json.loads(out)["split"] == "report"
    assert "scoring on 1 thread (as asked)" in err
    assert "scoring: 100%  2 of 2 tasks" in err
    free.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    assert "scoring on 1 thread (by OMP_NUM_THREADS)" in pathfront("eval", "best")[2]
    free.delenv("OMP_NUM_THREADS")
    free.setattr("search.engines.devices.cpu_count", lambda: 2)
    assert re.search(
        r"scoring on [12] threads? \(of 2 cores, measured a step: ", pathfront("eval", "best")[2]
    )


def test_a_training_writes_the_folder_for_transformers_anew(best, pathfront):
    assert pathfront("export", "best", "--format", "hf")[0] == 0
    before = read_hf(best / "hf")["head.weight"]
    code, _, err = pathfront("train", "best", "--tokens", "3k")
    assert code == 0
    assert "best/hf now holds the new weights" in err
    after = read_hf(best / "hf")["head.weight"]
    assert not torch.equal(before, after)
    assert torch.equal(after, load_file(best / "full" / WEIGHTS_FILE)["head.weight"])
    assert {mode_of(path) for path in (best / "hf").iterdir()} == {mode_of(best / "config.yaml")}
    code, _, err = pathfront("train", "best", "--tokens", "3k")
    assert code == 0
    assert "hf" not in err
    assert pathfront("export", "best", "--format", "hf")[0] == 2
    assert [path.name for path in best.iterdir() if path.name.startswith(".")] == []
