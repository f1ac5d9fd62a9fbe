"""How a running trial talks to the ledger: its curve, its checkpoints, its lease, the wish to stop.

A thread of its own renews the lease through phases in which the trainer is silent, such as evaluation; only a
process that is dead or frozen lets it run out.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from search.checkpoints import Checkpoints
from search.claims import Claim
from search.ledger import Ledger
from space.errors import LeaseLost, StorageError
from space.scores import CheckpointKind

WRITE_SECONDS = 1.0  # points of a curve are written together, this often
LISTEN_SECONDS = 1.0  # how often the thread looks whether somebody asked the study to stop


class TrialReport:
    """The report of one attempt; a context that keeps its lease alive.

    Args:
        ledger: the study's ledger.
        checkpoints: where its checkpoints go.
        claim: the attempt.
        told_to_stop: whether this worker was asked to stop.
    """

    def __init__(
        self, ledger: Ledger, checkpoints: Checkpoints, claim: Claim, told_to_stop: Callable[[], bool]
    ) -> None:
        self._ledger = ledger
        self._checkpoints = checkpoints
        self._claim = claim
        self._told_to_stop = told_to_stop
        self._points: list[dict[str, Any]] = []
        self._written = time.monotonic()
        self._beaten = time.monotonic()
        self._lost: LeaseLost | None = None
        self._study_stops = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"lease of {claim.label}", daemon=True)

    @property
    def stopping(self) -> bool:
        """Whether the worker or the study was asked to stop, or the trial is another worker's by now."""
        return self._lost is not None or self._study_stops or self._told_to_stop()

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Add one point of the training curve.

        Raises:
            LeaseLost: another worker has taken the trial over; stop at once.
        """
        finite = {task: float(value) for task, value in task_losses.items() if math.isfinite(value)}
        point = {"tokens": int(tokens), "loss": float(loss) if math.isfinite(loss) else None}
        self._points.append({**point, "task_losses": finite})
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the points that wait, which renews the lease as well.

        Raises:
            LeaseLost: another worker has taken the trial over; stop at once.
        """
        if self._lost is not None:
            raise self._lost
        if self._points:
            self._ledger.beat(self._claim, self._points)
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

    def __enter__(self) -> Self:
        """Start to keep the lease."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to keep the lease."""
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        every = min(LISTEN_SECONDS, self._ledger.lease / 4)
        while not self._over.wait(every):
            try:
                self._study_stops = self._ledger.stop_requested()
                if time.monotonic() - self._beaten >= self._ledger.lease / 3:
                    self._ledger.beat(self._claim)
                    self._beaten = time.monotonic()
            except LeaseLost as error:
                self._lost = error
                return
            except StorageError:
                continue  # the database is busy or away: the trainer's own writes say so if it stays away
