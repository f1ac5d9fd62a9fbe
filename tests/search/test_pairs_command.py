"""`pathfront data add` of pairs from outside: what it says, what it refuses, and a search on two sets."""

import json

import numpy as np
import pyarrow
import pytest
import yaml
from pair_sources import captions, lines, questions
from pyarrow.parquet import write_table

from search.commands import data_added as commands
from search.store.studies import create_or_resume
from search.worker import run_worker
from space.catalog import local_catalog
from space.study import StudyConfig
from trainers.specialist import PILOT, train_specialist
from trainers.tasks.datasets.library import open_dataset

pytestmark = pytest.mark.usefixtures("own_folders")

STUDY = """
study: mine
suite: [pictures, vqa]
space:
  depth: 1
  width: {choices: [32, 48]}
  experts: {choices: [1, 2]}
  top_k: 1
  mixture: {fixed: true}
rungs: {tokens: [5000]}
search: {sampler: stratified, seed: 0}
stop: {candidates: 2}
workers: 1
"""


def pictures(path, count=120):
    table = {"image": [{"bytes": image, "path": None} for image, _ in captions(count)]}
    write_table(pyarrow.table(table | {"caption": [text for _, text in captions(count)]}), path)
    return path


def test_two_sets_of_pairs_are_added_searched_and_removed(run_command, tmp_path):
    code, out, err = run_command("data", "add", "pictures", pictures(tmp_path / "a.parquet"))
    assert code == 0, err
    assert "pairs of the fields image = image, answer = caption" in err
    assert (
        "answers are scored by exact match, since the 1,000 most frequent training answers are right" in err
    )
    assert "exact match: floor" in out
    code, out, err = run_command("data", "add", "vqa", questions(tmp_path / "vqa", 60), "--json")
    assert code == 0, err
    assert "image = image, question = question, answer = answers" in err
    assert json.loads(out)["facts"]["metric"] == "exact"
    code, out, _ = run_command("data", "list")
    assert code == 0
    assert "pictures" in out
    assert "pairs" in out
    create_or_resume("sqlite:///pathfront.db", StudyConfig.model_validate(yaml.safe_load(STUDY)))
    assert run_worker("sqlite:///pathfront.db", "mine") == 2
    code, out, _ = run_command("trials", "mine", "--json")
    trials = json.loads(out)
    assert [trial["state"] for trial in trials] == ["done", "done"]
    assert run_command("data", "remove", "vqa", "--yes")[0] == 0
    assert local_catalog().keys() == {"pictures"}


def test_options_of_pairs_choose_fields_metric_and_groups(run_command, tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"a": f"which of {i}", "b": str(rng.choice(["north", "south"])), "of": i // 3} for i in range(120)
    ]
    (tmp_path / "a.jsonl").write_bytes(lines(rows))
    options = ("--question", "a", "--answer", "b", "--group-by", "of", "--metric", "bits")
    code, out, err = run_command("data", "add", "ways", tmp_path / "a.jsonl", *options)
    assert code == 0, err
    assert "answers are scored by bits per byte, as --metric says" in err
    assert "every fifth of for select" in out
    assert "bits per byte: floor" in out
    splits = open_dataset("ways").arrays["splits"].reshape(-1, 3)
    assert (splits == splits[:, :1]).all()


def test_wrong_options_are_one_line_and_change_nothing(run_command, tmp_path):
    source = pictures(tmp_path / "a.parquet", 30)
    code, out, err = run_command("data", "add", "a", source, "--kind", "text", "--answer", "caption")
    assert (code, out) == (2, "")
    assert err.startswith(
        "error: --image, --audio, --question, --answer, --group-by and --metric are of pairs"
    )
    code, out, err = run_command("data", "add", "a", source, "--question", "what")
    assert (code, out) == (1, "")
    assert "'what' is not in" in err.splitlines()[-1]
    assert not (tmp_path / "data").exists()


def test_an_expert_at_the_floor_is_refused_until_a_specialist_is_trained(run_command, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    ways = rng.choice(["north", "south"], 200)
    rows = [{"question": f"{i}: {way} or not?", "answer": f"the {way}"} for i, way in enumerate(ways)]
    (tmp_path / "a.jsonl").write_bytes(lines(rows))
    monkeypatch.setattr("trainers.tasks.datasets.pair_experts.WORDS", 1)  # its classifier sees nothing
    refused = run_command("data", "add", "letters", tmp_path / "a.jsonl", "--minutes", "3")
    assert refused == (2, "", "error: --minutes is for --specialist, got 3 minutes without it\n")
    code, _, err = run_command("data", "add", "letters", tmp_path / "a.jsonl")
    assert code == 1
    assert err.splitlines()[-1].endswith("a trained network may: add it again with --specialist")
    assert local_catalog() == {}
    asked = []

    def small(suite, name, tokens, report):
        asked.append(tokens)
        return train_specialist(suite, name, 25_000, report)

    monkeypatch.setattr("trainers.specialist.train_specialist", small)
    more = ("--specialist", "--minutes", "0.01")
    code, out, err = run_command("data", "add", "letters", tmp_path / "a.jsonl", *more)
    assert asked == [PILOT]  # it told how fast it is; less would be no training
    assert f"specialist: {PILOT:,} of 8,000,000 tokens, 0.01 minutes at most" in err
    assert commands.SPECIALIST.endswith("dense_specialist")
    assert code == 0, err
    assert "(specialist)" in out
