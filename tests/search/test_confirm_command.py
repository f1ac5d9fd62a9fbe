"""`pathfront confirm` from the command line, with a trainer of one's own: run, killed, resumed, shown."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from test_guests import GUEST
from test_launch import SCRIPT, STUDY, TRAINER, folder, launch, started  # noqa: F401 - `folder` is a fixture

from search.read.results import Reader

LUCKY = TRAINER.replace(
    'floor, expert = record.checked("select")', "floor, expert = record.checked(budget.split)"
).replace("Scorecard.of(suite, values, spent", "Scorecard.of(suite, values, budget.split, spent")
LUCKY = LUCKY.replace("    values = {}\n", "    quality += (budget.seed % 7 - 3) / 100\n    values = {}\n")


@pytest.fixture
def searched(folder):  # noqa: F811
    """A folder with the finished study `mine`."""
    (folder / "own.py").write_text(LUCKY)
    code, _, err = launch(folder)
    assert code == 0, err
    return folder


def confirm(folder, *options):  # noqa: F811
    with started(folder, "confirm", "mine", *options) as process:
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err


def trials(folder):  # noqa: F811
    """(attempts, seed) of the confirmations that are done."""
    with sqlite3.connect(folder / "pathfront.db") as database:
        found = database.execute(
            "SELECT attempt, seed FROM pf_trials WHERE split = 'report' AND state = 'done' ORDER BY seed"
        ).fetchall()
    database.close()
    return found


@pytest.mark.slow
def test_a_confirmation_that_is_killed_goes_on_and_is_shown_everywhere(searched, pathfront, monkeypatch):
    monkeypatch.setenv("PATHFRONT_LEASE_SECONDS", "2")
    with started(searched, "confirm", "mine", "--top", "1", STEP_SECONDS="0.3") as process:
        deadline = time.monotonic() + 120
        while not _running(searched):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    code, out, err = confirm(searched, "--top", "1")
    assert code == 0, err
    assert "confirmed" in out
    assert [seed for _, seed in trials(searched)] == [1_000, 1_000, 2_000, 2_000]
    code, out, err = confirm(searched, "--top", "1")  # nothing is left
    assert code == 0, err
    assert "running" not in err
    assert len(trials(searched)) == 4

    code, out, _ = pathfront("front", "mine", "--json")
    rows = json.loads(out)
    confirmed = [row for row in rows if row["split"] == "report"]
    assert confirmed
    assert all(row["confirmed"] and row["seeds"] == 2 and len(row["interval"]) == 2 for row in confirmed)
    code, out, _ = pathfront("front", "mine")
    assert "selected at" in out
    best = confirmed[0]
    code, out, _ = pathfront("status", "mine")
    assert "confirmed with fresh seeds: 4 of 4 trials done, 0 running" in out
    assert "the best before confirmation, trial" in out
    assert "minus the uniform one at its architecture:" in out
    code, out, _ = pathfront("status", "mine", "--json")
    status = json.loads(out)
    assert status["finished"]
    assert status["confirmation"]["wanted"] == status["confirmation"]["done"] == 4
    code, out, _ = pathfront("show", "mine", best["trial"])
    assert f"confirmed {best['score']:.3f} [{best['interval'][0]:.3f}, {best['interval'][1]:.3f}]" in out
    code, out, _ = pathfront("export", "mine", "-o", "best/")
    assert code == 0
    assert f"exported trial {best['trial']} " in out
    assert f", confirmed at {best['score']:.3f})" in out
    card = (searched / "best/README.md").read_text()
    assert "## Confirmed score" in card
    assert f"**{best['score']:.3f} [{best['interval'][0]:.3f}, {best['interval'][1]:.3f}]**" in card
    code, out, _ = pathfront("trials", "mine", "--csv")
    assert "split" in out.splitlines()[0]


def _running(folder):  # noqa: F811
    with sqlite3.connect(folder / "pathfront.db") as database:
        query = "SELECT count(*) FROM pf_trials WHERE split = 'report' AND progress_tokens > 0"
        (count,) = database.execute(query).fetchone()
    database.close()
    return count


@pytest.mark.slow
def test_a_dry_run_and_bad_input_change_nothing(searched, pathfront):
    before = (searched / "pathfront.db").read_bytes()
    number = Reader("sqlite:///pathfront.db").front("mine")[0].trial
    code, out, err = pathfront("confirm", "mine", "--dry-run")
    assert code == 0, err
    assert "confirmations wanted" in out
    code, out, _ = pathfront("confirm", "mine", "--dry-run", "--json", "--top", "1", "--seeds", "3")
    plan = json.loads(out)
    assert len(plan["missing"]) == len(plan["wanted"]) == 6
    assert plan["training_flops"] > 0
    assert {each["seed"] for each in plan["wanted"]} == {1_000, 2_000, 3_000}
    for arguments, code in (
        (["--seeds", "0"], 2),
        (["--top", "0"], 2),
        (["--trial", number, "--top", "2"], 2),
        (["--trial", "999"], 3),
        (["--trial", "many"], 2),
    ):
        found, out, err = pathfront("confirm", "mine", *arguments)
        assert (found, out, err.count("\n")) == (code, "", 1), arguments
    found, _, err = pathfront("confirm", "mina")
    assert (found, err.count("\n")) == (3, 1)
    assert "did you mean 'mine'" in err
    found, _, err = pathfront("confirm", "mine", "--storage", "sqlite:///nowhere.db")
    assert (found, err.count("\n")) == (3, 1)
    assert (searched / "pathfront.db").read_bytes() == before


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="acting as a guest needs root and setpriv"
)
@pytest.mark.slow
def test_a_database_that_cannot_be_written(searched):
    database = searched / "pathfront.db"
    database.chmod(0o644)
    shutil.chown(database, "nobody")
    before = database.read_bytes()
    done = subprocess.run(
        [*GUEST, sys.executable, "-c", SCRIPT, "confirm", "mine"],
        cwd=searched,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
    assert database.read_bytes() == before


@pytest.mark.slow
def test_a_study_confirms_at_its_end(folder):  # noqa: F811
    (folder / "own.py").write_text(LUCKY)
    stop = "stop: {candidates: 4, confirm: {top: 1, seeds: 2}}"
    (folder / "mine.yaml").write_text(STUDY.replace("stop: {candidates: 4}", stop))
    code, out, err = launch(folder)
    assert code == 0, err
    assert len(trials(folder)) == 4
    assert "confirmed 4/4" in err
    assert "selected at" in out
    code, _, err = launch(folder)
    assert code == 0
    assert "is finished" in err
    assert len(trials(folder)) == 4
