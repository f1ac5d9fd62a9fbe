"""The workers of a study in the database: which are alive, which have left and why, and the running time.

A study's running time is measured by its workers' monotonic clocks, so that a jump of the system clock
neither ends a study nor extends it.
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Connection, Engine, and_, case, delete, func, insert, select, update

from search.database.storage import reachable
from search.database.tables import clock, studies, workers

REPLACEABLE = 70  # exit code of a worker that another one may replace: it crashed, hung or lost its device
SEEN_SECONDS = 5.0  # between two updates of a worker's `seen_at`


def worker_name() -> str:
    """A name that no other worker has."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


class Register:
    """One worker's row in `pf_workers`.

    Args:
        engine: the database, open to write.
        url: its URL.
        study: the study's name.
        worker: this worker's name.
    """

    def __init__(self, engine: Engine, url: str, study: str, worker: str) -> None:
        self._engine = engine
        self._url = url
        self._study = study
        self._worker = worker
        self._own = (workers.c.study == study) & (workers.c.worker == worker)
        self._launched: float | None = None  # the launch that the running time is counted from
        self._base = 0.0  # running time of the study when this worker began to count
        self._began = self._noted = -float("inf")

    def join(self, log: str | None) -> None:
        """Insert the worker's row; it replaces the row of an earlier worker of the same name.

        Args:
            log: path of this worker's log; None if it writes to a terminal.
        """
        row = {
            "study": self._study,
            "worker": self._worker,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": os.environ.get("CUDA_VISIBLE_DEVICES") or None,
            "log": log,
            "started_at": clock(),
            "seen_at": clock(),
        }
        with self._write() as connection:
            connection.execute(delete(workers).where(self._own))
            connection.execute(insert(workers).values(row))
        self.seen()

    def seen(self) -> None:
        """Store that this worker is alive; within 5 seconds of the last time, do nothing."""
        if time.monotonic() - self._noted < SEEN_SECONDS:
            return
        with self._write() as connection:
            connection.execute(update(workers).where(self._own).values(seen_at=clock()))
            self._count(connection)
        self._noted = time.monotonic()

    def leave(self, because: str | None = None) -> None:
        """Store that this worker has left the study.

        Args:
            because: why, if there is work left that this worker cannot do.
        """
        with self._write() as connection:
            connection.execute(update(workers).where(self._own).values(left_at=clock(), left_because=because))
            self._count(connection)

    def _count(self, connection: Connection) -> None:
        """Raise the study's running time to the time that this worker measured; workers do not add up."""
        of_study = studies.c.name == self._study
        row = connection.execute(select(studies.c.launched_at, studies.c.ran_seconds).where(of_study)).first()
        if row is None:
            return  # the study was deleted meanwhile
        if row.launched_at != self._launched:
            self._launched, self._base, self._began = row.launched_at, row.ran_seconds, time.monotonic()
        ran = self._base + time.monotonic() - self._began
        further = case((studies.c.ran_seconds < ran, ran), else_=studies.c.ran_seconds)
        connection.execute(update(studies).where(of_study).values(ran_seconds=further))

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with reachable(self._url), self._engine.begin() as connection:
            yield connection


def others_alive(connection: Connection, study: str, worker: str, lease: float) -> list[str]:
    """Names of the other workers of a study that are alive: seen within a lease, and not left."""
    alive = select(workers.c.worker).where(_alive(study, lease), workers.c.worker != worker)
    return list(connection.scalars(alive))


def count_alive(connection: Connection, study: str) -> int:
    """Number of workers of a study that are alive: seen lately, and not left."""
    return connection.scalar(select(func.count()).select_from(workers).where(_alive(study, 0.0))) or 0


def _alive(study: str, lease: float) -> ColumnElement[bool]:
    lately = workers.c.seen_at > clock() - max(lease, 3 * SEEN_SECONDS)
    return and_(workers.c.study == study, workers.c.left_at.is_(None), lately)


def note_end(engine: Engine, study: str, worker: str) -> None:
    """Store that a worker has ended, if it did not do so itself."""
    silent = (workers.c.study == study) & (workers.c.worker == worker) & workers.c.left_at.is_(None)
    with engine.begin() as connection:
        connection.execute(update(workers).where(silent).values(left_at=clock()))
