"""Workers as processes of this machine: one thread each on a CPU, one or several on each GPU.

The launcher sees its workers die, so it lets their trials go at once instead of waiting for their leases. It
trains nothing and imports no torch.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from sqlalchemy import Engine, Row, select

from search.database.patience import patience_seconds, patiently
from search.database.storage import open_writer, reachable, settle
from search.database.tables import studies, trials
from search.engines.child import python
from search.engines.devices import cpu_count, gpus
from search.signals import StopRequest, stop_signals
from search.store.leases import expire_leases, pause_trials
from search.store.studies import load_study
from search.store.study_files import open_files
from search.store.workers import note_end, why_left
from search.verdict import StudyHalted
from search.worker import worker_name
from space.errors import (
    Interrupted,
    MachineError,
    NotFoundError,
    PathfrontError,
    StorageError,
    StorageUnavailable,
    StudyFileError,
    Terminated,
)
from space.study import StudyConfig

T = TypeVar("T")
TICK_SECONDS = 0.5
WATCH_SECONDS = 0.1
EARLY_SECONDS = 30.0  # a worker that dies younger than this counts against its place
EARLY_DEATHS = 4  # in a row, before a place is given up
ENDED = (0, Interrupted.exit_code, Terminated.exit_code)  # exit codes of workers that need no successor
USELESS = (StudyFileError.exit_code, NotFoundError.exit_code)  # another try would end the same way


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

    The first Ctrl-C or SIGTERM lets running trials reach a checkpoint, a second one of the same kind stops at
    once.

    Args:
        url: the database's URL.
        study: name of a study that exists.
        workers: trials side by side; None for what the study file says.
        artifacts: where checkpoints go; logs of the workers go to `logs` in the study's folder there.
        on_tick: called about twice a second.
        on_interrupt: called at the first signal, in a signal handler.

    Raises:
        Interrupted: somebody asked to stop; everything lies at a checkpoint.
        NotFoundError: there is no such study.
        StudyFileError: the workers refuse the study.
        StudyHalted: the study's first attempts all failed with the same error.
        MachineError: trials fail on this machine, whatever the candidate.
        PathfrontError: the workers died, again and again; the message names a log.
        StorageError: the database or the artifacts cannot be used.
    """
    engine = open_writer(url, create=False)
    try:
        _run(engine, url, study, workers, artifacts, on_tick, on_interrupt)
    finally:
        engine.dispose()


def _run(
    engine: Engine,
    url: str,
    study: str,
    workers: int | None,
    artifacts: str,
    on_tick: Callable[[], None],
    on_interrupt: Callable[[], None],
) -> None:
    config = load_study(engine, url, study).config
    device, count = plan(config, workers)
    devices = gpus() if device == "cuda" else [""]
    files = open_files(engine, url, study, artifacts)
    devices = [devices[i % len(devices)] for i in range(count)]
    crew = Crew(engine, url, study, artifacts, files.folder("logs"), devices)

    def ask() -> None:
        crew.interrupt(signal.SIGINT)
        on_interrupt()

    with stop_signals(ask, lambda _: crew.insist()) as request:
        crew.request = request
        try:
            crew.watch(on_tick)
        except OSError:  # of a log in a folder that has vanished, for one
            files.require()
            raise
        finally:
            crew.kill()
        crew.patiently(on_tick)
        crew.patiently(lambda: settle(engine, url))
        files.require()
        crew.conclude()


@dataclass
class _Place:
    """A place for one worker at a time.

    Attributes:
        device: what CUDA_VISIBLE_DEVICES says to its worker.
        early_deaths: of its workers, in a row.
        blameless: whether its worker was killed from here or could not use the storage: no crash.
        ended: how its last worker ended, in words.
    """

    index: int
    device: str
    log: Path
    name: str = ""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    early_deaths: int = 0
    blameless: bool = False
    ended: str = "has ended"


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
        self._refused: PathfrontError | None = None  # why no further worker is started
        self._given_up: _Place | None = None
        self._patience = patience_seconds()
        self.request = StopRequest()
        self._insisted = False

    def insist(self) -> None:
        """Kill all workers, and wait for nothing any more."""
        self._insisted = True
        self.interrupt(signal.SIGKILL)

    def interrupt(self, which: signal.Signals) -> None:
        """Send all workers a signal: SIGINT asks them to stop at a checkpoint."""
        for place in self._places:
            if place.process is not None:
                place.blameless = which == signal.SIGKILL
                place.process.send_signal(which)

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
                self.patiently(on_tick)
                ticked = time.monotonic()
            time.sleep(WATCH_SECONDS)

    def kill(self) -> None:
        """Kill whatever still runs and let its trials go."""
        for place in self._places:
            if place.process is not None:
                place.blameless = True
                place.process.kill()
                place.process.wait()
                self._let_go(place)

    def conclude(self) -> None:
        """Say how the study ended.

        Raises:
            Interrupted: somebody asked to stop.
            PathfrontError: it is not finished; the message says why.
        """
        if self.request.asked:
            raise self.request.error("stopped as asked; launch the study again to go on")
        row = self.patiently(self._row)
        if row.halted is not None:
            raise StudyHalted(row.halted)
        if row.finished_at is not None:
            return
        if self._refused is not None:
            raise self._refused
        if row.stop_requested:
            raise Interrupted(f"somebody asked study '{self._study}' to stop; launch it again to go on")
        place = self._given_up or self._places[0]
        raise PathfrontError(
            f"study '{self._study}' is unfinished and its workers are gone: the last one {place.ended} after"
            f" '{_last_line(place.log)}'; see {place.log}"
        )

    def patiently(self, call: Callable[[], T]) -> T:
        """Call what needs the database; wait while it does not answer and nobody insisted on stopping."""
        return patiently(call, self._patience, _say_waiting, lambda: self._insisted)

    def _row(self) -> Row[Any]:
        query = select(studies).where(studies.c.name == self._study)
        with reachable(self._url), self._engine.connect() as connection:
            return connection.execute(query).one()

    def _start(self, place: _Place) -> None:
        place.name = worker_name()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PATHFRONT_STORAGE": self._url,  # not among the arguments, where others could read a password
            "PATHFRONT_WORKER": place.name,
            "PATHFRONT_LOG": str(place.log),
            "PATHFRONT_LAUNCHER": str(os.getpid()),
            "CUDA_VISIBLE_DEVICES": place.device,
        }
        place.blameless = False
        with place.log.open("ab") as log:
            place.process = _spawn(self._command, environment, log)
        place.started = time.monotonic()

    def _ended(self, place: _Place, code: int) -> None:
        """A worker is gone: forget it, or start another one in its place."""
        place.process = None
        if code in ENDED:
            return
        place.ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        place.blameless = place.blameless or code == StorageError.exit_code
        self._let_go(place)
        if self.request.asked:
            return
        reason, halted = self.patiently(lambda: self._said(place))
        if halted:
            return
        if code in USELESS:
            self._refused = StudyFileError(_last_line(place.log).removeprefix("error: "))
            return
        if reason is not None:
            kind = StorageError if code == StorageError.exit_code else MachineError
            self._refused = kind(f"{reason}; see {place.log}")
            return
        early = time.monotonic() - place.started < EARLY_SECONDS and not self.patiently(
            lambda: self._scored(place)
        )
        place.early_deaths = place.early_deaths + 1 if early else 0
        if place.early_deaths < EARLY_DEATHS:
            self._start(place)
        else:
            self._given_up = place

    def _scored(self, place: _Place) -> bool:
        """Whether a place's last worker has finished a trial."""
        own = (trials.c.study == self._study) & (trials.c.worker == place.name) & (trials.c.state == "done")
        with reachable(self._url), self._engine.connect() as connection:
            return connection.execute(select(trials.c.rung).where(own).limit(1)).first() is not None

    def _said(self, place: _Place) -> tuple[str | None, bool]:
        """Why a place's worker left while there was work, if it said so, and whether the study is halted."""
        halted = select(studies.c.halted).where(studies.c.name == self._study)
        with reachable(self._url), self._engine.connect() as connection:
            left = why_left(connection, self._study, place.name)
            return left, connection.scalar(halted) is not None

    def _let_go(self, place: _Place) -> None:
        """Free what a dead worker held: as paused if its trial did not crash, else as lost."""
        place.process = None
        free = pause_trials if place.blameless else expire_leases

        def let_go() -> None:
            with reachable(self._url):
                free(self._engine, self._study, place.name)
                note_end(self._engine, self._study, place.name)

        self.patiently(let_go)


def _say_waiting(error: StorageUnavailable, seconds: float) -> None:
    print(f"{error}; trying again in {seconds:.0f} s", file=sys.stderr, flush=True)


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
