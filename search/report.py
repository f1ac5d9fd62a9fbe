"""What a trainer reports of a running trial: its curve and its checkpoints; and whether it should stop.

A separate thread renews the trial's lease, also while the trainer reports nothing, such as during evaluation.
A trainer that hangs cannot be stopped from another thread: after a time limit without progress the trial is
given up and the process ends.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from search.store.checkpoints import Checkpoints
from search.store.claims import Claim
from search.store.ledger import Ledger
from search.store.workers import REPLACEABLE
from space.contract import CheckpointKind
from space.errors import LeaseLost, StorageError

WRITE_SECONDS = 1.0  # points of a curve are written together, this often
LISTEN_SECONDS = 1.0  # between two looks for a request to stop the study
ORPHAN_SECONDS = 120.0  # without progress, after which a worker whose launcher is gone ends


@dataclass(frozen=True)
class StallLimits:
    """How long a trial may go without progress.

    Attributes:
        seconds: in general.
        orphaned: whether the launcher of this worker is gone, so that `ORPHAN_SECONDS` are enough.
    """

    seconds: float
    orphaned: Callable[[], bool] = lambda: False

    def reached(self, silent_seconds: float) -> bool:
        """Whether a trial has been silent for too long."""
        if silent_seconds >= self.seconds:
            return True
        return silent_seconds >= ORPHAN_SECONDS and self.orphaned()


class TrialReport:
    """The report of one attempt; a context manager that renews its lease.

    Args:
        ledger: the study's ledger.
        checkpoints: where its checkpoints go.
        claim: the attempt.
        told_to_stop: whether this worker was asked to stop.
        alive: called about once a second while the trial runs.
        limits: how long the trainer may go without progress.
    """

    def __init__(
        self,
        ledger: Ledger,
        checkpoints: Checkpoints,
        claim: Claim,
        told_to_stop: Callable[[], bool],
        alive: Callable[[], None] = lambda: None,
        limits: StallLimits = StallLimits(math.inf),
    ) -> None:
        self._ledger = ledger
        self._checkpoints = checkpoints
        self._claim = claim
        self._told_to_stop = told_to_stop
        self._alive = alive
        self._limits = limits
        self._heard = time.monotonic()  # when the trainer last made progress
        self._points: list[dict[str, Any]] = []
        self._written = time.monotonic()
        self._beaten = time.monotonic()
        self._lost: LeaseLost | None = None
        self._study_stops = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"lease of {claim.label}", daemon=True)

    @property
    def stopping(self) -> bool:
        """Whether the worker or the study was asked to stop, or the trial is another worker's by now.

        A trainer that asks is alive.
        """
        self.alive()
        return self._lost is not None or self._study_stops or self._told_to_stop()

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Add one point of the training curve.

        Raises:
            LeaseLost: another worker has taken the trial over; stop at once.
        """
        self.alive()
        finite = {task: float(value) for task, value in task_losses.items() if math.isfinite(value)}
        point = {"tokens": int(tokens), "loss": float(loss) if math.isfinite(loss) else None}
        self._points.append({**point, "task_losses": finite})
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.flush()

    def alive(self) -> None:
        """Report progress in a long phase without curve points, such as scoring."""
        self._heard = time.monotonic()

    def flush(self) -> None:
        """Write the points that are not written yet; this renews the lease as well.

        Raises:
            LeaseLost: another worker has taken the trial over; stop at once.
        """
        if self._lost is not None:
            raise self._lost
        if self._points:
            self._ledger.heartbeat(self._claim, self._points)
            self._points = []
            self._beaten = time.monotonic()
        self._written = time.monotonic()

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Make a checkpoint durable.

        Raises:
            LeaseLost: another worker has taken the trial over; stop at once.
            StorageError: it cannot be stored.
        """
        self.flush()
        self._checkpoints.save(self._claim, save, int(tokens), kind)
        self.alive()

    def __enter__(self) -> Self:
        """Start to renew the lease."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop renewing the lease."""
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        every = min(LISTEN_SECONDS, self._ledger.lease / 4)
        while not self._over.wait(every):
            silent = time.monotonic() - self._heard
            if self._limits.reached(silent):
                self._end_process(silent)
            try:
                self._alive()
                self._study_stops = self._ledger.stop_requested()
                if time.monotonic() - self._beaten >= self._ledger.lease / 3:
                    self._ledger.heartbeat(self._claim)
                    self._beaten = time.monotonic()
            except LeaseLost as error:
                self._lost = error
                return
            except StorageError:
                continue  # the database is busy or away: the trainer's own writes say so if it stays away

    def _end_process(self, silent: float) -> None:
        """Give the trial up and end this process, since its main thread hangs."""
        reason = f"no progress for {silent / 60:.1f} minutes (stall_minutes); its worker ended"
        print(f"{self._claim.label}: {reason}", file=sys.stderr, flush=True)
        try:
            self._ledger.give_up(self._claim, reason)
        except (LeaseLost, StorageError) as error:  # the lease runs out by itself then
            print(f"{self._claim.label}: {error}", file=sys.stderr, flush=True)
        os._exit(REPLACEABLE)
