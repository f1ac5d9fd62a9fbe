"""Keep a study's workers running on its engine until the study ends, and say how it ended.

The launcher sees its workers die, so it frees their trials at once instead of waiting for their leases. It
trains nothing and imports no torch. It learns how a worker ended from the exit code and from
`pf_workers.left_because` in the database, never from a log.

| exit code of a worker | meaning | what follows |
|---|---|---|
| 0, 130, 143 | the study ended, or the worker was asked to stop | nothing |
| 2, 3 | every worker would refuse the study | no further worker is started |
| 1, 4, with a reason in the database | it cannot do the work that is left | no further worker is started |
| `REPLACEABLE`, a signal, any other | it crashed, hung, or lost its device | another, up to `EARLY_DEATHS` |

If no further worker is started, the launch ends with the exit code of the worker.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Engine as Database
from sqlalchemy import Row, and_, exists, select

from search.database.patience import patience_seconds, patiently, say_waiting
from search.database.storage import open_writer, reachable, settle
from search.database.tables import clock, studies, trials, workers
from search.engines.child import python
from search.engines.engine import Engine, Job, RunningWorker
from search.engines.engines import make_engine
from search.engines.guard import signal_name
from search.failure_policy import StudyHalted
from search.signals import StopRequest, stop_signals
from search.store.leases import expire_leases, pause_trials
from search.store.studies import load_study
from search.store.study_files import open_files
from search.store.workers import note_end, worker_name
from space.errors import (
    Interrupted,
    MachineError,
    NotFoundError,
    PathfrontError,
    StorageError,
    StudyFileError,
    Terminated,
)

T = TypeVar("T")
TICK_SECONDS = 0.5
WATCH_SECONDS = 0.1
EARLY_SECONDS = (
    30.0  # a worker that dies younger than this, without a finished trial, counts against its place
)
EARLY_DEATHS = 4  # in a row, before a place is given up
ENDED = (0, Interrupted.exit_code, Terminated.exit_code)
USELESS = (StudyFileError.exit_code, NotFoundError.exit_code)  # another worker would end the same way
LEFT = (MachineError.exit_code, StorageError.exit_code)  # with a reason in the database
KINDS = {error.exit_code: error for error in (MachineError, StudyFileError, NotFoundError, StorageError)}


def run(
    url: str,
    study: str,
    workers: int | None,
    artifacts: str,
    on_tick: Callable[[], None] = lambda: None,
    on_interrupt: Callable[[], None] = lambda: None,
    on_replaced: Callable[[str], None] = lambda line: None,
) -> None:
    """Run a study's workers on its engine until the study is finished.

    The first Ctrl-C or SIGTERM lets running trials reach a checkpoint, a second one of the same kind stops at
    once.

    Args:
        url: the database's URL.
        study: name of a study that exists.
        workers: trials side by side; None for the study file's number.
        artifacts: where checkpoints go; logs of the workers go to `logs` in the study's folder there.
        on_tick: called about twice a second.
        on_interrupt: called at the first signal, in a signal handler.
        on_replaced: called with one line for each worker that ended and gets another one in its place.

    Raises:
        Interrupted: a stop was requested; all trials are at a checkpoint.
        NotFoundError: there is no such study, or the workers do not find one of its tasks.
        StudyFileError: the workers refuse the study, or its engine cannot be made.
        StudyHalted: the study's first attempts all failed with the same error.
        MachineError: trials fail on this machine, whatever the candidate; or the engine fails.
        PathfrontError: the workers died, again and again; the message names a log.
        StorageError: the database or the artifacts cannot be used.
    """
    database = open_writer(url, create=False)
    try:
        _run(database, url, study, workers, artifacts, on_tick, on_interrupt, on_replaced)
    finally:
        database.dispose()


def _run(
    database: Database,
    url: str,
    study: str,
    workers: int | None,
    artifacts: str,
    on_tick: Callable[[], None],
    on_interrupt: Callable[[], None],
    on_replaced: Callable[[str], None],
) -> None:
    config = load_study(database, url, study).config
    engine = make_engine(config)
    _, count = engine.plan(workers)
    files = open_files(database, url, study, artifacts)
    logs = files.folder("logs")
    launcher = Launcher(database, url, study, artifacts, logs, engine, count, on_replaced)

    def ask() -> None:
        launcher.interrupt()
        on_interrupt()

    launcher.confirming = bool(launcher.patiently(launcher.row).confirming)
    with stop_signals(ask, lambda _: launcher.insist()) as request:
        launcher.request = request
        try:
            launcher.watch(on_tick)
        except (OSError, MachineError):  # of a log in a folder that has vanished, for one
            files.require()
            raise
        finally:
            launcher.kill()
        launcher.patiently(on_tick)
        launcher.patiently(lambda: settle(database, url))
        files.require()
        launcher.conclude()


@dataclass
class _Place:
    """A place for one worker at a time.

    Attributes:
        name: of its last worker.
        worker: the one that runs; None if none does.
        early_deaths: of its workers, in a row.
        excused: whether its end is no crash: the launcher killed it, or it could not use the storage.
        ended: how its last worker ended, in words.
    """

    index: int
    log: Path
    name: str = ""
    worker: RunningWorker | None = None
    early_deaths: int = 0
    excused: bool = False
    ended: str = "has ended"


class _Ending(NamedTuple):
    """What the database holds of a worker that ended.

    Attributes:
        because: why it left while there was work; None if it did not say.
        seconds: since it joined the study; None if it never did.
        scored: whether it finished a trial.
        halted: whether the study is halted.
    """

    because: str | None
    seconds: float | None
    scored: bool
    halted: bool

    @property
    def early(self) -> bool:
        """Whether it died before it could do anything of use."""
        return not self.scored and (self.seconds is None or self.seconds < EARLY_SECONDS)


class Launcher:
    """The workers of one launch; see `run`."""

    def __init__(
        self,
        database: Database,
        url: str,
        study: str,
        artifacts: str,
        logs: Path,
        engine: Engine,
        count: int,
        on_replaced: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._database = database
        self._url = url
        self._study = study
        self._engine = engine
        self._command = python("-m", "search.cli", "worker", study, "--artifacts", artifacts)
        self._places = [_Place(index, logs / f"worker-{index}.log") for index in range(count)]
        self._refused: PathfrontError | None = None  # why no further worker is started
        self._given_up: _Place | None = None
        self._patience = patience_seconds()
        self._on_replaced = on_replaced
        self.request = StopRequest()
        self.confirming = False  # whether the workers train confirmations only
        self._insisted = False
        self._failure: PathfrontError | None = None  # the first that `interrupt` or `kill` of a worker raised
        self._stuck = False  # whether a worker can be stopped in no way

    def interrupt(self) -> None:
        """Ask all workers to stop at a checkpoint; kill those that cannot be asked. Raises no error."""
        for place in self._places:
            if place.worker is not None and not self._tried(place.worker.interrupt):
                self._kill(place)

    def insist(self) -> None:
        """Kill all workers, and wait for nothing any more. Raises no error."""
        self._insisted = True
        for place in self._places:
            self._kill(place)

    def watch(self, on_tick: Callable[[], None]) -> None:
        """Start the workers and keep them running until they all end."""
        for place in self._places:
            self._start(place)
        ticked = -TICK_SECONDS
        while any(place.worker is not None for place in self._places):
            if self._stuck and self._failure is not None:
                raise self._failure
            for place in self._places:
                code = self._poll(place)
                if code is not None:
                    self._ended(place, code)
            if time.monotonic() - ticked >= TICK_SECONDS:
                self.patiently(on_tick)
                ticked = time.monotonic()
            time.sleep(WATCH_SECONDS)

    def kill(self) -> None:
        """Kill the workers that still run, and free their trials.

        A worker whose `kill` raises is interrupted instead, and its lease left to expire. An error never
        keeps the other workers from being killed.

        Raises:
            PathfrontError: a worker could not be killed.
        """
        running = [place for place in self._places if place.worker is not None]
        lost = [place for place in running if not self._kill(place)]
        for place in running:
            if self._gone(place, wait=place not in lost):
                self._let_go(place)
            else:
                place.worker = None
        if lost and self._failure is not None:
            raise self._failure

    def _kill(self, place: _Place) -> bool:
        """Kill a place's worker; if that fails, interrupt it. Returns whether it was killed."""
        if place.worker is None:
            return True
        place.excused = True
        if self._tried(place.worker.kill):
            return True
        self._tried(place.worker.interrupt)
        self._stuck = True
        return False

    def _gone(self, place: _Place, wait: bool) -> bool:
        """Whether a worker has ended; one that was killed is waited for, unless its `poll` fails."""
        while True:
            try:
                if self._poll(place) is not None:
                    return True
            except (PathfrontError, OSError):  # `watch` has reported it, if it is not the end of the launch
                return wait
            if not wait:
                return False
            time.sleep(WATCH_SECONDS)

    def _tried(self, call: Callable[[], None]) -> bool:
        """Call a method of a worker; keep its error for the end. Returns whether it raised none."""
        try:
            call()
        except (PathfrontError, OSError) as error:
            failure = error if isinstance(error, PathfrontError) else MachineError(str(error))
            self._failure = self._failure or failure
            return False
        return True

    def conclude(self) -> None:
        """Raise an error unless the study is finished.

        Raises:
            Interrupted: a stop was requested.
            PathfrontError: it is not finished, or a worker could not be interrupted; the message says why.
        """
        if self._failure is not None:
            raise self._failure
        if self.request.asked:
            raise self.request.error("stopped as asked; launch the study again to resume it")
        row = self.patiently(self.row)
        if row.halted is not None:
            raise StudyHalted(row.halted)
        if not row.confirming and (self.confirming or row.finished_at is not None):
            return
        if self._refused is not None:
            raise self._refused
        if row.stop_requested:
            raise Interrupted(f"somebody asked study '{self._study}' to stop; launch it again to resume it")
        place = self._given_up or self._places[0]
        raise PathfrontError(
            f"study '{self._study}' is unfinished and its workers are gone: the last one {place.ended};"
            f" see {place.log}"
        )

    def patiently(self, call: Callable[[], T]) -> T:
        """Call what needs the database; wait while it does not answer and nobody insisted on stopping."""
        return patiently(call, self._patience, say_waiting, lambda: self._insisted)

    def row(self) -> Row[Any]:
        """The study's row."""
        query = select(studies).where(studies.c.name == self._study)
        with reachable(self._url), self._database.connect() as connection:
            return connection.execute(query).one()

    def _start(self, place: _Place) -> None:
        place.name = worker_name()
        place.excused = False
        environment = {
            "OMP_NUM_THREADS": "1",
            "PATHFRONT_STORAGE": self._url,
            "PATHFRONT_WORKER": place.name,
            "PATHFRONT_LOG": str(place.log),
        }
        place.worker = self._engine.start(Job(place.index, self._command, environment, place.log))

    def _poll(self, place: _Place) -> int | None:
        return None if place.worker is None else place.worker.poll()

    def _ended(self, place: _Place, code: int) -> None:
        """A worker is gone: forget it, or start another one in its place."""
        place.worker = None
        if code in ENDED:
            return
        place.excused = place.excused or code == StorageError.exit_code
        ending = self.patiently(lambda: self._ending(place))
        place.ended = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with {code}"
        place.ended += f": {ending.because}" if ending.because else ""
        self._let_go(place)
        if self.request.asked or ending.halted:
            return
        if code in USELESS:
            self._refused = KINDS[code](ending.because or f"a worker {place.ended}; see {place.log}")
        elif code in LEFT and ending.because is not None:
            self._refused = KINDS[code](f"{ending.because}; see {place.log}")
        else:
            place.early_deaths = place.early_deaths + 1 if ending.early else 0
            if place.early_deaths < EARLY_DEATHS:
                self._on_replaced(f"worker {place.index} {place.ended}; another one begins; see {place.log}")
                self._start(place)
            else:
                self._given_up = place

    def _ending(self, place: _Place) -> _Ending:
        """Read what the database holds of a place's last worker."""
        halted = select(studies.c.halted).where(studies.c.name == self._study)
        own = and_(workers.c.study == self._study, workers.c.worker == place.name)
        joined = select(workers.c.left_because, (clock() - workers.c.started_at).label("seconds")).where(own)
        done = and_(trials.c.study == self._study, trials.c.worker == place.name, trials.c.state == "done")
        with reachable(self._url), self._database.connect() as connection:
            row = connection.execute(joined).first()
            return _Ending(
                because=None if row is None else row.left_because,
                seconds=None if row is None else row.seconds,
                scored=bool(connection.scalar(select(exists().where(done)))),
                halted=connection.scalar(halted) is not None,
            )

    def _let_go(self, place: _Place) -> None:
        """Free the trial of a worker that is gone: as paused if it did not crash, else as lost."""
        place.worker = None
        free = pause_trials if place.excused else expire_leases

        def let_go() -> None:
            with reachable(self._url):
                free(self._database, self._study, place.name)
                note_end(self._database, self._study, place.name)

        self.patiently(let_go)
