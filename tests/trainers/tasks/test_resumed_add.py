"""An add that is killed, stopped or out of room goes on where it was, to the same bytes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_sources import questions
from PIL import Image
from scipy.io import wavfile

from space.errors import MachineError, NotFoundError, TaskError
from trainers.tasks.begun import Begun, InUse
from trainers.tasks.cache import BEGUN, cache_folder
from trainers.tasks.datasets import kept, library
from trainers.tasks.datasets.content import LeftOut
from trainers.tasks.datasets.folders import Told
from trainers.tasks.datasets.library import add_dataset, is_begun, open_dataset, remove_dataset
from trainers.tasks.journal import Journal

SCRIPT = Path(__file__).parents[2] / "mortal_add.py"
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "then", "sleeps")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Data sets and a cache of a test's own."""
    monkeypatch.setenv(library.ENVIRONMENT, str(tmp_path / "data"))
    monkeypatch.setenv("PATHFRONT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def run(tmp_path, source: Path, last: int, what: str = "add", name: str = "mine") -> tuple[str, dict]:
    """What a process prints that kills itself at the `last` call of its progress, 0 for none; and its log."""
    log = tmp_path / "log.json"
    log.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, SCRIPT, what, name, source, str(last), log],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == (-signal.SIGKILL if last else 0), done.stderr
    return done.stdout.strip(), json.loads(log.read_text())


def images(source: Path, count: int = 120) -> Path:
    """Noisy pictures of two labels, of which one is there twice."""
    rng = np.random.default_rng(0)
    for i in range(count):
        (label := source / ("dark", "light")[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.clip((60, 190)[i % 2] + rng.normal(0, 30, (24, 20, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(label / f"{i:03}.png")
    shutil.copy(source / "dark" / "002.png", source / "dark" / "012.png")
    return source


def sounds(source: Path, count: int = 60) -> Path:
    """Tones of two labels."""
    for i in range(count):
        (label := source / ("low", "high")[i % 2]).mkdir(parents=True, exist_ok=True)
        sound = np.sin(np.arange(8_000 + 200 * i) * (0.3, 1.1)[i % 2])
        noise = np.random.default_rng(i).normal(0, 0.1, len(sound))
        wavfile.write(label / f"{i:03}.wav", 8000, ((sound + noise) * 8000).astype(np.int16))
    return source


def pairs(source: Path) -> Path:
    """Two questions about each of some images."""
    return questions(source, 60).parent


def text(source: Path) -> Path:
    """Stories, one a line."""
    source.mkdir()
    rng = np.random.default_rng(0)
    stories = ["\n\n".join(" ".join(rng.choice(WORDS, 60)) + f" {i}" for _ in range(5)) for i in range(300)]
    lines = (json.dumps({"text": story}).encode() + b"\n" for story in stories)
    (source / "web.jsonl").write_bytes(b"".join(lines))
    return source


SOURCES = {"images": images, "sounds": sounds, "pairs": pairs}


def begun(folder: Path) -> Path:
    return folder / f".mine{BEGUN}"


def quiet(done: int, total: int, unit: str = "") -> None:
    """No progress."""


@pytest.mark.parametrize("kind", SOURCES)
def test_a_killed_add_goes_on_to_the_same_bytes_and_converts_little_again(tmp_path, folder, kind):
    source = SOURCES[kind](tmp_path / "in")
    if kind == "images":
        (source / "dark" / "008.png").write_bytes(b"no picture")
    told = Told(side=64)
    whole = add_dataset("whole", source, quiet, left_out=LeftOut(0.1), told=told).manifest.sha256
    total = len([path for path in source.rglob("*.*") if path.suffix != ".jsonl"])
    run(tmp_path, source, 20)
    journals = sorted(begun(folder).glob("*journal.bin"))
    torn = max(journals, key=lambda path: path.stat().st_size)
    with torn.open("ab") as rows:
        rows.write(b"\1" * 13)  # the last row is torn, and what it stands for
    for path in begun(folder).glob("*bytes.bin"):
        with path.open("ab") as content:
            content.write(b"half an item")
    _, second = run(tmp_path, source, 15)  # killed once more
    assert 0 < second["anew"] <= (15 if kind == "pairs" else total - 18)  # of pairs, until it was killed
    assert second["first"] > 15
    with torn.open("r+b") as rows:
        rows.truncate(torn.stat().st_size - 3)
    found, last = run(tmp_path, source, 0)
    assert found == whole
    assert 0 < last["anew"] <= total - (14 if kind == "pairs" else 30)
    assert last["first"] > second["first"]
    assert sorted(path.name for path in folder.iterdir()) == ["mine", "whole"]
    for path in (folder / "whole").glob("*.bin"):
        assert path.read_bytes() == (folder / "mine" / path.name).read_bytes(), path.name


def test_killed_tokenising_goes_on_to_the_same_bytes_and_tokenises_little_again(tmp_path):
    add_dataset("mine", text(tmp_path / "in"), quiet)
    whole, all_of_it = run(tmp_path, tmp_path, 0, "tokenise")
    shutil.rmtree(cache_folder())
    run(tmp_path, tmp_path, 8, "tokenise")
    (partial,) = cache_folder().glob(f".mine-*{BEGUN}")
    with (partial / "tokens.bin").open("r+b") as tokens:
        tokens.truncate((partial / "tokens.bin").stat().st_size - 1)
    found, last = run(tmp_path, tmp_path, 0, "tokenise")
    assert found == whole
    assert last["anew"] == all_of_it["anew"] - 7
    assert last["first"] > all_of_it["first"]
    assert [path.name for path in cache_folder().glob(".*")] == []


def stopped(source: Path, at: int = 30, error: type[BaseException] = KeyboardInterrupt, **options) -> None:
    """An add that an error ends after some items."""

    def stop(done: int, total: int, unit: str = "") -> None:
        if done >= at:
            raise error

    with pytest.raises(error):
        add_dataset("mine", source, stop, **options)


@pytest.fixture
def anew(monkeypatch):
    """How many items each add has converted."""
    found: list[int] = []
    read = kept._read

    def counted(items):
        found.append(len(items))
        return read(items)

    monkeypatch.setattr(kept, "_read", counted)
    return found


def _touch(source: Path) -> dict:
    os.utime(source / "dark" / "000.png", ns=(0, 1))
    return {}


def _grow(source: Path) -> dict:
    shutil.copy(source / "dark" / "000.png", source / "dark" / "zzz.png")
    return {}


CHANGES = {"a time": _touch, "a file": _grow, "an option": lambda _: {"told": Told(side=32)}}


@pytest.mark.parametrize("change", CHANGES)
def test_other_files_or_options_begin_anew(tmp_path, anew, change):
    source = images(tmp_path / "in")
    stopped(source)
    options = CHANGES[change](source)
    found = add_dataset("mine", source, quiet, **options).manifest
    assert anew[1] == len(list(source.rglob("*.png")))
    assert add_dataset("whole", source, quiet, **options).manifest.sha256 == found.sha256


def test_other_code_begins_anew(tmp_path, anew, monkeypatch):
    source = images(tmp_path / "in")
    stopped(source)
    monkeypatch.setattr("trainers.tasks.datasets.folders.object_fingerprint", lambda _: "other code")
    add_dataset("mine", source, quiet)
    assert anew == [120, 120]


def test_pairs_whose_images_changed_are_decoded_again_from_there_on(tmp_path, folder):
    source = pairs(tmp_path / "in")
    (single,) = source.glob("*.jsonl")
    stopped(single, single.stat().st_size // 2)
    Image.new("RGB", (40, 30), (1, 200, 3)).save(source / "7.png")
    found = add_dataset("mine", single, quiet).manifest
    assert add_dataset("whole", single, quiet).manifest.sha256 == found.sha256
    assert not begun(folder).exists()


def test_a_stop_or_a_full_disk_leaves_what_was_converted(tmp_path, folder, anew, monkeypatch):
    source = images(tmp_path / "in")
    stopped(source)
    append, count = Journal.append, iter(range(20))

    def full(self, *parts):
        if next(count, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        with pytest.raises(MachineError, match=r"disk of '.*' is full"):
            add_dataset("mine", source, quiet)
    told: list[int] = []
    assert add_dataset("mine", source, lambda done, *_: told.append(done)).manifest.items == 119
    assert anew == [120, 90, 70]
    assert told == [50, *range(51, 121)]
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_an_error_in_the_data_leaves_nothing_and_one_before_leaves_what_there_was(tmp_path, folder):
    source = images(tmp_path / "in")
    stopped(source)
    (source / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TaskError, match="a link to nothing"):
        add_dataset("mine", source, quiet)
    (source / "gone").unlink()
    assert (begun(folder) / "journal.bin").stat().st_size
    (source / "dark" / "004.png").write_bytes(b"no")
    with pytest.raises(TaskError, match="--max-bad"):
        add_dataset("mine", source, quiet)
    assert not folder.exists()


def test_a_text_that_is_read_leaves_nothing(tmp_path, folder):
    stopped(text(tmp_path / "in"))
    assert not folder.exists()


def test_what_was_begun_is_removed_by_its_name_only(tmp_path, folder):
    source = images(tmp_path / "in")
    stopped(source)
    shutil.copytree(begun(folder), folder / f".other{BEGUN}")
    assert is_begun("mine")
    remove_dataset("mine")
    assert not is_begun("mine")
    with pytest.raises(NotFoundError):
        remove_dataset("mine")
    add_dataset("mine", source, quiet)
    assert sorted(path.name for path in folder.iterdir()) == [f".other{BEGUN}", "mine"]
    assert open_dataset("mine").manifest.items == 119


def test_a_second_process_is_refused_in_one_line_and_disturbs_nothing(tmp_path, folder, anew):
    source = images(tmp_path / "in")
    stopped(source)
    with Begun(begun(folder), "the data set 'mine'"):
        for other in (lambda: add_dataset("mine", source, quiet), lambda: remove_dataset("mine")):
            with pytest.raises(MachineError, match="one process at a time makes the data set 'mine'") as told:
                other()
            assert "\n" not in str(told.value)
        raised = pytest.raises(InUse)
        with raised, Begun(begun(folder), "it"):
            raise AssertionError("it is held")
    assert not begun(folder).exists()  # the work in the block is done


def test_a_file_system_without_locks_keeps_nothing_and_shares_nothing(tmp_path, folder, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("trainers.tasks.begun.fcntl.flock", no_locks)
    source = images(tmp_path / "in")
    stopped(source)
    add_dataset("mine", source, quiet)
    assert [path.name for path in folder.iterdir()] == ["mine"]


ITEMS = st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=3)), max_size=8)


@settings(max_examples=100, deadline=None)
@given(items=ITEMS, more=ITEMS, place=st.integers(0, 2), cut=st.integers(0, 40), change=st.booleans())
def test_a_journal_goes_on_after_its_last_whole_item(tmp_path_factory, items, more, place, cut, change):
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder, "a", "b") as journal:
        for item in items:
            journal.append(*item)
    path = folder / ("a.bin", "b.bin", "journal.bin")[place]
    content = bytearray(path.read_bytes())
    if change and content:
        content[cut % len(content)] ^= 0x55
    elif not change:
        del content[max(0, len(content) - cut) :]
    path.write_bytes(content)
    with Journal(folder, "a", "b") as journal:
        found = []
        while (item := journal.read()) is not None:
            found.append(item)
        assert found == items[: len(found)]
        if cut == 0 and not change:
            assert found == items
        for item in more:
            journal.append(*item)
    expected = [*found, *more]
    assert (folder / "a.bin").read_bytes() == b"".join(a for a, _ in expected)
    assert (folder / "b.bin").read_bytes() == b"".join(b for _, b in expected)
