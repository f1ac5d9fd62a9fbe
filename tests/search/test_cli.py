"""The command line from outside: exit codes, one line for each mistake, JSON, and what is never imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from factories import make_study

from search.commands.options import number, whole
from search.export.write import export
from search.read.results import Reader
from trainers.tasks.tokenizer import tokenizer_model

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "lightning", "optuna", "streamlit")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("shared")
    url = f"sqlite:///{folder / 'studies.db'}"
    make_study(url, trials=24, running=1, failed=1, finished=False, artifacts=folder / "artifacts")
    return url


def study_file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text("study: mine\nrungs: {tokens: [100_000]}\nstop: {candidates: 2}\n" + text)
    return path


def fails(result: tuple[int, str, str], code: int, *words: str) -> None:
    assert result[0] == code, result
    assert result[1] == ""
    assert result[2].startswith("error: ")
    assert result[2].count("\n") == 1, result[2]
    assert "Traceback" not in result[2]
    for word in words:
        assert word in result[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spcae: {}\n", ["spcae", "unknown key", "did you mean 'space'?"]),
        ("space: {depth: {low: 4, high: 2}}\n", ["space.depth", "low is at most high", "got low 4, high 2"]),
        ("space: {experts: {choices: [1, 2]}, top_k: {choices: [4, 8]}}\n", ["top_k", "got top_k 4"]),
        ("suite: [cartpool]\n", ["suite", "no task is called 'cartpool'", "did you mean"]),
        ("suite: quikc\n", ["suite", "no suite is called 'quikc'", "did you mean 'quick'?"]),
        ("search: {sampler: tpee}\n", ["search.sampler", "did you mean 'tpe'?"]),
        ("limits: {flops_per_token: 5}\n", ["limits", "at least one architecture"]),
        ("study: again\n", ["appears twice"]),
        ("a: [\n", ["not YAML"]),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_bad_study_file_is_one_line_and_nothing_is_created(pathfront, tmp_path, text, words, dry):
    path = study_file(tmp_path, text)
    fails(pathfront("launch", path, *(["--dry-run"] if dry else [])), 2, "mine.yaml", *words)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_missing_study_file_names_the_nearest(pathfront):
    fails(pathfront("launch", "quikc"), 3, "no study file 'quikc'", "did you mean 'quick'?")


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["status", "quick"],
        ["front", "quick"],
        ["show", "quick", "0"],
        ["trials", "quick"],
        ["retry", "quick"],
        ["delete", "quick", "--yes"],
        ["export", "quick", "-o", "new"],
        ["worker", "quick"],
        ["dashboard"],
    ],
)
def test_a_storage_that_is_not_there_is_said_and_not_created(pathfront, tmp_path, command):
    fails(pathfront(*command), 3, "pathfront.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["status"], ["front", "quick"], ["dashboard"]])
def test_a_storage_that_cannot_be_used_is_exit_4(pathfront, tmp_path, command):
    (tmp_path / "text.db").write_text("this is no database, " * 100)
    for url in ("text.db", "mysql://host/name", "sqlite:///text.db", "postgresql://nobody@localhost:1/none"):
        fails(pathfront(*command, "--storage", url), 4)
    assert [p.name for p in tmp_path.iterdir()] == ["text.db"]


@pytest.mark.parametrize(
    "command",
    [["status"], ["front"], ["trials"], ["retry"], ["delete", "--yes"], ["export", "-o", "new"], ["worker"]],
)
def test_a_missing_study_names_the_nearest(pathfront, tmp_path, shared, command):
    result = pathfront(command[0], "quikc", *command[1:], "--storage", shared)
    fails(result, 3, "no study 'quikc'", "did you mean 'quick'?")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["front"], ["Missing argument 'STUDY'", "pathfront front --help"]),
        (["frnt"], ["No such command 'frnt'", "front"]),
        (["front", "quick", "--jsn"], ["--jsn"]),
        (["front", "quick", "--max-flops", "many"], ["--max-flops", "50M", "'many'"]),
        (["show", "quick", "one"], ["TRIAL"]),
        (["train", "best"], ["--tokens"]),
        (["train", "best", "--tokens", "-5"], ["--tokens"]),
        (["train", "best", "--tokens", "1.5"], ["whole number"]),
        (["eval", "best", "--split", "train"], ["--split"]),
        (["launch", "quick", "--workers", "0"], ["--workers"]),
        (["tasks"], ["command"]),
        (["export", "quick"], ["--output"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(pathfront, arguments, words):
    fails(pathfront(*arguments), 2, *words)


def test_bad_choices_of_an_export_are_exit_2(pathfront, tmp_path, shared):
    (tmp_path / "mine").mkdir()
    option = ["--storage", shared]
    fails(pathfront("export", "quick", "-o", "mine", *option), 2, "goes into a new folder", "'mine'")
    fails(pathfront("export", "quick", "-o", "new", "--pick", "kne", *option), 2, "did you mean 'knee'?")
    fails(pathfront("export", "quick", "-o", "new", "--pick", "best", "--trial", 1, *option), 2, "--pick")
    fails(pathfront("export", "quick", "-o", "new", "--trial", 99, *option), 3, "no trial 99")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_is_no_export_is_said(pathfront, tmp_path):
    fails(pathfront("eval", "none"), 3, "'none'", "pathfront export")
    fails(pathfront("train", "none", "--tokens", "1M"), 3, "'none'")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.yaml").write_text("schema_version: 1\ncandidate: {}\n")
    fails(pathfront("eval", "torn"), 1, "torn")
    (tmp_path / "torn" / "config.yaml").write_text("a: [")
    fails(pathfront("train", "torn", "--tokens", "1M"), 1, "not YAML")


@pytest.mark.parametrize(("damage", "word"), [("flip", "damaged"), ("gone", "has none"), ("none", "weights")])
def test_an_export_with_damaged_weights_is_exit_1(pathfront, tmp_path, shared, damage, word):
    export(Reader(shared), "quick", tmp_path / "best", lambda suite: tokenizer_model(suite.tokenizer))
    weights = tmp_path / "best" / "model.safetensors"
    if damage == "flip":
        weights.write_bytes(b"x" + weights.read_bytes()[1:])
    elif damage == "gone":
        weights.unlink()
    code, out, err = pathfront("eval", "best")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: ")  # after the line that says what is scored
    assert word in err
    assert err.count("\n") == 2


def test_front_json_is_the_designs_list(pathfront, shared):
    code, out, err = pathfront("front", "quick", "--json", "--storage", shared)
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    fields = "trial candidate score score_stderr confirmed flops_per_token active_params total_params"
    added = "seeds split interval selected_score control_of objectives"
    for row in rows:
        assert " ".join(row) == f"{fields} rung tokens tasks mixture config {added} number stderr"


def test_other_reads_print_json_alone(pathfront, shared):
    option = ["--json", "--storage", shared]
    assert json.loads(pathfront("status", *option)[1])[0]["name"] == "quick"
    assert json.loads(pathfront("status", "quick", *option)[1])["states"]["done"] == 24
    assert json.loads(pathfront("show", "quick", 3, *option)[1])["row"]["number"] == 3


def test_tables_say_the_same(pathfront, shared):
    out = pathfront("front", "quick", "--storage", shared)[1]
    assert "FLOPs/token" in out
    assert "of 8" in out
    out = pathfront("status", "quick", "--storage", shared)[1]
    assert "24 trials done, 1 running, 1 failed" in out
    assert "quick" in pathfront("status", "--storage", shared)[1]
    out = pathfront("show", "quick", 3, "--storage", shared)[1]
    assert "pathfront export quick --trial 3 -o quick-3/" in out


def test_tasks_are_listed_with_exactly_the_designs_fields(pathfront):
    code, out, _ = pathfront("tasks", "list", "--json")
    assert code == 0
    for row in json.loads(out):
        assert " ".join(row) == "name family domain modality variant metric floor expert unit n memorisable"
        assert isinstance(row["variant"], bool)
        assert row["n"] > 1
    assert pathfront("tasks", "list")[1].count("\n") > 8


def test_storage_is_the_option_then_the_variable_then_the_default(pathfront, tmp_path, monkeypatch):
    for name in ("option", "variable", "pathfront"):
        make_study(f"sqlite:///{tmp_path / name}.db", name=name, trials=2, rungs=(9_000,))
    assert "pathfront" in pathfront("status")[1]
    monkeypatch.setenv("PATHFRONT_STORAGE", "sqlite:///variable.db")
    assert "variable" in pathfront("status")[1]
    assert "option" in pathfront("status", "--storage", "sqlite:///option.db")[1]


@pytest.mark.parametrize(
    ("text", "value"), [("50e6", 50e6), ("50_000_000", 50e6), ("50M", 50e6), ("1.5k", 1500), ("2B", 2e9)]
)
def test_numbers_as_engineers_write_them(text, value):
    assert number(text) == value
    assert whole(text) == value


def test_every_command_shows_examples(pathfront):
    code, out, _ = pathfront()
    assert code == 0
    listed = out.split("Commands:\n")[1].split("\n\n")[0]
    assert "..." not in listed  # each says whole what it does
    commands = [line.split()[0] for line in listed.splitlines()]
    assert {"launch", "trials", "retry", "delete", "data"} <= set(commands)
    for command in commands:
        group = {"tasks": ["list"], "data": ["list"], "storage": ["upgrade"], "table": ["show"]}
        words = [command, *group.get(command, [])]
        out = pathfront(*words, "--help")[1]
        assert f"  pathfront {' '.join(words)}" in out.split("Examples:")[1]


def in_a_process(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_no_reading_command_imports_what_is_heavy(shared, tmp_path):
    code = """
import sys
from search.cli import main
for arguments in {commands!r}:
    try:
        main(arguments)
    except SystemExit as stop:
        assert not stop.code, stop.code
    print(arguments, [name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    commands = [["--help"], ["status"], ["status", "quick"], ["front", "quick"], ["show", "quick", "0"]]
    commands += [["trials", "quick"], ["trials", "quick", "--csv"], ["tasks", "list"]]
    script = code.format(commands=commands, heavy=HEAVY)
    done = in_a_process(script, tmp_path, PATHFRONT_STORAGE=shared)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [f"{arguments} []" for arguments in commands]


def test_a_reader_that_has_seen_enough_is_no_error(shared, tmp_path):
    command = f"{sys.executable} -m search.cli show quick 0 --json --storage {shared} | head -n 1"
    code = f"import subprocess, sys; sys.exit(subprocess.call(['bash', '-o', 'pipefail', '-c', {command!r}]))"
    done = in_a_process(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


NUMBERS = ["nan", "inf", "-inf", "0", "-1", "1e400", "true", ""]


@pytest.mark.parametrize("value", [*NUMBERS, "1e30", "1.5"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["export", "quick", "-o", "new", "--scale", "10x"], "--tokens"),
        (["train", "best"], "--tokens"),
        (["launch", "quick"], "--workers"),
    ],
)
def test_a_whole_number_that_is_none_is_one_line(pathfront, tmp_path, command, option, value):
    fails(pathfront(*command, option, value), 2, option)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize("command", [["front", "quick"], ["export", "quick", "-o", "new"]])
def test_a_limit_that_is_no_number_is_one_line(pathfront, command, value):
    fails(pathfront(*command, "--max-flops", value), 2, "--max-flops")


@pytest.mark.parametrize("number", ["-1", "nan", "1e3", "99999999999999999999"])
def test_a_trial_is_a_number_that_a_database_holds(pathfront, shared, number):
    fails(pathfront("show", "quick", "--storage", shared, "--", number), 2, "TRIAL")
    fails(pathfront("export", "quick", "-o", "new", "--storage", shared, f"--trial={number}"), 2, "--trial")
