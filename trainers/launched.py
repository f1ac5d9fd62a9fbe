"""Processes that torchrun or Slurm's srun has started, one for each device, on one or several machines.

All of them run the same command. The first one does what it does when it is alone: it reads the export,
writes and scores; it tells the others by the group's store what to train, and these do nothing else. Whoever
started them ends them if one fails.
"""

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import Store, rendezvous  # pyright: ignore[reportPrivateImportUsage] - documented

from space.errors import MachineError, PathfrontError, StudyFileError, one_line
from trainers.group import Job, Member, Quiet
from trainers.train import fit_candidate

HOW = "torchrun --nnodes {nodes} --nproc-per-node {devices} --no-python pathfront train ..."
COMING = 600.0  # seconds that the processes may take to come after the first
LONGEST = timedelta(days=1)  # that the others wait for the first to read, and for data to be made
JOB = "job"
NOTHING = "-"  # what there is to train if the training is finished


def launched(devices: int | None = None, nodes: int = 1) -> Member | None:
    """This process's place among those that torchrun or Slurm has started; None if it is the only one.

    Args:
        devices: of each machine, as the command line says; None if it does not.
        nodes: machines, as the command line says.

    Raises:
        StudyFileError: the command line says something else than the launcher.
        MachineError: the machines have different numbers of processes, or ranks that do not count up machine
            by machine.
        PathfrontError: the processes do not come together.
    """
    found = _launcher()
    if found is None or found.world_size() == 1:
        if nodes > 1:
            how = HOW.format(nodes=nodes, devices=devices or 1)
            raise StudyFileError(f"nodes: several machines need a process for each device: {how}, or srun")
        return None
    rank, size, local, there = found.global_rank(), found.world_size(), found.local_rank(), _nodes()
    if there < 1 or size % there or local != rank % (size // there):
        raise MachineError(
            f"{size} processes train together, as many on each machine, with ranks that count up machine by"
            f" machine (srun --distribution=block --ntasks-per-node N); got local rank {local} of rank {rank}"
        )
    for name, asked, started in (
        ("nodes", nodes if nodes > 1 else None, there),
        ("devices", devices, size // there),
    ):
        if asked not in (None, started):
            raise StudyFileError(f"{name}: the launcher has started {started}, got {asked}")
    store = _meet(found, rank, size)
    return Member(rank, size, store, _limit(store, size), there)


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


def tell_others(member: Member | None, job: Job | None) -> None:
    """Tell the others what to train; None if there is nothing left to do."""
    if member is not None:
        assert member.store is not None, "a process of a group has a store"
        member.store.set(JOB, NOTHING if job is None else job.model_dump_json())


def follow(member: Member) -> None:
    """Train with the first process what it says."""
    assert member.store is not None, "a process of a group has a store"
    signal.signal(signal.SIGTERM, lambda *_: None)  # the first decides when to stop
    signal.signal(signal.SIGINT, lambda *_: None)
    member.store.wait([JOB], LONGEST)
    told = member.store.get(JOB).decode()
    if told == NOTHING:
        return
    job = Job.model_validate_json(told)
    torch.set_num_threads(job.threads)
    fit_candidate(
        job.candidate, job.suite, job.budget, job.resume, Quiet(), keep_end=job.keep_end, member=member
    )


def _launcher() -> ClusterEnvironment | None:
    """What torchrun or Slurm says about the processes."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    return SLURMEnvironment(auto_requeue=False) if SLURMEnvironment.detect() else None


def _nodes() -> int:
    """Machines; 0 if the launcher does not say how many."""
    if TorchElasticEnvironment.detect():
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
        return int(os.environ["WORLD_SIZE"]) // here if here else 0
    return int(os.environ.get("SLURM_NNODES", "0"))


def _meet(found: ClusterEnvironment, rank: int, size: int) -> Store:
    """The store of a group, once all its processes are there."""
    address, port = found.main_address, str(found.main_port)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, port
    try:
        store, _, _ = next(rendezvous("env://", rank, size, timeout=timedelta(seconds=COMING)))
    except (RuntimeError, ValueError) as error:
        raise PathfrontError(
            f"{size} processes have not met at {address}:{port} within {COMING:.0f} s: {one_line(error, 200)}"
        ) from None
    return store


def _limit(store: Store, size: int) -> Callable[[], None]:
    """A check that all processes come within a time."""
    begun = time.monotonic()

    def check() -> None:
        if time.monotonic() - begun > COMING:
            missing = [rank for rank in range(size) if not store.check([f"there/{rank}"])]
            raise PathfrontError(f"of {size} processes, those of rank {missing} have not come")

    return check
