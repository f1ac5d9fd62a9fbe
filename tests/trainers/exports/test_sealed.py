"""Files with their SHA-256 beside them: whole and valid whenever a process is killed."""

import os
import signal
import subprocess
import sys

import pytest

from space.errors import CheckpointError
from trainers.exports.sealed import check_seal, remove_sealed, write_sealed

CODE = """
import os, signal, sys
from pathlib import Path
import space.files
from trainers.exports.sealed import write_sealed
left = int(sys.argv[2])
real = {name: getattr(os, name) for name in ("fsync", "replace")}
def dying(name):
    def call(*arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real[name](*arguments)
    return call
for name in real:
    setattr(os, name, dying(name))
write_sealed(Path(sys.argv[1]), "new")
"""


def test_a_sealed_file_is_checked(tmp_path):
    path = tmp_path / "file"
    write_sealed(path, "text")
    write_sealed(path, lambda part: part.write_text("more"))
    check_seal(path)
    checked = subprocess.run(
        ["sha256sum", "-c", "file.sha256"], cwd=tmp_path, capture_output=True, check=False
    )
    assert checked.returncode == 0
    path.write_text("other")
    with pytest.raises(CheckpointError, match="is damaged"):
        check_seal(path)
    remove_sealed(path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("seal", ["", "\n"])
def test_an_empty_seal_fits_no_file(tmp_path, seal):
    path = tmp_path / "file"
    write_sealed(path, "text")
    (tmp_path / "file.sha256").write_text(seal)
    with pytest.raises(CheckpointError, match="is damaged"):
        check_seal(path)


@pytest.mark.slow
def test_whenever_a_process_is_killed_the_file_is_the_old_or_the_new_one_and_valid(tmp_path):
    path = tmp_path / "file"
    seen = []
    for calls in range(20):
        remove_sealed(path)
        write_sealed(path, "old")
        ended = subprocess.run([sys.executable, "-c", CODE, path, str(calls)], check=False)
        check_seal(path)
        seen.append(path.read_text())
        write_sealed(path, "next")  # also over what the killed process left
        check_seal(path)
        assert sorted(os.listdir(tmp_path)) == ["file", "file.sha256"]
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
    assert seen[0] == "old"
    assert seen[-1] == "new"
    assert ended.returncode == 0
