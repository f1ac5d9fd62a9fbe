"""Processes that torchrun or Slurm's srun has started, one for each device, on one or several machines.

All of them run the same command. The first one does what it does when it is alone: it reads the export,
writes and scores; it tells the others by the group's store what to train, and these do nothing else. Each
of the others has a connection to the first. When it closes, one of the two has ended, and the other one ends
as well.
"""

import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from torch.distributed import PrefixStore, Store, rendezvous  # pyright: ignore[reportPrivateImportUsage]

from space.errors import Interrupted, MachineError, PathfrontError, StudyFileError, one_line
from trainers.group import LOOPBACK, Job, Member, end_with
from trainers.lightning import SLURMEnvironment
from trainers.member import take_part
from trainers.train import check_shared

HOW = "torchrun --nnodes {nodes} --nproc-per-node {devices} ... --no-python pathfront train ..."
COMING = 600.0  # seconds that the processes may take to meet
LONGEST = timedelta(days=1)  # that the others wait for the first to read, and for data to be made
KEPT = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # a lost machine: 50 s
ENDED = "the {size} processes train together, and {which} has ended: see its output"
JOB = "job"
NOTHING = "-"  # what there is to train if the training is finished


class _Place(NamedTuple):
    """What the launcher says of a process; `address` and `port` are those of the first."""

    rank: int
    size: int
    local: int
    nodes: int
    address: str
    port: int


def launched(devices: int | None = None, nodes: int | None = None) -> Member | None:
    """This process's place among those that torchrun or Slurm has started, once they have met.

    Args:
        devices: of each machine, as the command line says; None if it does not.
        nodes: machines, as the command line says; None if it does not.

    Returns:
        The place; None if the process is the only one.

    Raises:
        StudyFileError: the command line says something else than the launcher.
        MachineError: a variable of the launcher is missing, or the machines have different numbers of
            processes, or ranks that do not count up machine by machine.
        PathfrontError: the processes do not meet.
    """
    place = _place()
    if place is None or place.size == 1:
        if nodes is not None and nodes > 1:
            how = HOW.format(nodes=nodes, devices=devices or 1)
            raise StudyFileError(
                f"nodes: several machines need a process for each device: {how}, or srun; see --help"
            )
        return None
    rank, size, there = place.rank, place.size, place.nodes
    if there < 1 or size % there or place.local != rank % (size // there):
        raise MachineError(
            f"{size} processes train together, as many on each machine, with ranks that count up machine by"
            f" machine (srun --distribution=block --ntasks-per-node N); got local rank {place.local} of rank"
            f" {rank} on {there} machines"
        )
    for name, asked, started in (("nodes", nodes, there), ("devices", devices, size // there)):
        if asked not in (None, started):
            raise StudyFileError(f"{name}: the launcher has started {started}, got {asked}")
    return _meet(place)


def prepare_once(member: Member | None, work: Callable[[], None]) -> None:
    """Do what one process of each machine has to do, such as making data; the others wait for it."""
    if member is None:
        work()
        return
    assert member.store is not None, "a process of a group has a store"
    ready = f"ready/{member.rank // member.per_node}"
    if member.local == 0:
        work()
        member.store.set(ready, "")
    else:
        member.store.wait([ready], LONGEST)


@contextmanager
def letting_go(member: Member | None) -> Iterator[None]:
    """A block of the first process; the others end with it, and without a word if it is done or stopped."""
    try:
        yield
    except Interrupted:
        if member is not None:
            member.depart()
        raise
    if member is not None:
        member.depart()


def tell_others(member: Member | None, job: Job | None) -> None:
    """Tell the others what to train; None if there is nothing left to do."""
    if member is not None:
        assert member.store is not None, "a process of a group has a store"
        member.store.set(JOB, NOTHING if job is None else job.model_dump_json())


def follow(member: Member) -> None:
    """Train with the first process what it says, and wait for its end: a launcher may end all with one.

    Raises:
        StudyFileError: the devices cannot share a batch evenly.
        MachineError: this machine has fewer GPUs than processes.
    """
    assert member.store is not None, "a process of a group has a store"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the first decides when to stop
    member.store.wait([JOB], LONGEST)
    told = member.store.get(JOB).decode()
    if told != NOTHING:
        job = Job.model_validate_json(told)
        check_shared(job.suite, job.budget, member.nodes)
        with suppress(Interrupted):
            take_part(job, member)
    member.depart()


def _place() -> _Place | None:
    """What torchrun or srun says; None if neither has started this process."""
    given = os.environ
    if "TORCHELASTIC_RUN_ID" in given:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
        rank, size, local, here, port = map(_number, names)
        return _Place(rank, size, local, size // max(1, here), given.get("MASTER_ADDR", LOOPBACK), port)
    if "SLURM_STEP_NUM_TASKS" in given:  # a batch script has SLURM_NTASKS as well, and is one process
        names = ("PROCID", "STEP_NUM_TASKS", "LOCALID", "STEP_NUM_NODES", "JOB_ID")
        rank, size, local, nodes, job = (_number(f"SLURM_{name}") for name in names)
        port = _number("MASTER_PORT") if "MASTER_PORT" in given else 15_000 + job % 10_000
        first = SLURMEnvironment.resolve_root_node_address(given.get("SLURM_STEP_NODELIST", LOOPBACK))
        return _Place(rank, size, local, nodes, given.get("MASTER_ADDR", first), port)
    return None


def _number(name: str) -> int:
    """A variable of the environment.

    Raises:
        MachineError: it is missing, or is no number.
    """
    value = os.environ.get(name)
    if value is None or not value.isdecimal():
        raise MachineError(f"{name}: torchrun and srun set this variable to a number, got {value!r}")
    return int(value)


def _meet(place: _Place) -> Member:
    """The place in a group whose processes are all there.

    Raises:
        PathfrontError: they are not.
    """
    rank, size = place.rank, place.size
    where = f"{place.address}:{place.port}"
    try:
        store, _, _ = next(rendezvous(f"tcp://{where}", rank, size, timeout=timedelta(seconds=COMING)))
        store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)  # torchrun keeps it
        if rank == 0:
            others = _accepted(store, size)
            return Member(0, size, store, _ended(others), place.nodes, partial(_close, others))
        port = int(store.get("port"))
        first = _kept(socket.create_connection((place.address, port), COMING))
    except (RuntimeError, ValueError, OSError) as error:
        raise PathfrontError(
            f"{size} processes have not met at {where} within {COMING:.0f} s: {one_line(error, 200)}"
        ) from None
    line = f"error: {ENDED.format(size=size, which='the first')}\n"
    return Member(rank, size, store, nodes=place.nodes, depart=end_with(first.detach(), line))


def _accepted(store: Store, size: int) -> list[socket.socket]:
    """The connections of the others to this process, which is the first."""
    with socket.create_server(("", 0), backlog=size) as server:
        server.settimeout(COMING)
        store.set("port", str(server.getsockname()[1]))
        return [_kept(server.accept()[0]) for _ in range(1, size)]


def _close(connections: list[socket.socket]) -> None:
    """Say that the work is done; the end of a connection alone is a failure."""
    for connection in connections:
        with suppress(OSError):
            connection.send(b".")
        connection.close()


def _kept(connection: socket.socket) -> socket.socket:
    """A connection that ends too if the other machine is lost."""
    connection.setblocking(True)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEPT.items():
        if hasattr(socket, option):  # not every system has all of them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return connection


def _ended(others: list[socket.socket]) -> Callable[[], PathfrontError | None]:
    """Look whether a connection has ended: nothing else ever comes from it."""
    selector = selectors.DefaultSelector()
    for other in others:
        selector.register(other, selectors.EVENT_READ, other.getpeername()[0])

    def ended() -> PathfrontError | None:
        gone = [key.data for key, _ in selector.select(0)]
        if not gone:
            return None
        return PathfrontError(ENDED.format(size=len(others) + 1, which=f"one on {gone[0]}"))

    return ended
