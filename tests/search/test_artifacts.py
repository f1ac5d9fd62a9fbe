"""Files under the artifacts' URL appear whole, and are read only as they were stored."""

import os
import resource
import socket
import subprocess
from contextlib import contextmanager

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from search.store.artifacts import Artifacts, copy_stored, file_sha256
from space.errors import CheckpointError, StorageError, StorageFull, StorageUnavailable

WEIGHTS = {"a": torch.zeros(500_000)}  # 2 MB


def _lightning(path):
    from lightning.fabric.utilities.cloud_io import _atomic_save

    _atomic_save(WEIGHTS, path)


WRITERS = {  # each says in another way that the disk is full
    "bytes": lambda path: path.write_bytes(bytes(2_000_000)),
    "numpy": lambda path: np.zeros(500_000, np.float32).tofile(path),
    "torch": lambda path: torch.save(WEIGHTS, path),
    "lightning": _lightning,
    "safetensors": lambda path: save_file(WEIGHTS, path),
}


@pytest.fixture(params=["folder", "memory"])
def artifacts(request, tmp_path):
    """A place in a folder, and one in an object store."""
    if request.param == "folder":
        yield Artifacts(str(tmp_path / "artifacts"))
    else:
        place = Artifacts(f"memory://{tmp_path.name}")
        place.make()
        yield place
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@contextmanager
def mounted(folder, options):
    """A small file system of its own in a folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a failed write may hold its file


def test_a_writer_that_hides_a_full_disk_stores_nothing(tmp_path):
    """`ndarray.tofile` of a small array leaves an empty file and raises nothing."""
    with mounted(tmp_path / "small", "size=256k") as small:
        artifacts = Artifacts(str(small))
        artifacts.put("a/older.bin", lambda path: path.write_bytes(b"older"))
        subprocess.run(["dd", "if=/dev/zero", f"of={small}/fill", "bs=4k"], capture_output=True, check=False)
        with pytest.raises(StorageFull, match="no space left"):
            artifacts.put("a/newer.bin", np.ones(64).tofile)
        assert [path.name for path in (small / "a").iterdir()] == ["older.bin"]
        (small / "fill").unlink()
        stored = artifacts.put("a/newer.bin", np.ones(64).tofile)
        assert stored.bytes == 512


def test_what_is_stored_comes_back(artifacts, tmp_path):
    stored = artifacts.put("a/b/file.bin", lambda path: path.write_bytes(b"content"))
    path = artifacts.fetch(stored.uri, stored.sha256, tmp_path)
    assert path.read_bytes() == b"content"
    assert stored.bytes == 7
    assert file_sha256(path) == stored.sha256
    artifacts.put("a/b/file.bin", lambda path: path.write_bytes(b"newer"))
    with pytest.raises(CheckpointError, match="is damaged: SHA-256"):
        artifacts.fetch(stored.uri, stored.sha256, tmp_path)


def test_a_save_that_fails_leaves_nothing(artifacts):
    def fail(path):
        path.write_bytes(b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        artifacts.put("a/file.bin", fail)
    artifacts.put("a/other.bin", lambda path: path.write_bytes(b""))
    assert artifacts.listing("a") == ["a/other.bin"]


def test_a_missing_file_is_not_a_damaged_one(artifacts, tmp_path):
    stored = artifacts.put("a/file.bin", lambda path: path.write_bytes(b"content"))
    assert artifacts.exists(stored.uri)
    artifacts.remove(stored.uri)
    artifacts.remove(stored.uri)  # gone already
    assert not artifacts.exists(stored.uri)
    with pytest.raises(StorageError, match="cannot be read"):
        artifacts.fetch(stored.uri, stored.sha256, tmp_path)
    with pytest.raises(StorageError, match="are not there; mount the place"):
        copy_stored(stored.uri, tmp_path / "copy")


def test_a_file_that_was_cut_is_damaged(artifacts, tmp_path):
    stored = artifacts.put("a/file.bin", lambda path: path.write_bytes(b"content"))
    artifacts.put("a/file.bin", lambda path: path.write_bytes(b"cont"))
    with pytest.raises(CheckpointError, match="is damaged"):
        artifacts.fetch(stored.uri, stored.sha256, tmp_path)


def test_a_store_that_does_not_answer_is_unavailable(tmp_path):
    with socket.socket() as free:  # its port refuses connections as soon as it is closed
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    uri = f"http://127.0.0.1:{port}/a/file.bin"
    for look in (
        lambda: artifacts.exists(uri),
        lambda: artifacts.fetch(uri, "0" * 64, tmp_path),
        lambda: copy_stored(uri, tmp_path / "copy"),
        lambda: Artifacts(f"http://127.0.0.1:{port}/a").holds("file.bin"),
    ):
        with pytest.raises(StorageUnavailable, match="does not answer") as caught:
            look()
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file whose reading fails")
def test_a_disk_that_fails_is_unavailable(tmp_path):
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    stored = artifacts.put("a/file.bin", lambda path: path.write_bytes(b"content"))
    path = tmp_path / "artifacts/a/file.bin"
    path.unlink()
    path.symlink_to("/proc/self/mem")  # reading its first page is an I/O error
    with pytest.raises(StorageUnavailable, match="Input/output error"):
        artifacts.fetch(stored.uri, stored.sha256, tmp_path)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_said_and_costs_nothing(tmp_path, writer):
    with mounted(tmp_path / "small", "size=1m") as small:
        artifacts = Artifacts(str(small))
        older = artifacts.put("a/older.bin", lambda path: path.write_bytes(b"older"))
        with pytest.raises(
            StorageFull, match=r"^no space left in '.*small'.*launch the study again"
        ) as caught:
            artifacts.put("a/newer.bin", WRITERS[writer])
        assert caught.value.exit_code == 4
        assert "\n" not in str(caught.value)
        assert artifacts.fetch(older.uri, older.sha256, tmp_path).read_bytes() == b"older"
        assert artifacts.listing("") == ["a/older.bin"]


@pytest.mark.parametrize("writer", ["bytes", "torch", "lightning", "safetensors"])
def test_a_limit_on_the_size_of_files_counts_as_full(artifacts, writer):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(StorageFull, match="no space left in"):
            artifacts.put("a/newer.bin", WRITERS[writer])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    artifacts.put("a/newer.bin", WRITERS[writer])
    assert artifacts.listing("a") == ["a/newer.bin"]


@pytest.mark.parametrize("writer", WRITERS)
def test_files_have_the_mode_that_the_umask_gives(tmp_path, writer):
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    before = os.umask(0o027)
    try:
        artifacts.put("a/file.bin", WRITERS[writer])
    finally:
        os.umask(before)
    assert (tmp_path / "artifacts/a/file.bin").stat().st_mode & 0o777 == 0o640


def test_a_listing_names_drafts_as_well(tmp_path):
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    artifacts.put("a/kept", lambda path: path.write_bytes(b"1"))
    artifacts.put("a/lost", lambda path: path.write_bytes(b"1"))
    (tmp_path / "artifacts/a/.writing-1").mkdir()
    (tmp_path / "artifacts/a/.writing-1/half").write_bytes(b"1")
    for name in sorted(artifacts.listing("a")):
        if name != "a/kept":
            artifacts.discard(name)
            artifacts.discard(name)  # gone already
    assert artifacts.listing("a") == ["a/kept"]
    assert artifacts.listing("nowhere") == []


@pytest.mark.parametrize("name", ["a b", "50%20", "x::y", "#1?", "[a]*", "~", "Größe", "file:x"])
@pytest.mark.parametrize("at_home", [True, False])
def test_any_name_of_a_folder_will_do(tmp_path, name, at_home):
    folder = tmp_path / name
    artifacts = Artifacts(str(folder), folder if at_home else None)
    stored = artifacts.put("a/file.bin", lambda path: path.write_bytes(b"content"))
    assert stored.uri == ("a/file.bin" if at_home else f"file://{folder}/a/file.bin")
    assert artifacts.fetch(stored.uri, stored.sha256, tmp_path) == folder / "a/file.bin"
    (listed,) = artifacts.listing("a")
    assert artifacts.uri(listed) == stored.uri
    copy_stored(f"file://{folder}/a/file.bin", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"
    artifacts.discard(listed)
    assert not artifacts.exists(stored.uri)
    assert [path.name for path in tmp_path.iterdir() if path.name != "copy"] == [name]


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    artifacts = Artifacts("here")
    stored = artifacts.put("a", lambda path: path.write_bytes(b"1"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    artifacts.put("b", lambda path: path.write_bytes(b"1"))
    assert artifacts.fetch(stored.uri, stored.sha256, tmp_path) == tmp_path / "here/a"
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["a", "b"]


@pytest.mark.parametrize("linked", ["home", "root", "study"])
def test_a_link_does_not_hide_that_a_file_is_at_home(tmp_path, linked):
    real, home, root = tmp_path / "real", tmp_path / "home", tmp_path / "home"
    real.mkdir()
    if linked == "home":
        home.symlink_to(real)
    elif linked == "root":
        root = tmp_path / "link"
        root.symlink_to(home)
        home.mkdir()
    else:
        home.mkdir()
        (home / "a").symlink_to(real)
    stored = Artifacts(str(root), home).put("a/file.bin", lambda path: path.write_bytes(b"content"))
    assert stored.uri == "a/file.bin"
    for place in (Artifacts(str(root), home), Artifacts(str(home), home)):
        assert place.exists(stored.uri)
        assert place.uri("a/file.bin") == stored.uri


def test_a_place_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for bad in (str(tmp_path / "file"), str(tmp_path / "file" / "folder"), "nonsense://place"):
        with pytest.raises(StorageError, match="cannot be used") as caught:
            Artifacts(bad).make()
        assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with mounted(tmp_path / "fixed", "ro,size=1m") as fixed:
        with pytest.raises(StorageError, match="cannot be used: it cannot be written"):
            Artifacts(str(fixed)).make()
        with pytest.raises(StorageError, match="Read-only file system"):
            Artifacts(str(fixed)).folder("logs")


def test_nothing_is_made_before_it_is_needed(tmp_path):
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    assert not artifacts.holds("a/file.bin")
    assert artifacts.listing("") == []
    assert list(tmp_path.iterdir()) == []


def test_logs_have_a_folder_on_this_machine(artifacts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert artifacts.folder("logs").is_dir()
