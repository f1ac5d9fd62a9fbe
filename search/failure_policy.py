"""Decide what follows from failures: retry, end this worker, or halt the study.

- Errors of the machine (disk, cache, device, import) never count against a candidate. After a few in a row
  the worker leaves; its trials wait for other workers.
- A worker also leaves if its attempts fail in a row and those of other workers do not.
- A study is halted if its first attempts since its launch all fail with the same error, since the error is
  then most likely in the study file or in the trainer. Attempts that other workers began earlier are waited
  for: one worker may fail several times before another has trained for long enough to show that it can. The
  failed trials may be tried again.
"""

import time
from collections.abc import Callable

from sqlalchemy import Connection, and_, func, or_, select, update

from search.database.tables import events, studies, trials
from search.store.claims import Claim
from search.store.events import add_event
from search.store.faults import Failure, same_cause
from search.store.ledger import REOPENED, Ledger
from search.store.workers import others_alive
from space.errors import MachineError, PathfrontError

IN_A_ROW = 3  # failures until a worker leaves, or a study that has scored nothing yet is halted
POLL_SECONDS = 0.5  # while an older attempt is waited for
WAIT_SECONDS = 1.0  # after the first error of the machine; doubles with each further one


class DeviceLost(MachineError):  # noqa: N818 - an event
    """This process cannot use its device any more; a new process may."""


class StudyHalted(PathfrontError):  # noqa: N818 - an event
    """The study stopped, because its first attempts all failed with the same error."""


def may_be_replaced(error: Exception) -> bool:
    """Whether a new worker may replace one that ended with an error: a crash, or a device that failed."""
    return isinstance(error, DeviceLost) or not isinstance(error, PathfrontError)


class FailurePolicy:
    """Decides what follows from one worker's failures.

    Args:
        ledger: the study's ledger, in this worker's hands.
        log: path of this worker's log; None for a terminal.
        stopping: whether this worker was asked to stop.
        seen: notes that this worker is alive.
    """

    def __init__(
        self, ledger: Ledger, log: str | None, stopping: Callable[[], bool], seen: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._log = log
        self._stopping = stopping
        self._seen = seen
        self._machine = 0
        self._number = 0
        self._failed: list[Claim] = []

    def succeeded(self) -> None:
        """Reset the count of failures after a finished trial."""
        self._machine = 0
        self._failed = []

    def begun(self, number: int) -> None:
        """Note the number of Optuna's trial of the attempt that begins; later attempts have higher ones."""
        self._number = number

    def failed(self, claim: Claim, failure: Failure) -> None:
        """Count a failed attempt that is in the ledger; then wait, leave, or halt the study.

        Raises:
            DeviceLost: this process should end.
            MachineError: this worker should leave.
            StudyHalted: the study is halted.
        """
        if failure.kind == "machine":
            self._machine += 1
            if failure.device_lost:
                raise DeviceLost(f"the device failed: {failure.reason}")
            if self._machine >= IN_A_ROW:
                raise MachineError(
                    f"this machine failed {self._machine} times in a row: {failure.reason};"
                    " its trials wait for other workers, or for the next launch"
                )
            self._wait(WAIT_SECONDS * 2 ** (self._machine - 1))
            return
        if failure.kind == "diverged":
            return
        self._halt_if_all_fail(failure)
        if self._stopping():
            return
        self._failed.append(claim)
        if len({c.candidate for c in self._failed}) >= IN_A_ROW and self._others_do_better():
            raise MachineError(
                f"{IN_A_ROW} candidates in a row failed here and not on other workers, the last with:"
                f" {failure.reason}"
            )

    def _halt_if_all_fail(self, failure: Failure) -> None:
        """Halt the study if all attempts since its launch ended with this error.

        While an older attempt is under way, this worker waits for it: the oldest one decides.

        Raises:
            StudyHalted: it is halted.
        """
        while True:
            with self._ledger.write() as connection:  # nothing ends between what is seen and the halt
                same = self._all_failed(connection, failure)
                if same is None:
                    return
                older = self._older_under_way(connection)
                reason = "" if older else self._halt(connection, failure, same)
            if reason:
                raise StudyHalted(reason)
            if self._stopping():
                return
            self._ledger.patiently(self._seen)
            time.sleep(POLL_SECONDS)

    def _all_failed(self, connection: Connection, failure: Failure) -> int | None:
        """How many attempts since the launch failed; None if few did, one did not, or one makes progress."""
        study, cause = self._ledger.study, same_cause(failure.reason)
        since = select(func.max(events.c.id)).where(events.c.study == study, events.c.kind == "launched")
        recent = and_(events.c.study == study, events.c.id > since.scalar_subquery())
        succeeding = and_(
            trials.c.study == study,
            trials.c.state == "running",
            trials.c.progress_tokens > 0,
            trials.c.crashes == 0,
        )
        ends = select(events).where(recent, events.c.kind.in_(("failed", "done")))
        found = connection.execute(ends.order_by(events.c.id)).all()
        same = [row for row in found if row.kind == "failed" and same_cause(row.text).endswith(cause)]
        few = len(same) < IN_A_ROW or len({row.candidate for row in same}) == 1
        if few or len(same) < len(found):
            return None
        if connection.scalar(select(func.count()).select_from(trials).where(succeeding)):
            return None
        return len(same)

    def _older_under_way(self, connection: Connection) -> bool:
        """Whether a live worker is at an attempt that began before this worker's."""
        study = self._ledger.study
        alive = others_alive(connection, study, self._ledger.worker, self._ledger.lease)
        older = and_(
            trials.c.study == study,
            trials.c.state == "running",
            trials.c.worker.in_(alive),
            trials.c.number < self._number,
        )
        return bool(connection.scalar(select(func.count()).select_from(trials).where(older)))

    def _halt(self, connection: Connection, failure: Failure, attempts: int) -> str:
        """Halt the study; returns why."""
        study = self._ledger.study
        where = f"; log: {self._log}" if self._log else ""
        reason = (
            f"the first {attempts} attempts all failed with the same error: {failure.reason}{where};"
            " fix it and launch the study again"
        )
        unhalted = and_(studies.c.name == study, studies.c.halted.is_(None))
        if connection.execute(update(studies).where(unhalted).values(halted=reason)).rowcount:
            add_event(connection, study, "halted", reason)
        again = and_(trials.c.study == study, trials.c.state == "failed", trials.c.diverged.is_(False))
        connection.execute(update(trials).where(again).values(REOPENED))
        return reason

    def _others_do_better(self) -> bool:
        """Whether other workers train or have scored, and none failed on the candidates that failed here."""
        study, me = self._ledger.study, self._ledger.worker
        names = [claim.candidate for claim in self._failed]
        of_study = and_(trials.c.study == study, trials.c.worker != me)
        with self._ledger.read() as connection:
            failed_too = connection.scalar(
                select(func.count()).where(
                    of_study, trials.c.candidate.in_(names), trials.c.state == "failed"
                )
            )
            scored = connection.scalar(select(func.count()).where(of_study, trials.c.state == "done"))
            alive = others_alive(connection, study, me, self._ledger.lease)
            healthy = connection.scalar(
                select(func.count()).where(
                    of_study,
                    trials.c.worker.in_(alive),
                    or_(trials.c.state == "done", and_(trials.c.state == "running", trials.c.crashes == 0)),
                )
            )
        return not failed_too and bool(scored or healthy)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stopping():
            time.sleep(0.1)
