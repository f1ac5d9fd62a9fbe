"""The processes that train one candidate together, one for each device.

The process that starts a training is the first of its group. It starts the others on this machine, tells them
what to train, and is the only one that reports, writes and scores. The others end with it: each reads its
standard input, which closes when the first is gone. If one of them ends early, the training ends with it.
On several machines torchrun or Slurm starts the processes (`trainers.launched`).
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch.distributed import Store, TCPStore  # pyright: ignore[reportPrivateImportUsage] - documented

from space.candidate import CandidateConfig
from space.contract import Budget, CheckpointKind, Silent
from space.errors import PathfrontError, one_line
from space.records import SuiteRecord
from trainers.data import Share
from trainers.lightning import ClusterEnvironment

LOOPBACK = "127.0.0.1"
GRACE = 60.0  # seconds that the others may take to end after the first
FORMING = 60.0  # seconds that the group may take to form once all of its processes are there
LONGEST = timedelta(minutes=30)  # that a process waits for the others, such as while the first saves
PATIENCE = 5.0  # seconds to find out which process has ended, once the connection to it is lost


@dataclass
class Member:
    """A process of a group.

    Attributes:
        rank: from 0, that of the first.
        size: of the group.
        store: by which the processes find each other.
        ended: returns why another process has ended early; None if none has.
        nodes: machines, each with as many of the processes; ranks count up machine by machine.
        depart: ends the work together: the first lets the others end, and these wait for that.
    """

    rank: int = 0
    size: int = 1
    store: Store | None = None
    ended: Callable[[], PathfrontError | None] = lambda: None
    nodes: int = 1
    depart: Callable[[], None] = lambda: None
    _deciding: Any = field(default=None, init=False)  # the group, where a decision needs no GPU

    @classmethod
    def other(cls, job: "Job") -> "Member":
        """The place of one of the others."""
        return cls(job.rank, job.budget.devices, TCPStore(LOOPBACK, job.port, is_master=False))

    @property
    def per_node(self) -> int:
        """Processes on each machine."""
        return self.size // self.nodes

    @property
    def local(self) -> int:
        """Rank among the processes of its machine."""
        return self.rank % self.per_node

    @property
    def share(self) -> Share:
        """Its share of each batch."""
        return Share(self.rank, self.size)

    @contextmanager
    def formed(self, device: str) -> Iterator[None]:
        """Form the group for the length of a block, once all of its processes are there.

        Args:
            device: that they train on, "cuda" or "cpu".

        Raises:
            PathfrontError: another process has ended early; other errors are those of this process.
        """
        if self.store is None:
            yield
            return
        try:
            with _watched(self.ended):
                self._join(device)
                yield
        except PathfrontError:
            raise
        except Exception as error:  # looked into before this process leaves, because the others fail then
            self._blame(error)
            raise
        finally:
            self._leave()

    def _join(self, device: str) -> None:
        assert self.store is not None, "a process of a group has a store"
        import_module("torch._dynamo.utils")  # which forming a group needs: not while the others wait
        self.store.set(f"there/{self.rank}", "")
        while not self.store.check([f"there/{rank}" for rank in range(self.size)]):
            if why := self.ended():
                raise why
            time.sleep(0.05)
        cuda = torch.device("cuda", self.local) if device == "cuda" else None
        forming = timedelta(seconds=FORMING)
        try:
            torch.distributed.init_process_group(
                "nccl" if cuda else "gloo",
                timeout=forming,  # gloo looks for the others without asking whether they live
                store=self.store,
                rank=self.rank,
                world_size=self.size,
                device_id=cuda,
            )
        except Exception:  # PyTorch counts it, and new processes would look for the next one by another name
            torch.distributed.distributed_c10d._world.group_count = 0
            raise
        self._deciding = torch.distributed.new_group(timeout=forming, backend="gloo") if cuda else None
        for group in (None, self._deciding) if cuda else (None,):
            torch.distributed.distributed_c10d._set_pg_timeout(LONGEST, group)

    def agreed(self, *decisions: bool) -> Sequence[bool]:
        """What the first process has decided; the arguments are what this one would."""
        if self.size == 1:
            return decisions
        shared = torch.tensor(decisions)
        torch.distributed.broadcast(shared, src=0, group=self._deciding)
        return shared.tolist()

    def _blame(self, error: Exception) -> None:
        """Raise the failure of another process, if that is what ended this one.

        The others wait longer than the first, so that an error that all of them have is the first one's own.
        """
        until = time.monotonic() + PATIENCE * (1 + (self.rank > 0))
        while time.monotonic() < until:
            if why := self.ended():
                raise why from error
            time.sleep(0.1)

    def _leave(self) -> None:
        """Dissolve the group, so that the process may form another one."""
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


ALONE = Member()


class Together(ClusterEnvironment):
    """Tells Lightning about a group that is formed already."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member = member

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Nobody asks for it: the group is formed."""
        return LOOPBACK

    @property
    def main_port(self) -> int:
        """Nobody asks for it: the group is formed."""
        return 0

    @staticmethod
    def detect() -> bool:
        """It is never found by itself."""
        return False

    def world_size(self) -> int:
        """Number of processes."""
        return self._member.size

    def set_world_size(self, size: int) -> None:
        """Do nothing: it is known."""

    def global_rank(self) -> int:
        """Rank of this process."""
        return self._member.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: it is known."""

    def local_rank(self) -> int:
        """Rank among the processes of this machine."""
        return self._member.local

    def node_rank(self) -> int:
        """Rank of this machine."""
        return self._member.rank // self._member.per_node


class Job(BaseModel):
    """What the other processes of a group train."""

    candidate: CandidateConfig
    suite: SuiteRecord
    budget: Budget
    resume: Path | None
    keep_end: bool
    threads: int
    rank: int = 0
    port: int = 0


@contextmanager
def others(
    candidate: CandidateConfig, suite: SuiteRecord, budget: Budget, resume: Path | None, keep_end: bool
) -> Iterator[Member]:
    """Start the other processes of a training; yields this one's place.

    The arguments are those of `trainers.train.fit_candidate`.

    Raises:
        PathfrontError: one of the others ended early.
    """
    threads = torch.get_num_threads()
    store = TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
    started: list[_Other] = []

    def ended() -> PathfrontError | None:
        return next((other.failure() for other in started if other.failed), None)

    with tempfile.TemporaryDirectory(prefix="pathfront-") as folder:
        try:
            for rank in range(1, budget.devices):
                job = Job(
                    candidate=candidate,
                    suite=suite,
                    budget=budget,
                    resume=resume,
                    keep_end=keep_end,
                    threads=threads,
                    rank=rank,
                    port=store.port,
                )
                started.append(_Other(job, Path(folder) / f"{rank}.log"))
            yield Member(0, budget.devices, store, ended)
            for other in started:
                other.wait(GRACE)
        finally:
            for other in started:
                other.end()


class _Other:
    """Another process of a group."""

    def __init__(self, job: Job, log: Path) -> None:
        self.rank, self.size, self._log = job.rank, job.budget.devices, log
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "trainers.member"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the first alone, which tells the others
            )
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(job.model_dump_json().encode() + b"\n")
            self.process.stdin.flush()

    @property
    def failed(self) -> bool:
        """Whether it has ended early."""
        return self.process.poll() not in (None, 0)

    def wait(self, seconds: float) -> None:
        """Wait for its end.

        Raises:
            PathfrontError: it does not end, or it fails.
        """
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        if self.process.poll() != 0:
            raise self.failure()

    def failure(self) -> PathfrontError:
        """Why it has failed."""
        code = self.process.poll()
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip() and "warn" not in line), "")
        how = "does not end" if code is None else f"ended with {_ending(code)}"
        return PathfrontError(
            f"device {self.rank + 1} of {self.size}: its process {how}: {one_line(said, 300)}"
        )

    def end(self) -> None:
        """Kill it, if it still runs."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):
            self.process.stdin.close()


@contextmanager
def _watched(ended: Callable[[], PathfrontError | None]) -> Iterator[None]:
    """Leave the group as soon as another process ends: this one may wait for it without end."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            if ended():
                _abort()
                return

    watcher = threading.Thread(target=watch, name="group", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _abort() -> None:
    """End what waits for another process: NCCL waits without end, gloo notices by itself."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "nccl":
        distributed.distributed_c10d._abort_process_group()


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def end_with(descriptor: int, line: str = "") -> Callable[[], None]:
    """End this process at once when a file ends that the first process holds open: it is gone.

    Args:
        descriptor: of the file.
        line: what to say then.

    Returns:
        Waits until the first process writes something: its work is done.
    """

    def watch() -> None:
        with suppress(OSError):
            if os.read(descriptor, 1):
                return
        os.write(2, line.encode())
        os._exit(1)

    watcher = threading.Thread(target=watch, name="first process", daemon=True)
    watcher.start()
    return watcher.join


class Quiet(Silent):
    """The report of the others: they take part in saving, and the first writes."""

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Take part in a checkpoint of all; the weights of the first are everybody's."""
        if kind != "decayed":
            save(Path("of the first process"))
