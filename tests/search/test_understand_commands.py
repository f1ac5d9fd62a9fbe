"""What `importance`, `transfer` and the outlook of `status` print, and what they refuse."""

import json
import subprocess
import sys

import pytest
from factories import make_study
from made_tables import made_table

from search.table.files import write_table


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('studies') / 'studies.db'}"
    make_study(url, trials=30)
    make_study(url, name="small", trials=6)
    make_study(url, name="low", trials=12, floored=True)
    return url


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "made.jsonl.xz"
    write_table(made_table(24), path)
    return path


def test_importance_prints_each_knob_and_each_task(pathfront, url):
    code, out, err = pathfront("importance", "quick", "--storage", url)
    assert (code, err) == (0, "")
    for name in ("depth", "width", "experts", "top_k", "expert_ratio", "learning_rate", "mixture", "taxi"):
        assert f" {name} " in out, name
    assert "at fixed cost" in out
    assert "rank correlation of rungs 0 and 1: " in out
    found = json.loads(pathfront("importance", "quick", "--json", "--storage", url)[1])
    assert len(found["knobs"]) == 7
    assert len(found["tasks"]) == 8
    for row in (*found["knobs"], *found["tasks"]):
        low, high = row["interval"]
        assert 0 <= low <= row["share"] <= high <= 1
        assert row["supported"] == (row["direction"] != "unsupported")
    assert {"lower", "upper", "candidates", "correlation", "interval"} == set(found["rungs"][0])


def test_importance_and_transfer_read_tables(pathfront, table, tmp_path):
    found = json.loads(pathfront("importance", "--table", table, "--json")[1])
    rate = next(row for row in found["knobs"] if row["name"] == "learning_rate")
    assert rate["supported"]
    assert (found["study"], found["candidates"]) == ("made", 24)
    code, out, err = pathfront("transfer", "--table", table, "--csv", tmp_path / "mixtures")
    assert code == 0
    assert "ratios.csv and metrics.csv of 72 trials" in err
    assert "predicted best mixture" in out
    assert sorted(path.name for path in (tmp_path / "mixtures").iterdir()) == ["metrics.csv", "ratios.csv"]
    code, out, err = pathfront("transfer", "--table", table, "--csv", tmp_path / "mixtures")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "exists" in err


def test_transfer_prints_only_what_is_supported_and_says_if_a_mixture_gains_nothing(pathfront, url):
    code, out, _ = pathfront("transfer", "quick", "--storage", url)
    found = json.loads(pathfront("transfer", "quick", "--json", "--storage", url)[1])
    assert code == 0
    assert len(found["influences"]) == 56
    supported = [row for row in found["influences"] if row["supported"]]
    assert ("no transfer between tasks is supported" in out) == (not supported)
    assert ("so the uniform mixture may be as good" in out) == (found["gain_interval"][0] <= 0)
    assert sum(row["share"] for row in found["mixture"]) == pytest.approx(1)


@pytest.mark.parametrize("command", ["importance", "transfer"])
def test_what_cannot_be_said_is_refused_in_one_line(pathfront, url, command):
    for arguments, code, words in (
        (["small"], 3, f"{command} needs 8 candidates with scores, and study 'small' has 3 such candidates"),
        (["quik"], 3, "no study 'quik'"),
        ([], 2, "name a study, or a table with --table, got neither"),
        (["quick", "--table", "quick"], 2, "got both"),
    ):
        found, out, err = pathfront(command, *arguments, "--storage", url)
        assert (found, out, err.count("\n")) == (code, "", 1), err
        assert words in err


def test_status_says_whether_it_is_worth_going_on(pathfront, url):
    out = pathfront("status", "quick", "--storage", url)[1]
    assert "\ntwice the compute: best 0." in out
    assert "\nfour times the compute: best 0." in out
    assert "the chance of a gain above 0.01 is " in out
    found = json.loads(pathfront("status", "quick", "--json", "--storage", url)[1])
    assert [row["multiple"] for row in found["worth"]["best"]] == [1, 2, 4]
    spent = found["training_flops"]
    assert [row["training_flops"] for row in found["worth"]["best"]] == [spent, 2 * spent, 4 * spent]


@pytest.mark.parametrize("study", ["small", "low"])
def test_status_predicts_nothing_from_few_scores_or_without_the_top_rung(pathfront, url, study):
    code, out, err = pathfront("status", study, "--storage", url)
    assert (code, err) == (0, "")
    assert "the compute" not in out
    assert json.loads(pathfront("status", study, "--json", "--storage", url)[1])["worth"] is None


@pytest.mark.slow
def test_no_command_of_these_imports_torch_or_optuna(url):
    code = (
        "import sys\nfrom search.cli import main\nfor command in ('status', 'importance', 'transfer'):\n"
        f"    try:\n        main([command, 'quick', '--storage', {url!r}])\n    except SystemExit as end:\n"
        "        assert not end.code\n"
        "    assert not {'torch', 'optuna', 'sklearn'} & set(sys.modules), command"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
