"""Print the counted and the measured peak of training memory of some architectures, as JSON, one a line.

A process of its own, run by `test_memory.py` with an allocator that gives memory back; one for each device,
of which the first measures.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path

import torch
from torch.distributed import PrefixStore, TCPStore
from toys import ToyTask, toy_suite

import trainers.data
from space.candidate import Architecture, CandidateConfig
from space.contract import Budget, Silent
from space.cost import price
from space.mixture import TaskMixture
from trainers.group import ALONE, LOOPBACK, Member
from trainers.train import fit_candidate

STEPS = 3
SUITE = toy_suite(context=128, batch_tokens=2048)
STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(key):
    """Bytes of resident memory, now (VmRSS) or at most since the last reset (VmHWM)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


class Peak(Silent):
    """Remembers the peak while it trains: afterwards, the first device puts all weights together."""

    bytes = 0

    def progress(self, *given):
        self.bytes = resident("VmHWM")


def measured(arch, suite, member):
    """Bytes that training adds at its peak."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    REFERENCES.write_text("5")
    before = resident("VmRSS")
    candidate = CandidateConfig(
        architecture=arch, mixture=TaskMixture.uniform(suite.tasks), learning_rate=1e-4
    )
    budget = Budget(
        tokens=STEPS * suite.batch_tokens,
        decay_tokens=0,
        device="cpu",
        devices=member.size,
        strategy="fsdp" if suite.sharded else "ddp",
    )
    peak = Peak()
    fit_candidate(candidate, suite, budget, None, peak, member=member)
    return peak.bytes - before


def main(shapes, layout, rank, port):
    torch.set_num_threads(1)
    trainers.data.load_task = ToyTask
    devices = layout.get("devices", 1)
    suite = SUITE.model_copy(update={**layout, "batch_tokens": devices * SUITE.batch_tokens})
    store = TCPStore(LOOPBACK, port, is_master=rank == 0) if devices > 1 else None
    small = {"depth": 1, "width": 32}  # what a first run loads is not the model's
    for number, given in enumerate([small, *shapes]):
        arch = Architecture.model_validate(given)
        member = ALONE if store is None else Member(rank, devices, PrefixStore(str(number), store))
        found = measured(arch, suite, member)
        if number and not rank:
            print(json.dumps([price(arch, suite).training_bytes, found]), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
