"""An engine that runs each worker as a process of low priority.

A study file names it: `engine: my_engine:Nice`; or `pathfront launch SPEC --engine my_engine:Nice`.
"""

import os
import signal
import subprocess


class Nice:
    """Starts workers on the CPU of this machine; two where nobody says how many."""

    def __init__(self, config):
        self.config = config

    def plan(self, workers):
        """Return the device and the number of workers."""
        return "cpu", workers or (2 if self.config.workers == "auto" else self.config.workers)

    def start(self, job):
        """Start one worker; Ctrl-C in the terminal does not reach it, but the launcher passes it on."""
        environment = {**os.environ, **job.environment}
        with job.log.open("ab") as log:
            command = ["nice", "-n", "1", *job.command]
            return Child(command, env=environment, stdout=log, stderr=log, start_new_session=True)


class Child(subprocess.Popen):
    """A process; `poll` and `kill` are those of `Popen`."""

    def interrupt(self):
        """Ask the worker to stop at its next checkpoint."""
        self.send_signal(signal.SIGINT)
