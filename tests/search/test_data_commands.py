"""`pathfront data` from outside: a folder becomes a task, downloads from a local server, and mistakes."""

import hashlib
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from search.commands import data as commands
from search.store.studies import create_or_resume
from space.catalog import local_catalog
from space.study import StudyConfig
from trainers.tasks.datasets.library import open_dataset
from trainers.tasks.registry import load_task

pytestmark = pytest.mark.usefixtures("own_folders")

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data"
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "then", "sleeps")


@pytest.fixture
def pathfront(run_command):
    """Runs `pathfront data ...` -> (exit code, stdout, stderr)."""
    return partial(run_command, "data")


@pytest.fixture
def server(tmp_path):
    """A web server on loopback -> (its folder, its address)."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


def refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    """One line of error, after lines of progress at most."""
    assert result[0] == code, result
    assert result[1] == ""
    last = result[2].splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in result[2]
    for word in words:
        assert word in last


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def novel(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    path.write_text("\n\n".join(" ".join(rng.choice(WORDS, 60)) + "." for _ in range(400)), encoding="utf-8")
    return path


def tones(folder: Path, each: int = 70) -> Path:
    """Recordings of three pitches in folders of their names."""
    rng = np.random.default_rng(0)
    for label, pitch in {"low": 300, "middle": 900, "high": 2000}.items():
        (folder / label).mkdir(parents=True)
        for i in range(each):
            sound = np.sin(2 * np.pi * pitch * np.arange(2400) / 8000) + rng.normal(0, 0.2, 2400)
            wavfile.write(folder / label / f"{i}.wav", 8000, (sound * 8000).astype(np.int16))
    return folder


def packed(folder: Path, archive: Path) -> Path:
    """A zip or tar archive of a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [path.relative_to(folder.parent) for path in files]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path, name in zip(files, names, strict=True):
                out.write(path, name)
    else:
        with tarfile.open(archive, "w:gz") as out:
            for path, name in zip(files, names, strict=True):
                out.add(path, name)
    return archive


def test_a_folder_becomes_a_task_that_a_study_may_name(pathfront, tmp_path):
    code, out, err = pathfront("add", "pitches", tones(tmp_path / "in"))
    assert code == 0, err
    assert "3 labels, 168 train, 21 select, 21 report" in out
    assert "accuracy: floor 0.3" in out
    assert "(SVC) on 21 report episodes" in out
    assert "210 of 210" in err
    assert "suite: [pitches" in err
    assert local_catalog()["pitches"].record.family == "added"
    study = {"study": "mine", "suite": ["pitches", "digits"], "rungs": {"tokens": [1000]}}
    suite = StudyConfig.model_validate(study | {"stop": {"candidates": 1}}).suite_record()
    assert suite.episodes["pitches"] == 21
    assert load_task("pitches", suite, train_episodes=5).name == "pitches"


@pytest.mark.slow
def test_added_again_it_is_what_it_was_and_says_so_as_json(pathfront, tmp_path):
    folder = tones(tmp_path / "in")
    assert pathfront("add", "pitches", folder)[0] == 0
    code, out, _ = pathfront("add", "pitches", folder, "--json")
    assert code == 0
    row = json.loads(out)
    assert (row["name"], row["kind"], row["items"]) == ("pitches", "sounds", 210)
    assert row["expert"] > 0.9 > row["floor"]
    (folder / "low" / "0.wav").unlink()
    refused(pathfront("add", "pitches", folder), 2, "keeps its content", "--replace")
    assert pathfront("add", "pitches", folder, "--replace")[0] == 0
    assert json.loads(pathfront("list", "--json")[1])[0]["items"] == 209


def test_the_list_shows_kind_size_and_references(pathfront, tmp_path):
    code, out, err = pathfront("list")
    assert (code, out) == (0, "")
    assert "pathfront data add NAME FOLDER" in err
    assert pathfront("list", "--json")[:2] == (0, "[]\n")
    assert pathfront("add", "novel", novel(tmp_path / "novel.txt"))[0] == 0
    assert pathfront("add", "pitches", tones(tmp_path / "in"))[0] == 0
    code, out, err = pathfront("list")
    assert code == 0
    lines = out.splitlines()
    assert next(line.split()[:2] for line in lines if "novel" in line) == ["novel", "text"]
    assert next(line.split()[:4] for line in lines if "pitches" in line) == [
        "pitches",
        "sounds",
        "210",
        "168/21/21",
    ]
    rows = json.loads(pathfront("list", "--json")[1])
    assert [row["name"] for row in rows] == ["novel", "pitches"]
    assert rows[0]["expert"] < rows[0]["floor"]
    (tmp_path / "data" / "novel" / "manifest.json").write_text("{")
    code, out, err = pathfront("list", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)] == ["pitches"]
    assert "warning: data set 'novel' is damaged" in err


def test_a_data_set_is_removed_unless_a_study_needs_it(pathfront, tmp_path, monkeypatch):
    refused(pathfront("remove", "novel"), 3, "no data set is called 'novel'")
    assert pathfront("add", "novel", novel(tmp_path / "novel.txt"))[0] == 0
    assert pathfront("add", "pitches", tones(tmp_path / "in"))[0] == 0
    refused(pathfront("remove", "novels"), 3, "did you mean 'novel'?")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    refused(pathfront("remove", "novel"), 2, "--yes")
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    spec = {"study": "mine", "suite": ["novel", "digits"], "rungs": {"tokens": [100_000]}}
    config = StudyConfig.model_validate(spec | {"stop": {"candidates": 1}})
    create_or_resume(url, config)
    refused(pathfront("remove", "novel", "--yes", "--storage", url), 2, "'novel' is a task of 'mine'")
    assert (tmp_path / "data" / "novel").is_dir()
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("update pf_studies set finished_at = created_at")
    connection.close()
    (tmp_path / "data" / "novel" / "text.bin").write_bytes(b"")  # a damaged one can be removed, too
    code, out, err = pathfront("remove", "novel", "--yes", "--storage", url)
    assert (code, out) == (0, "deleted the data set 'novel'\n"), err
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["pitches"]
    assert list(local_catalog()) == ["pitches"]
    assert {path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()} == {"pitches"}
    assert [row["name"] for row in json.loads(pathfront("list", "--json")[1])] == ["pitches"]
    assert not (tmp_path / "work" / "pathfront.db").exists()


@pytest.mark.parametrize("name", ["novel.txt", "novels.zip", "novels.tar.gz"])
def test_a_file_or_an_archive_is_fetched_and_checked(pathfront, server, tmp_path, name):
    web, address = server
    if name == "novel.txt":
        novel(web / name)
    else:
        (tmp_path / "novels").mkdir()
        novel(tmp_path / "novels" / "one.txt")
        novel(tmp_path / "novels" / "two.txt", 1)
        packed(tmp_path / "novels", web / name)
    url = f"{address}/{name}"
    code, out, err = pathfront("fetch", "novel", "--url", url, "--sha256", digest(web / name).upper())
    assert code == 0, err
    assert "bits per byte" in out
    assert f"downloading {url}" in err
    assert open_dataset("novel").manifest.source == url


def test_a_wrong_digest_is_one_line_and_nothing_is_kept(pathfront, server, tmp_path):
    web, address = server
    path = novel(web / "novel.txt")
    wrong = digest(path)[::-1]
    result = pathfront("fetch", "novel", "--url", f"{address}/novel.txt", "--sha256", wrong)
    refused(result, 1, "novel.txt' has SHA-256", wrong, digest(path))
    assert not (tmp_path / "data").exists()


def test_downloads_that_fail_are_one_line(pathfront, server):
    web, address = server
    pin = ["--sha256", "0" * 64]
    refused(pathfront("fetch", "mine", "--url", f"{address}/none", *pin), 1, "404")
    refused(pathfront("fetch", "mine", "--url", "http://127.0.0.1:1/x", *pin), 1, "cannot be downloaded")
    refused(pathfront("fetch", "mine", "--url", "gopher://x/y", *pin), 1, "gopher")
    torn = packed(tones(web / "tones", each=1), web / "tones.zip")
    torn.write_bytes(torn.read_bytes().replace(b"RIFF", b"TORN"))
    result = pathfront("fetch", "mine", "--url", f"{address}/tones.zip", "--sha256", digest(torn))
    refused(result, 1, "cannot be unpacked")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fetch", "nothing"], 3, ["no data set to fetch is called 'nothing'", "spoken-digits", "--url"]),
        (["fetch", "spoken-digit"], 3, ["did you mean 'spoken-digits'?"]),
        (["fetch", "mine", "--url", "http://127.0.0.1:1/x"], 2, ["--sha256"]),
        (["fetch", "mine", "--url", "http://127.0.0.1:1/x", "--sha256", "12"], 2, ["64", "'12'"]),
        (["fetch", "spoken-digits", "--sha256", "0" * 64], 2, ["--url"]),
        (["fetch", "Mine"], 2, ["small letters", "'Mine'"]),
        (["add", "digits", "."], 2, ["'digits' is a task that ships"]),
        (["add", "mine", "nowhere"], 3, ["there is no 'nowhere'"]),
        (["add", "mine", "."], 1, ["has files"]),
        (["add", "mine", ".", "--kind", "smells"], 2, ["--kind"]),
        (["add", "mine"], 2, ["FOLDER", "pathfront data add --help"]),
    ],
)
def test_mistakes_are_one_line(pathfront, arguments, code, words):
    result = pathfront(*arguments)
    refused(result, code, *words)
    assert result[2].count("\n") == 1


def test_an_expert_that_is_no_better_than_its_floor_is_refused(pathfront, tmp_path):
    rng = np.random.default_rng(0)
    for label in ("heads", "tails"):
        (tmp_path / "coins" / label).mkdir(parents=True)
        for i in range(110):
            noise = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "coins" / label / f"{i}.png")
    refused(pathfront("add", "coins", tmp_path / "coins"), 1, "exceed its floor")
    assert local_catalog() == {}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data, ../shared/data, are not here")
@pytest.mark.slow
def test_known_data_sets_come_from_any_mirror_if_they_are_the_same(pathfront, server, tmp_path):
    web, address = server
    real = REAL / "tinyshakespeare" / "input.txt"
    (web / "input.txt").write_bytes(real.read_bytes())
    code, out, err = pathfront("fetch", "tiny-shakespeare", "--url", f"{address}/input.txt", "--json")
    assert code == 0, err
    assert json.loads(out)["licence"] == "public domain"
    recordings = tmp_path / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for path in sorted((REAL / "free-spoken-digit-dataset" / "recordings").glob("[01]_*.wav")):
        (recordings / path.name).write_bytes(path.read_bytes())
    (tmp_path / "fsdd" / "README.md").write_text("A part of it\n")
    packed(tmp_path / "fsdd", web / "fsdd.zip")
    url = f"{address}/fsdd.zip"
    refused(pathfront("fetch", "spoken-digits", "--url", url), 1, "'recordings'", "of 600 files")
    pin = ["--url", url, "--sha256", digest(web / "fsdd.zip")]
    code, out, err = pathfront("fetch", "two-digits", *pin)
    assert code == 0, err
    assert "2 labels, 480 train, 60 select, 60 report; report has the recordings numbered 0 to 4" in out


def test_no_data_command_needs_torch(tmp_path):
    code = """
import sys
from search.cli import main
from search.commands import data as commands
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
print([name for name in ("torch", "lightning", "optuna") if name in sys.modules], file=sys.stderr)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for arguments in (["data", "add", "novel", str(novel(tmp_path / "novel.txt"))], ["data", "list"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "[]", done.stderr


def colours(folder: Path, each: int, seed: int = 0) -> Path:
    """Noisy pictures of two colours in folders of their names."""
    rng = np.random.default_rng(seed)
    for label, level in {"dark": 60, "light": 190}.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            pixels = np.clip(level + rng.normal(0, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


def console(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`pathfront` as a user calls it: the console script, no PYTHONPATH."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [Path(sys.executable).with_name("pathfront"), *arguments],
        env=known | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_sixty_files_are_a_task_with_a_warning(pathfront, tmp_path):
    code, out, err = pathfront("add", "shades", colours(tmp_path / "in", 30), "--json")
    assert code == 0, err
    assert json.loads(out)["splits"] == {"train": 36, "select": 12, "report": 12}
    assert "warning: 12 items score a trial of shades; fewer than 20 tell candidates apart poorly" in err
    (tmp_path / "short.txt").write_text(novel(tmp_path / "novel.txt").read_text()[:14_000])
    code, out, err = pathfront("add", "short", tmp_path / "short.txt")
    assert code == 0, err
    assert "excerpts score a trial of short; fewer than 10" in err
    assert "every fifth block for select and for report" in out


def test_a_few_damaged_files_are_named_and_left_out(pathfront, tmp_path):
    source = colours(tmp_path / "in", 101)
    (source / "dark" / "3.png").write_bytes(b"no picture")
    (source / "light" / "7.png").write_bytes((source / "light" / "8.png").read_bytes())
    (source / "labels.csv").write_text("3,dark")
    code, out, err = pathfront("add", "shades", source)
    assert code == 0, err
    assert "2 labels" in out
    told = err[err.index("left out: 1 item that cannot be read") :].splitlines()
    assert "dark/3.png' cannot" in told[1]
    assert told[2] == "left out: 1 file of another kind"
    assert told[3] == f"  {source / 'labels.csv'}"
    assert told[4] == "left out: 1 that stood more than once are kept once"
    assert json.loads(pathfront("list", "--json")[1])[0]["unreadable"] == 1
    result = pathfront("add", "others", source, "--max-bad", "0.001")
    refused(result, 1, "--max-bad", "1 of 202 are", "3.png' cannot")
    refused(pathfront("add", "others", source, "--max-bad", "2"), 2, "--max-bad")


def test_a_link_to_a_folder_of_a_label_is_followed(pathfront, tmp_path):
    aside = colours(tmp_path / "aside", 30)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "dark").symlink_to(aside / "dark")
    (aside / "light").rename(tmp_path / "in" / "light")
    code, out, err = pathfront("add", "shades", tmp_path / "in")
    assert code == 0, err
    assert "2 labels" in out
    (tmp_path / "in" / "grey").symlink_to(tmp_path / "not-mounted")
    refused(pathfront("add", "more", tmp_path / "in"), 1, "in/grey' is a link to nothing")


@pytest.mark.parametrize("variable", ["PATHFRONT_DATA", "PATHFRONT_CACHE", "PATHFRONT_TASKS", "HOME"])
def test_a_folder_that_cannot_be_written_is_said_before_anything_is_read(tmp_path, monkeypatch, variable):
    monkeypatch.delenv(variable, raising=False)
    source = colours(tmp_path / "in", 30)
    unset = {"XDG_DATA_HOME": "", "XDG_CACHE_HOME": ""}
    if variable == "HOME":
        monkeypatch.delenv("PATHFRONT_DATA")
    done = console("data", "add", "shades", str(source), **unset, **{variable: "/dev/null/here"})
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "'/dev/null" in line
    assert line.endswith("PATHFRONT_DATA" if variable == "HOME" else variable)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_ends_data_preparation_at_once(tmp_path):
    (tmp_path / "work" / "mine.yaml").write_text(
        "study: mine\nsuite: [taxi, cartpole]\nspace: {depth: 1, width: 48, experts: 1}\n"
        "rungs: {tokens: [3000]}\nstop: {candidates: 1}\n"
    )
    done = console("launch", "mine.yaml", PATHFRONT_CACHE="/dev/null/cache")
    assert done.returncode == 1
    assert (
        "generated data are kept in '/dev/null/cache', which cannot be used" in done.stderr.splitlines()[-1]
    )
    assert "Traceback" not in done.stderr


def test_replaced_data_are_said_to_be_other_data_and_lose_their_references(pathfront, tmp_path):
    code, _, err = pathfront("add", "shades", colours(tmp_path / "in", 30))
    assert code == 0
    assert "other data" not in err
    rng = np.random.default_rng(1)
    for path in (tmp_path / "in").rglob("*.png"):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
    result = pathfront("add", "shades", tmp_path / "in", "--replace")
    refused(result, 1, "exceed its floor")
    assert "'shades' holds other data than before" in result[2]
    assert local_catalog() == {}


def test_the_list_names_sets_that_are_broken_or_hidden_by_what_ships(pathfront, tmp_path, monkeypatch):
    assert pathfront("add", "shades", tones(tmp_path / "tones"))[0] == 0
    assert pathfront("add", "tints", colours(tmp_path / "in", 31))[0] == 0
    arrays = tmp_path / "data" / "shades" / "items.bin"
    arrays.write_bytes(arrays.read_bytes()[:-30])
    manifest = tmp_path / "data" / "tints" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"tints"', '"taxi"'))
    manifest.parent.rename(
        tmp_path / "data" / "taxi"
    )  # as if Pathfront had shipped a task of that name since
    code, out, err = pathfront("list", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)] == ["taxi"]
    assert "warning: data set 'shades' is damaged" in err
    assert "warning: 'taxi' is a task that ships too, which comes first" in err
    arrays.unlink()
    assert "warning: data set 'shades' is damaged" in pathfront("list")[2]
    monkeypatch.setenv("PATHFRONT_DATA", "/dev/null/data")
    refused(pathfront("list"), 1, "data sets are kept in '/dev/null/data', which cannot be used")


@pytest.mark.parametrize(("name", "function"), [("add", commands.add), ("fetch", commands.fetch)])
@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_the_help_loses_no_line(name, function, columns):
    done = console("data", name, "--help", COLUMNS=columns)
    assert done.returncode == 0
    told = "".join(done.stdout.split())
    lines = (function.__doc__ or "").replace("\b", "").splitlines()
    assert len(lines) > 4
    for line in lines:
        assert "".join(line.split()) in told
    for word in ("200items", "100,000characters", "10items"):
        assert name != "add" or word in told
    summary = console("data", "--help", COLUMNS="80").stdout
    assert "..." not in summary.replace("[ARGS]...", "")
    assert lines[0] in summary


@pytest.mark.parametrize("command", ["add", "fetch", "list"])
def test_every_command_shows_examples(pathfront, command):
    code, out, _ = pathfront(command, "--help")
    assert code == 0
    assert f"  pathfront data {command}" in out.split("Examples:")[1]
