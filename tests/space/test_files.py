import hashlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from space.files import file_sha256, move_durably, umask_mode, write_atomically, write_folder_atomically

WAYS = {
    "text": lambda text: text,
    "bytes": lambda text: text.encode(),
    "function": lambda text: lambda path: path.write_text(text),
}


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def write_privately(path):
    """As safetensors does: a temporary file of mode 600 is moved into place."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write("weights")
    os.replace(file.name, path)


def broken(path):
    path.write_text("half")
    raise ValueError("the writer fails")


@pytest.mark.usefixtures("umask")
def test_a_file_has_the_mode_of_the_umask_however_it_was_written(tmp_path):
    path = tmp_path / "file"
    write_privately(path)
    assert mode(path) == 0o600
    with umask_mode(path):
        write_privately(path)
    assert mode(path) == 0o640
    assert path.read_text() == "weights"


def test_a_file_that_was_not_written_is_an_error(tmp_path):
    def nothing():
        with umask_mode(tmp_path / "file"):
            pass

    with pytest.raises(FileNotFoundError):
        nothing()


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("way", WAYS)
def test_a_file_is_replaced_with_the_mode_of_the_umask(tmp_path, way):
    path = tmp_path / "file"
    for text in ("old", "newer\r\n"):
        write_atomically(path, WAYS[way](text))
        assert path.read_bytes() == text.encode()
    assert mode(path) == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_a_private_temporary_file_of_a_library_gets_the_umasks_mode_too(tmp_path):
    write_atomically(tmp_path / "file", write_privately)
    (tmp_path / "plain").write_text("x")
    assert mode(tmp_path / "file") == mode(tmp_path / "plain")


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(ValueError, match="the writer fails"):
        write_atomically(path, broken)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_leaves_the_old_file(small_disk, way):
    path = small_disk / "file"
    write_atomically(path, "old" * 1000)
    with pytest.raises(OSError, match=r"No space left.*disk/file'$"):
        write_atomically(path, WAYS[way]("new" * 30_000))
    assert path.read_text() == "old" * 1000
    assert os.listdir(small_disk) == ["file"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, small_disk):
    with pytest.raises(OSError, match=r"none/file'$"):
        write_atomically(tmp_path / "none" / "file", "text")
    write_atomically(small_disk / "file", "old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match=r"Read-only.*disk/file'$"):
        write_atomically(small_disk / "file", "new")
    with (
        pytest.raises(OSError, match=r"Read-only.*disk/folder'$"),
        write_folder_atomically(small_disk / "folder"),
    ):
        pass
    assert (small_disk / "file").read_text() == "old"
    assert os.listdir(small_disk) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_process_killed_before_it_is_done_leaves_the_old_file(tmp_path, call):
    path = tmp_path / "file"
    write_atomically(path, "old")
    code = f"""
import os, signal, sys
from pathlib import Path
from space.files import write_atomically
os.{call} = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), "new")
"""
    ended = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    left = [name for name in os.listdir(tmp_path) if name != "file"]
    assert all(name.startswith(".file.") and name.endswith(".part") for name in left)


@pytest.mark.parametrize("way", WAYS)
def test_content_is_synced_before_its_name_and_the_folder_after_it(tmp_path, monkeypatch, way):
    happened = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(handle):
        happened.append(os.readlink(f"/proc/self/fd/{handle}"))
        real_sync(handle)

    def replace(source, target):
        happened.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "file", WAYS[way]("text"))
    part, replaced, folder = happened
    assert part.endswith(".part")
    assert replaced == "replace"
    assert folder == str(tmp_path)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    place = tmp_path / "new" / "folder"
    with write_folder_atomically(place) as folder:
        (folder / "file").write_text("text")
        assert not place.exists()
    assert (place / "file").read_text() == "text"

    def fails():
        with write_folder_atomically(tmp_path / "other") as folder:
            broken(folder / "file")

    with pytest.raises(ValueError, match="the writer fails"):
        fails()
    assert os.listdir(tmp_path) == ["new"]


def test_a_folder_is_replaced_only_if_that_was_said(tmp_path):
    place = tmp_path / "folder"

    def write(text, **options):
        with write_folder_atomically(place, **options) as folder:
            (folder / "file").write_text(text)

    write("old")
    with pytest.raises(OSError, match="folder"):
        write("other")
    assert (place / "file").read_text() == "old"
    write("new", replace=True)
    assert (place / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["folder"]


def test_the_last_of_several_writers_of_a_folder_wins(tmp_path, monkeypatch):
    place, rename = tmp_path / "folder", Path.rename

    def write(text):
        with write_folder_atomically(place, replace=True) as folder:
            (folder / "file").write_text(text)

    def overtaken(path, target):
        done = rename(path, target)
        if len(later) > 1:  # the place is free, and another writer is quicker
            write(later.pop())
        return done

    write("first")  # of a folder that does not exist yet
    later = ["fourth", "third", "second"]
    monkeypatch.setattr(Path, "rename", overtaken)
    write("last")
    assert (place / "file").read_text() == "last"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_that_cannot_be_moved_into_place_leaves_the_old_one(tmp_path, monkeypatch):
    place = tmp_path / "folder"
    with write_folder_atomically(place) as folder:
        (folder / "file").write_text("old")

    def refuses(source, target):
        raise OSError(5, "Input/output error")

    def write():
        with write_folder_atomically(place, replace=True) as folder:
            (folder / "file").write_text("new")
            monkeypatch.setattr(os, "replace", refuses)

    with pytest.raises(OSError, match="Input/output error"):
        write()
    assert (place / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


def test_moving_a_folder_syncs_every_file_of_it(tmp_path, monkeypatch):
    synced = set()
    real = os.fsync

    def sync(handle):
        synced.add(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "below" / "file").write_text("text")
    (source / "link").symlink_to("nowhere")
    expected = {source, source / "below", source / "below" / "file", tmp_path}
    move_durably(source, tmp_path / "target")
    assert synced == {str(path) for path in expected}
    assert (tmp_path / "target" / "link").is_symlink()


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
