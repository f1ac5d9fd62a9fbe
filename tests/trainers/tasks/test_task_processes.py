"""Work on many tasks in several processes: what dies is said, and nothing is left behind."""

import os
import signal
import subprocess
import sys
from select import select

import pytest

from space.errors import TaskError
from trainers.tasks.processes import in_processes

FOR_EVER = """
from trainers.tasks.processes import in_processes
list(in_processes(exec, ["import time; print('at work', flush=True); time.sleep(600)"], 1))
"""
PATIENCE = 30  # seconds


def test_results_and_errors_come_with_their_tasks():
    found = {}
    for task, result in in_processes(int, ["7", "seven"], 2):
        try:
            found[task] = result()
        except ValueError as error:
            found[task] = type(error)
    assert found == {"7": 7, "seven": ValueError}


def test_a_process_that_dies_is_an_error_of_its_task():
    ((_, result),) = in_processes(exec, [f"import os; os.kill(os.getpid(), {signal.SIGKILL})"], 1)
    with pytest.raises(TaskError, match="the process that worked on it died"):
        result()


def test_no_process_outlives_its_parent():
    with subprocess.Popen([sys.executable, "-c", FOR_EVER], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "at work\n"
        os.kill(parent.pid, signal.SIGKILL)
        ended, _, _ = select([parent.stdout], [], [], PATIENCE)  # at its end when nobody can write to it
        assert ended
        assert parent.stdout.read() == ""
