"""Cores within affinity and quotas of control groups, on fake file trees; folders that cannot be used."""

import errno
import os
from pathlib import Path

import pytest

from space import machine
from space.errors import MachineError
from space.machine import Place, cpu_count, cpu_quotas

MOUNT_V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNT_V1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY_V1 = "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
HYBRID = MOUNT_V1 + MEMORY_V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Makes a root folder with a kernel's files, on a machine of 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)

    def make(mounts: str, group: str, **files: str) -> Path:
        proc = tmp_path / "proc" / "self"
        proc.mkdir(parents=True)
        (proc / "mountinfo").write_text(mounts)
        (proc / "cgroup").write_text(group)
        for name, content in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
        return tmp_path

    return make


def v1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    place = f"cpu,cpuacct/{folder}".rstrip("/")
    return {f"{place}/cpu.cfs_quota_us": str(quota), f"{place}/cpu.cfs_period_us": str(period)}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"a.slice/job/cpu.max": "max 100000"}, 64),
        ({"a.slice/job/cpu.max": "300000 100000"}, 3),
        ({"a.slice/job/cpu.max": "max 100000", "a.slice/cpu.max": "200000 100000"}, 2),
        ({"a.slice/job/cpu.max": "150000 100000", "a.slice/cpu.max": "800000 100000"}, 2),
        ({"a.slice/job/cpu.max": "max 100000", "cpu.max": "50000 100000"}, 1),
        ({"another/cpu.max": "100000 100000"}, 64),
        ({}, 64),
    ],
)
def test_every_group_above_a_process_limits_it_in_version_2(tree, files, cores):
    assert cpu_count(tree(MOUNT_V2, "0::/a.slice/job\n", **files)) == cores


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        (v1("docker/12", -1) | v1("", -1), 64),
        (v1("docker/12", 400_000), 4),
        (v1("docker/12", -1) | v1("docker", 250_000), 3),
        ({}, 64),
    ],
)
def test_every_group_above_a_process_limits_it_in_version_1(tree, files, cores):
    root = tree(HYBRID, "5:memory:/x\n4:cpu,cpuacct:/docker/12\n0::/docker/12\n", **files)
    assert cpu_count(root) == cores


def test_a_container_that_sees_its_own_group_only_is_limited_by_it(tree):
    mounts = MOUNT_V1.replace(" / /sys", " /docker/12 /sys")
    root = tree(mounts, "4:cpuacct,cpu:/docker/12/job\n", **v1("job", -1), **v1("", 500_000))
    assert cpu_count(root) == 5


@pytest.mark.parametrize("group", ["0::/system.slice/docker-12.scope\n", "0::/../../elsewhere\n", "0::/\n"])
def test_a_group_that_is_not_mounted_here_leaves_the_one_that_is(tree, group):
    assert cpu_count(tree(MOUNT_V2, group, **{"cpu.max": "200000 100000"})) == 2


def test_affinity_limits_and_a_quota_never_leaves_no_core(tree, monkeypatch):
    root = tree(MOUNT_V2, "0::/\n", **{"cpu.max": "1000 100000"})
    assert cpu_count(root) == 1
    (root / "sys/fs/cgroup/cpu.max").write_text("9900000 100000\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    assert cpu_count(root) == 3


def test_a_system_without_control_groups_has_no_quota(tmp_path):
    assert list(cpu_quotas(tmp_path)) == []
    assert 1 <= cpu_count(tmp_path) <= (os.cpu_count() or 1)


def test_nothing_else_counts_cores():
    root = Path(__file__).resolve().parents[2]
    files = [path for name in ("search", "trainers", "dashboard") for path in (root / name).rglob("*.py")]
    assert len(files) > 100
    counting = ("os.cpu_count", "multiprocessing.cpu_count", "process_cpu_count", "sched_getaffinity")
    assert not [path for path in files if any(word in path.read_text() for word in counting)]


def test_a_mount_point_with_a_space_is_found(tree):
    root = tree(MOUNT_V2.replace("fs/cgroup", "fs/cgroup/my\\040groups"), "0::/job\n")
    group = root / "sys/fs/cgroup/my groups/job"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("100000 50000\n")
    assert cpu_count(root) == 2


def place(default: str = "/nowhere") -> Place:
    return Place("test data", "PATHFRONT_TEST", lambda: default)


def test_a_place_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("PATHFRONT_TEST", str(tmp_path / "deep" / "folder"))
    place().check_writable()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line_with_its_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PATHFRONT_TEST", str(tmp_path / "file" / "cache"))
    with pytest.raises(MachineError, match=r"file/cache', which cannot be used: Not a dir.*PATHFRONT_TEST$"):
        place().check_writable()


def test_where_an_output_cannot_be_made_is_one_line(tmp_path, small_disk):
    machine.check_output(tmp_path / "deep" / "folder" / "file")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MachineError, match=r"^'.*/file/new' cannot be written: Not a directory$"):
        machine.check_output(tmp_path / "file" / "new")
    with pytest.raises(OSError, match="No space"):
        (small_disk / "fill").write_bytes(bytes(2**17))
    with pytest.raises(MachineError, match=r"^'.*/disk/new' cannot be written: its disk is full$"):
        machine.check_output(small_disk / "new")
    assert sorted(os.listdir(tmp_path)) == ["disk", "file"]


def test_a_full_disk_is_said_to_be_full():
    error = machine.folder_error(OSError(errno.ENOSPC, "No space left"), Path("/a"), "data", "X")
    assert (
        str(error)
        == "the disk of '/a' is full, where data are kept; make room, or name another folder with X"
    )


def test_a_user_without_a_home_gets_no_folder_called_tilde(monkeypatch):
    monkeypatch.delenv("PATHFRONT_TEST", raising=False)
    with pytest.raises(MachineError, match="name a folder with PATHFRONT_TEST"):
        place("~/.cache/pathfront").check_writable()
