"""Transactions of one worker on one study, and what a worker may read or note at any time.

Transactions that change a trial (`held`, `change`) succeed only while key, attempt and worker of the claim
still agree with the trial's row. All times are the database's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, and_, select, update

from search.database.patience import patience_seconds, patient, patiently, say_waiting
from search.database.storage import reachable
from search.database.tables import candidates, clock, studies, trials
from search.store.claims import Claim
from search.store.confirmations import Standing, standing
from search.store.events import add_event
from search.store.leases import lease_seconds
from space.errors import LeaseLost, StorageUnavailable

T = TypeVar("T")


class Transactions:
    """A worker's transactions on a study.

    Args:
        engine: the database, open for writing.
        url: its URL.
        study: the study's name; it exists.
        worker: this worker's name, unique in the study.

    Attributes:
        lease: seconds after which a silent worker loses its trial.
        patience: seconds for which a database that does not answer is tried again.
        stopping: returns whether to stop waiting for the database.
    """

    def __init__(self, engine: Engine, url: str, study: str, worker: str) -> None:
        self.engine = engine
        self.url = url
        self.study = study
        self.worker = worker
        self.lease = lease_seconds()
        self.patience = patience_seconds()
        self.stopping: Callable[[], bool] = lambda: False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading.

        Raises:
            StorageError: the database cannot be used.
        """
        with reachable(self.url), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction. Optuna must not be called inside it.

        Raises:
            StorageError: the database cannot be used.
        """
        with reachable(self.url), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def held(self, claim: Claim, **changes: Any) -> Iterator[Connection]:
        """A transaction that succeeds only while the claim holds, and renews its lease.

        Args:
            claim: the attempt.
            changes: further columns of the trial to set.

        Raises:
            LeaseLost: another worker has taken the trial over; nothing is written.
        """
        with self.changed(claim, lease_until=clock() + self.lease, **changes) as connection:
            yield connection

    @contextmanager
    def changed(self, claim: Claim, **values: Any) -> Iterator[Connection]:
        """A transaction that first sets columns of a claimed trial.

        Raises:
            LeaseLost: another worker has taken the trial over; nothing is written.
        """
        with self.write() as connection:
            self.change(connection, claim, **values)
            yield connection

    def change(self, connection: Connection, claim: Claim, **values: Any) -> None:
        """Set columns of a claimed trial within a transaction.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        own = and_(
            claim.of(trials),
            trials.c.attempt == claim.attempt,
            trials.c.worker == claim.worker,
            trials.c.state == "running",
        )
        if not connection.execute(update(trials).where(own).values(values)).rowcount:
            raise LeaseLost(f"another worker has taken trial {claim.label} over")

    def on_wait(self, error: StorageUnavailable, seconds: float) -> None:
        """Print that the database does not answer, and when it is tried again."""
        say_waiting(error, seconds)

    def patiently(self, call: Callable[[], T]) -> T:
        """Repeat a call while the database does not answer, for as long as `patience` allows."""
        return patiently(call, self.patience, self.on_wait, self.stopping)

    @patient
    def note(self, kind: str, text: str, claim: Claim | None = None) -> None:
        """Add an event in a transaction of its own; see `add_event`."""
        with self.write() as connection:
            add_event(connection, self.study, kind, text, claim)

    @patient
    def stop_requested(self) -> bool:
        """Whether the study should stop: by request, because it was halted, or because it was deleted."""
        asked = select(studies.c.stop_requested, studies.c.halted).where(studies.c.name == self.study)
        with self.read() as connection:
            row = connection.execute(asked).first()
        return row is None or bool(row.stop_requested) or row.halted is not None

    @patient
    def halted(self) -> str | None:
        """Why the study was halted; None if it was not."""
        with self.read() as connection:
            return connection.scalar(select(studies.c.halted).where(studies.c.name == self.study))

    @patient
    def confirmations(self) -> Standing:
        """Where the study's confirmations stand."""
        with self.read() as connection:
            return standing(connection, self.study)

    @patient
    def candidate(self, candidate: str) -> Row[Any]:
        """A candidate's row of `pf_candidates`, by its id."""
        where = and_(candidates.c.study == self.study, candidates.c.candidate == candidate)
        with self.read() as connection:
            return connection.execute(select(candidates).where(where)).one()
