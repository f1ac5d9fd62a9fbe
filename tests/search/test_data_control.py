"""`pathfront data` with a data set of Minari from outside: added, listed, searched on, and acted on."""

import json

import gymnasium
import minari_made as made
import pytest
from untrained import untrained_export

from search.api import load_export
from search.store.studies import create_or_resume
from space.candidate import Architecture
from space.catalog import load_catalog, local_catalog
from space.study import StudyConfig
from trainers.tasks.datasets import control_task

STUDY = {
    "study": "pole",
    "suite": ["my-pole"],
    "space": {
        "depth": {"low": 1, "high": 1},
        "width": {"choices": [32, 48]},
        "experts": {"choices": [1, 2]},
    },
    "rungs": {"tokens": [6000]},
    "stop": {"candidates": 2},
}
ARCH = Architecture(depth=1, width=32, experts=4, top_k=2, expert_ratio=0.5, head_dim=16)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Everything in folders of a test's own, and few episodes to measure with."""
    for name in ("data", "cache"):
        monkeypatch.setenv(f"PATHFRONT_{name.upper()}", str(tmp_path / name))
    monkeypatch.delenv("PATHFRONT_TASKS", raising=False)
    for name in ("work", "minari"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(control_task, "REFERENCE", (16, 16))
    monkeypatch.setattr(control_task, "EVAL", (4, 4))


def test_an_id_of_minari_becomes_a_task_that_is_searched_and_acted_on(run_command, tmp_path, monkeypatch):
    made.write_cartpole(tmp_path / "minari", monkeypatch, ref_min_score=9.5, ref_max_score=60.0)
    code, out, err = run_command("data", "add", "my-pole", "cartpole/good-v0", "--kind", "control")
    assert code == 0, err
    assert "my-pole: 30 train, 0 select, 0 report" in out
    assert "return: floor " in out
    assert "demonstrations: 6" in out or "demonstrations: 5" in out
    assert "references of cartpole/good-v0: min 9.5, max 60" in out
    assert "warning" not in err
    [row] = json.loads(run_command("data", "list", "--json")[1])
    assert (row["kind"], row["environment"], row["ref_max_score"]) == ("control", "CartPole-v1", 60.0)

    create_or_resume("sqlite:///pathfront.db", StudyConfig.model_validate(STUDY))
    code, _, err = run_command("worker", "pole")  # in this process, for which few episodes are played
    assert code == 0, err
    trials = json.loads(run_command("trials", "pole", "--json")[1])
    assert [trial["state"] for trial in trials] == ["done"] * 2, trials

    suite = load_catalog().of_tasks(("my-pole",), local_catalog())
    folder = untrained_export(tmp_path / "best", suite, ARCH)
    policy, env = load_export(folder), gymnasium.make(made.CARTPOLE)
    seen, _ = env.reset(seed=0)
    policy.reset("my-pole")
    for _ in range(3):
        action = policy.act("my-pole", seen)
        assert action in (0, 1)
        seen, *_ = env.step(action)

    assert run_command("data", "remove", "my-pole", "--yes")[0] == 0
    assert json.loads(run_command("data", "list", "--json")[1]) == []


def test_mistakes_are_one_line(run_command, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    code, out, err = run_command("data", "add", "mine", "none/such-v0", "--kind", "control")
    assert (code, out) == (3, "")
    assert "there is no 'none/such-v0' here or below" in err
    (tmp_path / "empty").mkdir()
    code, out, err = run_command("data", "add", "mine", str(tmp_path / "empty"), "--kind", "control")
    assert (code, out) == (1, "")
    assert "Minari's data sets have 'data/metadata.json'" in err
