"""Training on several machines: processes that another program has started, which are those of Slurm here."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from untrained import untrained_export

from space.catalog import load_catalog
from space.contract import Budget
from space.errors import Interrupted, MachineError, PathfrontError, StudyFileError
from trainers import launched as launching
from trainers.exports.full import train_export
from trainers.group import Member
from trainers.launched import launched, letting_go, prepare_once
from trainers.train import check_shared

STEP = 192  # tokens
TOKENS = 10 * STEP
LONG = 10_000 * STEP
LINE = "the 2 processes train together, and {} has ended: see its output"
SETUP = f"""
import sys
sys.path[:0] = {[path for path in sys.path if path]!r}
from pathlib import Path
import torch
import trainers.data, trainers.evaluate
from toys import ToyTask
from trainers.launched import follow, launched
trainers.data.load_task = trainers.evaluate.load_task = ToyTask
torch.set_num_threads(1)
"""
OTHER = SETUP + "follow(launched())"
FIRST = f"""{SETUP}
from trainers.exports.full import train_export
train_export(Path(sys.argv[1]), {LONG}, lambda *_: print(flush=True), device="cpu", member=launched())
"""

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in os.environ:
        if name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_")):
            monkeypatch.delenv(name)


@pytest.fixture
def export(suite, sparse_arch, tmp_path):
    return untrained_export(tmp_path / "best", suite, sparse_arch)


def slurm(rank: int, port: int, **other: str) -> dict[str, str]:
    """What srun sets for a process of two, each on a machine of its own."""
    return {
        "SLURM_JOB_ID": "12345",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0",
        "MASTER_PORT": str(port),
        **other,
    }


def torchrun(**other: str) -> dict[str, str]:
    """What torchrun sets for the last process of two machines with two each."""
    return {
        "TORCHELASTIC_RUN_ID": "none",
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
        **other,
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def started(code: str, rank: int, port: int, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        env=os.environ | slurm(rank, port),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen) -> tuple[int, str]:
    """Wait for a process -> its exit code and stderr."""
    _, said = process.communicate(timeout=100)
    return process.returncode, said


def train(export, tokens: int, member, progress=lambda *_: None, stopping=lambda: False):
    return train_export(export, tokens, progress, stopping, device="cpu", member=member)


@contextmanager
def two(monkeypatch):
    """This process as the first of two -> its place, and the other process."""
    port = free_port()
    with monkeypatch.context() as patch:
        for name, value in slurm(0, port).items():
            patch.setenv(name, value)
        other = started(OTHER, 1, port)
        member = launched(1, 2)
    assert member is not None
    try:
        yield member, other
    finally:
        member.depart()
        other.kill()
        end(other)


def test_two_processes_train_as_one_does(export, monkeypatch):
    alone = shutil.copytree(export, export.with_name("alone"))
    points, expected = [], []
    with two(monkeypatch) as (member, other):
        with letting_go(member):
            card = train(export, TOKENS, member, lambda *point: points.append(point))
            assert other.poll() is None  # if one of its processes ends, a launcher may end all
        assert end(other) == (0, "")
    whole = train(alone, TOKENS, None, lambda *point: expected.append(point))
    losses, theirs = ({tokens: loss for tokens, loss, _ in curve} for curve in (points, expected))
    assert losses == pytest.approx(theirs, abs=2e-5)
    assert card.score == pytest.approx(whole.score, abs=1e-3)
    assert card.spent.tokens == whole.spent.tokens == TOKENS
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2])
def test_processes_stop_at_a_checkpoint_which_any_number_resumes(export, monkeypatch, after):
    with two(monkeypatch) as (member, other):
        with pytest.raises(Interrupted), letting_go(member):
            train(export, TOKENS, member, stopping=lambda: True)
        assert end(other) == (0, "")
    assert [path.name for path in (export / "full").glob("*.ckpt")] == [f"trunk-{STEP:015d}.ckpt"]
    points = []
    with two(monkeypatch) if after == 2 else nullcontext((None, None)) as (member, other):
        card = train(export, TOKENS, member, lambda *point: points.append(point))
    assert points[0][0] == 2 * STEP
    assert card.spent.tokens == TOKENS


@pytest.mark.slow
def test_a_finished_training_lets_the_others_go(export, monkeypatch):
    card = train(export, TOKENS, None)
    with two(monkeypatch) as (member, other):
        with letting_go(member):
            assert train(export, TOKENS, member) == card
        assert end(other) == (0, "")


@pytest.mark.slow
def test_the_first_ends_with_a_line_if_another_process_is_killed(export, monkeypatch):
    with two(monkeypatch) as (member, other):
        with pytest.raises(PathfrontError) as caught:
            train(export, LONG, member, lambda *_: other.kill())
        assert str(caught.value) == LINE.format("one on 127.0.0.1")
        assert end(other)[0] == -signal.SIGKILL
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_the_others_end_with_a_line_if_the_first_is_killed(export):
    port = free_port()
    first, other = started(FIRST, 0, port, export), started(OTHER, 1, port)
    assert first.stdout is not None
    assert first.stdout.readline() == "\n"  # the first point of the curve
    first.kill()
    assert end(first)[0] == -signal.SIGKILL
    assert end(other) == (1, f"error: {LINE.format('the first')}\n")


@pytest.mark.slow
def test_an_error_of_this_process_is_not_taken_for_the_end_of_another(export, monkeypatch):
    def fail(*point):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("trainers.group.PATIENCE", 0.5)
    with two(monkeypatch) as (member, _), pytest.raises(RuntimeError, match=r"^out of memory$"):
        train(export, LONG, member, fail)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_trains_stops_and_resumes(sparse_arch, tmp_path):
    suite = load_catalog().of_tasks(("iris", "wine"), {}).model_copy(update={"batch_tokens": 512})
    export = untrained_export(tmp_path / "best", suite, sparse_arch)
    alone = shutil.copytree(export, tmp_path / "alone")
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2"]
    train = ["-m", "search.cli", "train", "--tokens", str(80 * 512), "--device", "cpu", "--json"]
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    pipe = {"env": given, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*torchrun, *train, export], **pipe) as process:
        for line in process.stderr:
            if line.startswith("training:"):
                break
        process.terminate()
        assert "interrupted: stopped at a checkpoint" in process.communicate(timeout=100)[1]
    (trunk,) = (export / "full").glob("trunk-*.ckpt")
    assert trunk.stem != "trunk-" + f"{64 * 512:015d}", "it stopped before the trunk's end"
    together = subprocess.run([*torchrun, *train, export], **pipe, check=True)
    whole = subprocess.run([sys.executable, *train, alone], **pipe, check=True)
    ours, theirs = (json.loads(process.stdout) for process in (together, whole))
    assert ours["score"] == pytest.approx(theirs["score"], abs=0.03)
    assert ours["spent"]["tokens"] == theirs["spent"]["tokens"] == 80 * 512


def test_one_process_of_each_machine_prepares():
    store, worked = torch.distributed.HashStore(), []
    for rank in range(4):
        prepare_once(Member(rank, 4, store, nodes=2), lambda rank=rank: worked.append(rank))
    prepare_once(None, lambda: worked.append("alone"))
    assert worked == [0, 2, "alone"]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
        slurm(0, 1, SLURM_STEP_NUM_TASKS="1"),
        torchrun(WORLD_SIZE="1"),
    ],
    ids=["nothing", "a batch script", "srun", "torchrun"],
)
def test_a_process_may_be_the_only_one(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched(8, 1) is None
    with pytest.raises(
        StudyFileError, match=r"nodes: several .* --nnodes 2 --nproc-per-node 8 .* --no-python"
    ):
        launched(8, 2)


@pytest.mark.parametrize(
    ("variables", "asked", "error", "message"),
    [
        (slurm(1, 1), (1, 3), StudyFileError, "^nodes: the launcher has started 2, got 3$"),
        (slurm(1, 1), (8, 2), StudyFileError, "^devices: the launcher has started 1, got 8$"),
        (torchrun(), (4, None), StudyFileError, "^devices: the launcher has started 2, got 4$"),
        (torchrun(), (None, 1), StudyFileError, "^nodes: the launcher has started 2, got 1$"),
        (slurm(1, 1, SLURM_LOCALID="1"), (), MachineError, "got local rank 1 of rank 1 on 2 machines"),
        (torchrun(WORLD_SIZE="5"), (), MachineError, "^5 processes train together, as many on each machine"),
        (torchrun(LOCAL_WORLD_SIZE="8"), (), MachineError, "on 0 machines"),
        (slurm(1, 1, SLURM_STEP_NUM_NODES="0"), (), MachineError, "on 0 machines"),
        (slurm(1, 1, SLURM_PROCID="x"), (), MachineError, "^SLURM_PROCID: .* to a number, got 'x'$"),
        (
            torchrun(RANK=""),
            (),
            MachineError,
            "^RANK: .* to a number, got ''$",
        ),
    ],
)
def test_what_the_launcher_says_is_checked(monkeypatch, variables, asked, error, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match=message):
        launched(*asked)


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_that_do_not_meet_end_with_a_line(monkeypatch, rank):
    port = free_port()
    for name, value in slurm(rank, port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launching, "COMING", 1.0)
    with pytest.raises(PathfrontError, match=f"^2 processes have not met at 127.0.0.1:{port} within 1 s: "):
        launched()


def test_each_machine_needs_a_gpu_for_each_of_its_processes(suite, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    asked = Budget(tokens=STEP, decay_tokens=0, device="cuda", devices=4)
    check_shared(suite, asked, nodes=4)
    with pytest.raises(MachineError, match=r"^2 devices train together, and torch sees 1 GPUs$"):
        check_shared(suite, asked, nodes=2)
