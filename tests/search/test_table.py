"""The file of a table: what it holds of a study, who is weighted how, and how damage is told."""

import json
import lzma
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories import suite
from made_tables import made_table, table_config
from toy_trainers import RUNGS

from search.choose.sampler import Problem
from search.choose.samplers import make_sampler
from search.read.results import Reader
from search.table.collect import collect_table, count_ended, thinned
from search.table.draws import weigh
from search.table.facts import rank_correlation, table_facts
from search.table.files import read_table, shipped_tables, table_bytes, write_table
from search.table.plan import table_study
from search.worker import Worker, run_worker
from space.cost import price
from space.errors import NotFoundError, StudyFileError
from space.knobs import Between
from space.study import Search, read_study

ROOT = Path(__file__).resolve().parents[2]
RECORD = {"sampler": "stratified", "sampler_args": {"by": "candidates"}, "promotion": "all", "repeats": 0.25}


def test_a_table_holds_what_the_study_measured(launch, url, rows, tmp_path):
    config = launch(search=RECORD, stop={"candidates": 8})
    run_worker(url, "toy")
    assert count_ended(url, "toy", config) == 8
    table = collect_table(url, "toy")
    reader = Reader(url)
    details = {(d.row.candidate, d.row.rung, d.row.seed): d for d in trials(reader)}
    assert sum(len(row.rungs) + len(row.repeats) for row in table.rows) == len(details) == 8 * 3 + 2 * 3
    assert (table.header.partial, table.header.failed, table.header.config) == (False, 0, config)
    for row in table.rows:
        for trial in (*row.rungs, *row.repeats):
            known = details[row.candidate, trial.rung, trial.seed]
            assert row.config == known.config
            assert trial.score == pytest.approx(known.row.score, rel=1e-6)
            assert trial.tokens == RUNGS[trial.rung]
            assert trial.training_flops == known.row.training_flops
            assert {task: score.value for task, score in trial.tasks.items()} == pytest.approx(
                {task: score.value for task, score in known.tasks.items()}, rel=1e-6
            )
            assert trial.routing == known.routing
            points = [point for point in known.curves if point.rung == trial.rung]
            assert trial.curve.tokens == tuple(point.tokens for point in points)
    repeated = {row.ordinal for row in table.rows if row.repeats}
    assert repeated == {3, 7}
    assert [row.candidate for row, _ in table.front()] == [row.candidate for row in reader.front("toy")]
    assert [score for _, score in table.front()] == pytest.approx([r.score for r in reader.front("toy")])
    path = tmp_path / "toy.jsonl.xz"
    assert write_table(table, path) == path.stat().st_size
    assert read_table(path) == table
    assert table_bytes(collect_table(url, "toy")) == path.read_bytes()


def trials(reader):
    return [reader.trial("toy", row.number) for row in reader.trials("toy") if row.state == "done"]


def test_a_table_of_a_study_at_work_holds_the_candidates_that_have_ended(launch, url):
    config = launch(search=RECORD, stop={"candidates": 8})
    worker = Worker(url, "toy", "study-artifacts", "first")
    for _ in range(5):  # a candidate to the top, another one to the rung below
        worker.work(worker.choose())
    worker.close()
    table = collect_table(url, "toy")
    assert table.header.partial
    assert len(table.rows) == count_ended(url, "toy", config) == 1
    assert len(table.rows[0].rungs) == 3


def test_diverged_candidates_are_rows_and_crashed_ones_are_counted(launch, url):
    launch(search=RECORD | {"repeats": 0}, stop={"candidates": 6}, trainer="toy_trainers:diverge")
    run_worker(url, "toy")
    table = collect_table(url, "toy")
    dense = [row for row in table.rows if not row.config.architecture.sparse]
    assert dense
    for row in table.rows:
        assert row.rungs[-1].diverged == (row in dense)
        assert (row.rungs[-1].error is not None) == (row in dense)
    assert np.isnan(table.scores()).sum() == len(dense) == table_facts(table).diverged


@pytest.mark.slow
def test_candidates_that_crash_for_good_are_counted_and_left_out(launch, url):
    launch(search=RECORD | {"repeats": 0}, stop={"candidates": 4}, trainer="toy_trainers:crash_if_dense")
    run_worker(url, "toy")
    table = collect_table(url, "toy")
    assert table.header.failed > 0
    assert all(row.config.architecture.sparse for row in table.rows)


@pytest.mark.slow
def test_weights_undo_the_stratification():
    """The weighted mean over a table is the mean over plain random draws."""
    table = made_table(count=240, repeats=0)
    assert table.weights.sum() == pytest.approx(1)
    controls = [row for row in table.rows if row.origin == "control"]
    assert [row.weight for row in controls] == [0.0, 0.0]
    assert sum(cell.probability for cell in table.header.cells) == pytest.approx(1)
    config, rng = table_config(), np.random.default_rng(5)
    problem = Problem(config.space, suite(), config.limits, 0, config.rungs)
    points = (problem.feasible(config.space.sample(suite(), rng)) for _ in range(4000))
    found = [point for point in points if point is not None]
    flops = np.log(table.flops_per_token)
    random = np.log([point.cost.flops_per_token for point in found])
    assert flops @ table.weights == pytest.approx(random.mean(), abs=0.06)
    sparse = np.array([row.config.architecture.sparse for row in table.rows])
    share = np.mean([point.candidate.architecture.sparse for point in found])
    assert sparse @ table.weights == pytest.approx(share, abs=0.02)
    assert abs(sparse.mean() - share) > 0.04  # one in five is dense
    rate = np.array([np.log(row.config.learning_rate) for row in table.rows])
    assert rate @ table.weights == pytest.approx(np.log(3.162e-3), abs=0.15)


@pytest.mark.parametrize("depth", [{"low": 1, "high": 3}, {"low": 1, "high": 12, "log": True}])
@pytest.mark.slow
def test_cells_have_the_probability_of_random_draws(depth):
    """Listed architectures with their probabilities agree with draws."""
    config = table_config(space=table_config().space.model_dump() | {"depth": Between(**depth)})
    _, cells = weigh(config, suite(), [])
    problem = Problem(config.space, suite(), config.limits, 0, config.rungs)
    sampler, rng = make_sampler(config.search, problem), np.random.default_rng(1)
    points = (problem.feasible(config.space.sample(suite(), rng)) for _ in range(6000))
    drawn = [p for p in points if p is not None]
    counts = Counter(sampler.cell(p.candidate.architecture.sparse, p.cost.flops_per_token) for p in drawn)
    for cell in cells:
        share = counts[cell.sparse, cell.bin] / len(drawn)
        assert share == pytest.approx(cell.probability, abs=4 * (cell.probability / len(drawn)) ** 0.5 + 1e-3)


def test_weights_of_random_draws_are_equal_and_of_other_samplers_unknown():
    drawn = [("control", True, 4e5), ("random", True, 4e5), ("random", False, 3e5)]
    search = {"promotion": "all"}
    assert weigh(table_config(search=search | {"sampler": "random"}), suite(), drawn) == ([0, 0.5, 0.5], [])
    assert weigh(table_config(search=search | {"sampler": "tpe"}), suite(), drawn) == (None, [])
    assert weigh(table_config(search={"sampler": "random"}), suite(), drawn) == (None, [])  # the best climb


def test_a_thinned_curve_keeps_both_ends():
    class Point:
        def __init__(self, tokens):
            self.tokens, self.loss, self.task_losses = tokens, 1 / tokens, {"a": 2.0} if tokens > 1 else {}

    points = [Point(tokens) for tokens in range(1, 101)]
    curve = thinned(points)
    assert len(curve.tokens) == len(curve.loss) == len(curve.tasks["a"]) == 20
    assert (curve.tokens[0], curve.tokens[-1]) == (1, 100)
    assert curve.tasks["a"][0] is None
    assert thinned(points[:3]).tokens == (1, 2, 3)
    assert thinned([]).tokens == ()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "made.jsonl.xz"
    write_table(made_table(count=12, repeats=2), path)
    return path


def lines(path):
    return lzma.decompress(path.read_bytes()).decode().splitlines()


def rewritten(path, changed):
    path.write_bytes(lzma.compress("".join(line + "\n" for line in changed).encode()))


def damage(kind, path):
    whole, old = path.read_bytes(), lines(path)
    match kind:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "flipped":
            path.write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
        case "plain":
            path.write_text("study: quick\n")
        case "empty":
            rewritten(path, [])
        case "foreign":
            rewritten(path, ['{"some": "thing"}'])
        case "later":
            rewritten(path, [json.dumps(json.loads(old[0]) | {"schema_version": 2}), *old[1:]])
        case "unknown key":
            rewritten(path, [old[0], json.dumps(json.loads(old[1]) | {"colour": "red"}), *old[2:]])
        case "lost row":
            rewritten(path, old[:-1])
        case "not JSON":
            rewritten(path, [old[0], "{", *old[2:]])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "is damaged: it is cut off"),
        ("flipped", "is damaged"),
        ("plain", "is not JSON Lines in xz"),
        ("empty", "is empty"),
        ("foreign", "is not a table of trained candidates"),
        ("later", "has format version 2, and this version of Pathfront reads 1"),
        ("unknown key", "line 2: colour: unknown key"),
        ("lost row", "is cut off: its header counts 12 candidates, and 11 are there"),
        ("not JSON", "line 2: not JSON"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_line(file, pathfront, kind, message):
    damage(kind, file)
    with pytest.raises(StudyFileError, match=message.replace("(", r"\(")) as error:
        read_table(file)
    assert "\n" not in str(error.value)
    code, out, err = pathfront("table", "show", file)
    assert (code, out) == (2, "")
    assert message in err


def test_a_missing_file_is_not_found(pathfront):
    with pytest.raises(NotFoundError):
        read_table("nowhere.jsonl.xz")
    code, _, err = pathfront("table", "show", "quik")
    assert code == 3
    assert "did you mean 'quick'?" in err


def test_recording_derives_the_study_of_the_shipped_table():
    """The study that recorded `quick`; with another specification the command would not resume it."""
    config = table_study(read_study("quick"))
    assert (config.study, config.stop.candidates, config.keep, config.logger) == (
        "quick-table",
        192,
        "front",
        "none",
    )
    assert config.search == Search(
        sampler="stratified",
        sampler_args={"by": "candidates", "dense_every": 5},
        seed=0,
        promotion="all",
        repeats=0.1,
    )
    same = {"space", "limits", "rungs", "suite", "batch_tokens", "context", "trainer", "precision"}
    quick = read_study("quick")
    assert all(getattr(config, name) == getattr(quick, name) for name in same)
    assert table_study(config) == config  # which records a table already
    assert table_study(config, candidates=4).stop.candidates == 4
    shipped = read_table("quick").header.config
    may_change = {"stop", "workers", "engine", "logger", "keep"}
    stored, derived = shipped.model_dump(exclude=may_change), config.model_dump(exclude=may_change)
    assert (stored["space"]["mixture"].pop("by"), derived["space"]["mixture"].pop("by")) == ("task", "auto")
    assert stored == derived  # a launch keeps what a study has where its file leaves a key to its default


def test_facts_by_hand():
    table = made_table(count=30, repeats=10, diverged=(4,))
    facts = table_facts(table)
    assert (facts.candidates, facts.diverged, facts.planned, facts.partial) == (30, 1, 300, False)
    assert [rung.candidates for rung in facts.rungs] == [30, 29, 29]
    assert [rung.repeats for rung in facts.rungs] == [9, 9, 9]
    differences = [row.rungs[2].score - row.repeats[2].score for row in table.rows if row.repeats]
    assert facts.rungs[2].seed_sd == pytest.approx(np.sqrt(np.mean(np.square(differences)) / 2))
    assert facts.rank_correlations["0-2"] > 0.8  # by the rule, rungs order candidates alike
    assert facts.dense == sum(not row.config.architecture.sparse for row in table.rows)
    every = [trial for row in table.rows for trial in (*row.rungs, *row.repeats)]
    assert facts.training_flops == sum(trial.training_flops or 0 for trial in every)
    scores = [point.score for point in facts.front]
    assert scores == sorted(scores, reverse=True)
    assert rank_correlation(np.array([1, 2, 3.0]), np.array([10, 20, 15.0])) == pytest.approx(0.5)
    assert rank_correlation(np.array([1, 1, 1.0]), np.array([1, 2, 3.0])) is None


def test_the_front_of_a_table_shows_all_objectives(pathfront, tmp_path):
    table = made_table(count=12, repeats=0, objectives=["score", "total_params", "training_flops"])
    config, tasks = table.header.config, table.header.suite
    rows = {row.candidate: row.config for row in table.rows}
    for point in table_facts(table).front:
        known = rows[point.candidate]
        costs = config.costs(price(known.architecture, tasks), known.optimizer, tasks)
        assert point.objectives == {
            "score": point.score,
            **dict(zip(("total_params", "training_flops"), costs, strict=True)),
        }
    write_table(table, tmp_path / "three.jsonl.xz")
    _, out, _ = pathfront("table", "show", tmp_path / "three.jsonl.xz")
    assert "planned FLOPs" in out


def test_the_shipped_table_prices_as_the_code_does():
    """Costs and references of the shipped table are those of this version."""
    table = read_table("quick")
    current = table.header.config.suite_record()
    for row in table.rows:
        cost = price(row.config.architecture, current)
        assert row.costs.flops_per_token == cost.flops_per_token
        assert (row.costs.active_params, row.costs.total_params) == (cost.active_params, cost.total_params)
    assert shipped_tables()["quick"].stat().st_size < 1.5e6


def test_the_card_says_how_to_use_a_table(tmp_path):
    text = (ROOT / "studies/tables/README.md").read_text(encoding="utf-8")
    (code,) = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + "import sys\nassert 'torch' not in sys.modules\n"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    table = read_table("quick")
    assert len(printed) == 2 + table.num_rungs
    assert float(printed[-1].split(": ")[1]) == pytest.approx(np.nansum(table.scores() * table.weights))


def test_show_prints_facts_as_json(file, pathfront):
    code, out, _ = pathfront("table", "show", file, "--json")
    assert code == 0
    assert json.loads(out)["candidates"] == 12
    code, out, _ = pathfront("table", "show", file)
    assert "12 of 300 candidates" in out


def test_a_table_without_rows_can_be_read_and_shown(tmp_path, pathfront):
    table = made_table(count=12, repeats=0)
    none = replace(table, header=table.header.model_copy(update={"candidates": 0, "cells": ()}), rows=())
    write_table(none, tmp_path / "none.jsonl.xz")
    code, out, _ = pathfront("table", "show", "none.jsonl.xz", "--json")
    assert (code, json.loads(out)["front"]) == (0, [])
    code, _, err = pathfront("table", "replay", "none.jsonl.xz")
    assert code == 2
    assert "holds none" in err
    code, _, err = pathfront("table", "fit", "none.jsonl.xz")
    assert code == 2
    assert "at least 10 candidates" in err


SPEC = """
study: mine
space: {mixture: {spread: 1.0}}
limits: {flops_per_token: 1.5e6}
rungs: {tokens: [3000, 6000], eta: 2}
stop: {candidates: 4}
workers: 1
trainer: toy_trainers:climb
"""


def bare(row):
    """A row without its weight, which depends on the others, and its repeats, which come later."""
    return row.model_copy(update={"weight": None, "repeats": ()})


@pytest.mark.slow
def test_record_trains_and_writes_and_resumes(pathfront, tmp_path, monkeypatch):
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}:{here.parent}:{ROOT}")
    monkeypatch.setattr("trainers.tasks.prepare.prepare", lambda suite, workers, progress: None)
    (tmp_path / "mine.yaml").write_text(SPEC)
    options = ("table", "record", "mine.yaml", "--repeats", "0.5")
    code, out, err = pathfront(*options, "--candidates", 3, "-o", "made.jsonl.xz", "--json")
    assert code == 0, err
    assert json.loads(out)["candidates"] == 3
    table = read_table(tmp_path / "made.jsonl.xz")
    assert [len(row.rungs) for row in table.rows] == [2, 2, 2]
    assert [len(row.repeats) for row in table.rows] == [0, 2, 0]
    assert table.header.config.study == "mine-table"
    code, _, err = pathfront(*options, "--candidates", 3, "-o", "again.jsonl.xz")
    assert code == 0
    assert "is finished" in err
    assert (tmp_path / "again.jsonl.xz").read_bytes() == (tmp_path / "made.jsonl.xz").read_bytes()
    code, _, err = pathfront(*options, "--candidates", 4, "-o", "made.jsonl.xz")  # more of the same
    assert code == 0, err
    grown = read_table(tmp_path / "made.jsonl.xz").rows
    assert len(grown) == 4
    assert [bare(row) for row in grown[:3]] == [bare(row) for row in table.rows]
    code, _, err = pathfront("table", "record", "mine.yaml", "--repeats", "0.25")
    assert code == 2  # another specification of the same study
    assert "search" in err
    code, _, _ = pathfront("table", "write", "mine-table", "-o", "written.jsonl.xz")
    assert code == 0
    assert (tmp_path / "written.jsonl.xz").read_bytes() == (tmp_path / "made.jsonl.xz").read_bytes()
    code, _, err = pathfront("table", "write", "nothing")
    assert code == 3


def test_record_without_training_needs_the_study(pathfront):
    code, _, err = pathfront("table", "record", "quick", "--write-only")
    assert code == 3, err
