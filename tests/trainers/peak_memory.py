"""Print the counted and the measured peak of training memory of some architectures, as JSON, one a line.

A process of its own, run by `test_memory.py` with an allocator that gives memory back.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path

import torch
from toys import ToyTask, toy_suite

import trainers.data
from space.candidate import Architecture, CandidateConfig
from space.contract import Budget
from space.cost import price
from space.mixture import TaskMixture
from trainers.specialist import Silent
from trainers.train import fit_candidate

STEPS = 3
SUITE = toy_suite(context=128, batch_tokens=2048)
STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(key):
    """Bytes of resident memory, now (VmRSS) or at most since the last reset (VmHWM)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def measured(arch):
    """Bytes that training adds at its peak."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    REFERENCES.write_text("5")
    before = resident("VmRSS")
    candidate = CandidateConfig(
        architecture=arch, mixture=TaskMixture.uniform(SUITE.tasks), learning_rate=1e-4
    )
    budget = Budget(tokens=STEPS * SUITE.batch_tokens, decay_tokens=0, device="cpu")
    fit_candidate(candidate, SUITE, budget, None, Silent())
    return resident("VmHWM") - before


def main():
    torch.set_num_threads(1)
    trainers.data.load_task = ToyTask
    measured(Architecture(depth=1, width=32))  # what a first run loads is not the model's
    for given in json.loads(sys.argv[1]):
        arch = Architecture.model_validate(given)
        print(json.dumps([price(arch, SUITE).training_bytes, measured(arch)]), flush=True)


if __name__ == "__main__":
    main()
