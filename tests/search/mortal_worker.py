"""A worker that kills itself the moment it passes a named step; run as a script by the kill tests."""

import os
import signal
import sys

from search.store import checkpoints, ledger
from search.worker import run_worker

url, step, name = sys.argv[1:]


def die_at(passed):
    if passed == step:
        os.kill(os.getpid(), signal.SIGKILL)


ledger.step = checkpoints.step = die_at
run_worker(url, "toy", name=name)
