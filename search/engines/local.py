"""Workers as processes of this machine: one thread each on a CPU, one or several on each GPU.

The launcher sees its workers die, so it lets their trials go at once instead of waiting for their leases. It
trains nothing and imports no torch.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import Engine, select

from search.artifacts import Artifacts
from search.child import python
from search.engines.devices import cpu_count, gpus
from search.ledger import expire_leases
from search.storage import open_writer, reachable, settle
from search.study import load_study
from search.tables import studies
from search.worker import worker_name
from space.errors import Interrupted, NotFoundError, PathfrontError, StudyFileError
from space.study import StudyConfig

TICK_SECONDS = 0.5
WATCH_SECONDS = 0.1
EARLY_SECONDS = 30.0  # a worker that dies younger than this counts against its place
EARLY_DEATHS = 4  # in a row, before a place is given up
FINISHED, INTERRUPTED = 0, Interrupted.exit_code
USELESS = (StudyFileError.exit_code, NotFoundError.exit_code)  # another try would end the same way
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def plan(config: StudyConfig, workers: int | None = None) -> tuple[str, int]:
    """On what a study runs here, and how many trials side by side.

    Args:
        config: the study.
        workers: trials side by side; None for what the study file says.

    Returns:
        "cpu" or "cuda", and the number of workers.

    Raises:
        StudyFileError: the study wants a GPU, and there is none.
    """
    found = [] if config.device == "cpu" else gpus()
    if config.device == "cuda" and not found:
        raise StudyFileError("device: cuda needs a GPU, and this machine shows none; set device: cpu")
    wanted = workers or (config.workers if isinstance(config.workers, int) else None)
    room = len(found) * config.trials_per_gpu if found else cpu_count()
    return ("cuda" if found else "cpu"), wanted or min(room, config.stop.candidates or room)


def run(
    url: str,
    study: str,
    workers: int | None,
    artifacts: str,
    on_tick: Callable[[], None] = lambda: None,
    on_interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Run a study's workers on this machine until it is finished.

    The first Ctrl-C lets running trials reach a checkpoint, the second stops at once.

    Args:
        url: the database's URL.
        study: name of a study that exists.
        workers: trials side by side; None for what the study file says.
        artifacts: where checkpoints go; logs of the workers go to `<study>/logs` there.
        on_tick: called about twice a second.
        on_interrupt: called at the first Ctrl-C, in a signal handler.

    Raises:
        Interrupted: somebody asked to stop; everything lies at a checkpoint.
        NotFoundError: there is no such study.
        StudyFileError: the workers refuse the study.
        PathfrontError: the workers died, again and again; the message names a log.
        StorageError: the database or the artifacts cannot be used.
    """
    engine = open_writer(url, create=False)
    config = load_study(engine, url, study).config
    device, count = plan(config, workers)
    devices = gpus() if device == "cuda" else [""]
    logs = Artifacts(artifacts).folder(f"{study}/logs")
    crew = Crew(engine, url, study, artifacts, logs, [devices[i % len(devices)] for i in range(count)])

    def interrupt() -> None:
        crew.interrupt()
        on_interrupt()

    try:
        with _signals(interrupt):
            crew.watch(on_tick)
    finally:
        crew.kill()
    on_tick()
    settle(engine, url)
    crew.conclude()
    engine.dispose()


@dataclass
class _Place:
    """A place for one worker at a time.

    Attributes:
        device: what CUDA_VISIBLE_DEVICES says to its worker.
        early_deaths: of its workers, in a row.
    """

    index: int
    device: str
    log: Path
    name: str = ""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    early_deaths: int = 0


class Crew:
    """The workers of one launch; see `run`."""

    def __init__(
        self, engine: Engine, url: str, study: str, artifacts: str, logs: Path, devices: list[str]
    ) -> None:
        self._engine = engine
        self._url = url
        self._study = study
        self._command = python("-m", "search.cli", "worker", study, "--artifacts", artifacts)
        self._places = [_Place(i, device, logs / f"worker-{i}.log") for i, device in enumerate(devices)]
        self._interrupts = 0
        self._useless: str | None = None
        self._given_up: _Place | None = None

    def interrupt(self) -> None:
        """Ask all workers to stop at a checkpoint; the second time, kill them."""
        self._interrupts += 1
        for place in self._places:
            if place.process is not None:
                place.process.send_signal(signal.SIGINT if self._interrupts == 1 else signal.SIGKILL)

    def watch(self, on_tick: Callable[[], None]) -> None:
        """Start the workers and keep them running until they all end."""
        for place in self._places:
            self._start(place)
        ticked = -TICK_SECONDS
        while any(place.process is not None for place in self._places):
            for place in self._places:
                if place.process is not None and place.process.poll() is not None:
                    self._ended(place, place.process.returncode)
            if time.monotonic() - ticked >= TICK_SECONDS:
                on_tick()
                ticked = time.monotonic()
            time.sleep(WATCH_SECONDS)

    def kill(self) -> None:
        """Kill whatever still runs and let its trials go."""
        for place in self._places:
            if place.process is not None:
                place.process.kill()
                place.process.wait()
                self._let_go(place)

    def conclude(self) -> None:
        """Say how the study ended.

        Raises:
            Interrupted: somebody asked to stop.
            StudyFileError: the workers refuse the study.
            PathfrontError: it is not finished.
        """
        if self._interrupts:
            raise Interrupted("stopped as asked; launch the study again to go on")
        if self._useless is not None:
            raise StudyFileError(self._useless)
        query = select(studies.c.finished_at, studies.c.stop_requested).where(studies.c.name == self._study)
        with reachable(self._url), self._engine.connect() as connection:
            finished_at, stop_requested = connection.execute(query).one()
        if finished_at is not None:
            return
        if stop_requested:
            raise Interrupted(f"somebody asked study '{self._study}' to stop; launch it again to go on")
        place = self._given_up or self._places[0]
        raise PathfrontError(
            f"study '{self._study}' is unfinished and its workers are gone: {_last_line(place.log)};"
            f" see {place.log}"
        )

    def _start(self, place: _Place) -> None:
        place.name = worker_name()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PATHFRONT_STORAGE": self._url,  # not among the arguments, where others could read a password
            "PATHFRONT_WORKER": place.name,
            "PATHFRONT_LAUNCHER": str(os.getpid()),
            "CUDA_VISIBLE_DEVICES": place.device,
        }
        with place.log.open("ab") as log:
            place.process = _spawn(self._command, environment, log)
        place.started = time.monotonic()

    def _ended(self, place: _Place, code: int) -> None:
        """A worker is gone: forget it, or start another one in its place."""
        place.process = None
        if code in (FINISHED, INTERRUPTED):
            return
        self._let_go(place)
        if self._interrupts:
            return
        if code in USELESS:
            self._useless = _last_line(place.log).removeprefix("error: ")
            return
        early = time.monotonic() - place.started < EARLY_SECONDS
        place.early_deaths = place.early_deaths + 1 if early else 0
        if place.early_deaths < EARLY_DEATHS:
            self._start(place)
        else:
            self._given_up = place

    def _let_go(self, place: _Place) -> None:
        place.process = None
        with reachable(self._url):
            expire_leases(self._engine, self._study, place.name)


def _spawn(command: list[str], environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a worker in a process group of its own, so that Ctrl-C reaches the launcher alone."""
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        process_group=0,
    )


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no word in its log (is the disk full?)"


@contextmanager
def _signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C and the wishes of others to end this process call `interrupt`."""
    before = {which: signal.signal(which, lambda *_: interrupt()) for which in SIGNALS}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
