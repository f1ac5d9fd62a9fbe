"""What every test shares: no environment of the person who runs them, a folder in memory, a small disk."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30  # bytes that have to be free there; a run takes less than one of four

pytest.register_assert_rewrite("engine_contract")  # its assertions show what differed


def pytest_configure(config):
    """Keep the tests' files in memory if it has room: half the time of a toy study is waiting for a disk."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("PATHFRONT_STORAGE", "PATHFRONT_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
