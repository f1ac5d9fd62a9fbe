"""Files under the artifacts' URL appear whole, and are read only as they were stored."""

import fsspec
import pytest

from search.artifacts import Artifacts, file_sha256
from space.errors import CheckpointError, StorageError


@pytest.fixture(params=["folder", "memory"])
def artifacts(request, tmp_path):
    """A place in a folder, and one in an object store."""
    if request.param == "folder":
        yield Artifacts(str(tmp_path / "artifacts"))
    else:
        yield Artifacts(f"memory://{tmp_path.name}")
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def test_what_is_stored_comes_back(artifacts, tmp_path):
    stored = artifacts.put("a/b/file.bin", lambda path: path.write_bytes(b"content"))
    path = artifacts.fetch(stored.uri, stored.sha256, tmp_path)
    assert path.read_bytes() == b"content"
    assert stored.bytes == 7
    assert file_sha256(path) == stored.sha256
    artifacts.put("a/b/file.bin", lambda path: path.write_bytes(b"newer"))
    with pytest.raises(CheckpointError, match="is damaged: SHA-256"):
        artifacts.fetch(stored.uri, stored.sha256, tmp_path)


def test_a_save_that_fails_leaves_nothing(artifacts, tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        artifacts.put("a/file.bin", fail)
    artifacts.put("a/other.bin", lambda path: path.write_bytes(b""))
    left = artifacts._files.ls(f"{artifacts._path}/a", detail=False)
    assert [name.rpartition("/")[2] for name in left] == ["other.bin"]


def test_what_is_missing_is_said(artifacts, tmp_path):
    stored = artifacts.put("a/file.bin", lambda path: path.write_bytes(b"content"))
    artifacts.remove(stored.uri)
    artifacts.remove(stored.uri)  # gone already
    with pytest.raises(CheckpointError, match="cannot be read"):
        artifacts.fetch(stored.uri, stored.sha256, tmp_path)


def test_tidying_keeps_what_is_named(artifacts):
    kept, _ = (artifacts.put(f"a/{name}", lambda path: path.write_bytes(b"1")) for name in ("kept", "lost"))
    artifacts.tidy("a", {kept.uri})
    (left,) = artifacts._files.ls(f"{artifacts._path}/a", detail=False)
    assert artifacts._files.unstrip_protocol(left) == kept.uri
    artifacts.tidy("nowhere", set())


def test_a_place_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for bad in (str(tmp_path / "file" / "folder"), "nonsense://place"):
        with pytest.raises(StorageError, match="cannot be used") as caught:
            Artifacts(bad)
        assert "\n" not in str(caught.value)


def test_logs_have_a_folder_on_this_machine(artifacts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert artifacts.folder("logs").is_dir()
