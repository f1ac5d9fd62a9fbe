"""Workers as processes of this machine: one thread each on a CPU, one or several on each GPU."""

import os
import signal
import subprocess
from functools import cached_property

from search.engines.devices import cpu_count, gpus
from search.engines.engine import Job
from space.errors import StudyFileError
from space.study import StudyConfig


def plan(config: StudyConfig, workers: int | None = None) -> tuple[str, int]:
    """On what a study runs here, and how many trials side by side.

    Args:
        config: the study.
        workers: trials side by side; None for the study file's number.

    Returns:
        "cpu" or "cuda", and the number of workers.

    Raises:
        StudyFileError: the study wants a GPU, and there is none.
    """
    found = [] if config.device == "cpu" else gpus()
    if config.device == "cuda" and not found:
        raise StudyFileError("device: cuda needs a GPU, and this machine shows none; set device: cpu")
    size = config.devices_per_trial
    if found and len(found) < size:
        raise StudyFileError(
            f"devices_per_trial: {size} GPUs train a trial, and this machine shows {len(found)}"
        )
    wanted = workers or (config.workers if isinstance(config.workers, int) else None)
    room = len(found) // size * config.trials_per_gpu if found else max(1, cpu_count() // size)
    return ("cuda" if found else "cpu"), wanted or min(room, config.stop.candidates or room)


class LocalEngine:
    """Runs workers as child processes.

    Args:
        config: the study.
    """

    def __init__(self, config: StudyConfig) -> None:
        self._config = config

    def plan(self, workers: int | None) -> tuple[str, int]:
        """Fill this machine; see `plan`."""
        return plan(self._config, workers)

    def start(self, job: Job) -> "LocalWorker":
        """Start a worker on the GPUs of its place, in a process group of its own.

        Ctrl-C in a terminal then reaches the launcher alone. A worker whose launcher is gone stops.
        """
        device = self._devices[job.index % len(self._devices)]
        environment = {**os.environ, **job.environment}
        environment |= {"PATHFRONT_LAUNCHER": str(os.getpid()), "CUDA_VISIBLE_DEVICES": device}
        with job.log.open("ab") as log:
            process = subprocess.Popen(
                job.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        return LocalWorker(process)

    @cached_property
    def _devices(self) -> list[str]:
        """Values of CUDA_VISIBLE_DEVICES, one for each trial; one that hides all GPUs on a CPU."""
        if plan(self._config)[0] != "cuda":
            return [""]
        found, size = gpus(), self._config.devices_per_trial
        return [",".join(found[i : i + size]) for i in range(0, len(found) - size + 1, size)]


class LocalWorker:
    """A worker in a child process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that killed it; None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Send it SIGINT."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self._process.kill()
