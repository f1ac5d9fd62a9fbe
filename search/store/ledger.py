"""The ledger: who works on what, and what came of it. It is the truth and commits first, Optuna second.

An attempt goes through claim, create, number, beat, finish, tell; each is a transaction of its own, and a
worker's writes hold only while key, attempt and worker still agree. A worker may die between any two of them:
`mend` and `take_over` bring the study forward from whatever they find. All times are the database's.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from search.database.patience import patience_seconds, patient, patiently
from search.database.storage import reachable
from search.database.tables import (
    candidates,
    checkpoints,
    clock,
    curves,
    events,
    routing,
    studies,
    task_scores,
    trials,
)
from search.store.claims import Claim, NewTrial
from search.store.faults import Failure
from search.store.leases import LET_GO, Silence, is_over, lease_seconds
from search.store.optuna_trials import OptunaTrials
from search.store.workers import others_alive
from space.contract import Spent
from space.errors import LeaseLost, StorageUnavailable
from space.scores import Scorecard

T = TypeVar("T")
PAUSE_SECONDS = 60.0  # for which a trial that is laid down waits for the database
RETRIES = 2  # of a trial that crashed or lost its worker without a newer checkpoint


def step(name: str) -> None:
    """A point between two durable steps, where a worker may die; tests make it die here."""


class Ledger:
    """One study's ledger, in one worker's hands.

    Args:
        engine: the database, open to write.
        url: its URL.
        study: the study's name; it exists.
        worker: this worker's name, unlike any other's.
        log: path of this worker's log, which its trials name; None for a terminal.
    """

    def __init__(self, engine: Engine, url: str, study: str, worker: str, log: str | None = None) -> None:
        self.engine = engine
        self.url = url
        self.study = study
        self.worker = worker
        self.lease = lease_seconds()
        self.marks: dict[str, Any] = {"log": log}  # columns of each trial that this worker takes on
        self.patience = patience_seconds()
        self.stopping: Callable[[], bool] = lambda: False  # whether to wait no longer for the database
        self._silence = Silence(self.lease)
        self._optuna = OptunaTrials(url, study)

    def on_wait(self, error: StorageUnavailable, seconds: float) -> None:
        """Say that the database does not answer."""
        print(f"{error}; trying again in {seconds:.0f} s", file=sys.stderr, flush=True)

    def patiently(self, call: Callable[[], T]) -> T:
        """Call what uses the database beside this ledger, and wait for it as the ledger does."""
        return patiently(call, self.patience, self.on_wait, self.stopping)

    def close(self) -> None:
        """Let the database go."""
        self._optuna.close()
        self.engine.dispose()

    @patient
    def claim(self, trial: NewTrial, candidate: Mapping[str, Any] | None = None) -> Claim | None:
        """Claim a trial that nobody has begun.

        Args:
            trial: what to claim.
            candidate: its row of `pf_candidates` (without study and time), if the candidate is new.

        Returns:
            None if another worker was faster.
        """
        claim = Claim(self.study, trial.candidate, trial.rung, trial.seed, 1, self.worker)
        about = "new candidate" if candidate is not None else f"climbs to rung {trial.rung}"
        try:
            with self.write() as connection:
                if candidate is not None:
                    row = {**candidate, "study": self.study, "created_at": clock()}
                    connection.execute(insert(candidates).values(row))
                connection.execute(
                    insert(trials).values(
                        study=self.study,
                        **asdict(trial),
                        attempt=1,
                        worker=self.worker,
                        state="running",
                        started_at=clock(),
                        lease_until=clock() + self.lease,
                        **self.marks,
                    )
                )
                self._note(connection, "proposed" if candidate is not None else "promoted", about, claim)
        except IntegrityError:
            return claim if self._is_ours(claim) else None
        step("claimed")
        return claim

    def _is_ours(self, claim: Claim) -> bool:
        """Whether an earlier try claimed the trial after all, and lost its connection while committing."""
        ours = and_(claim.of(trials), trials.c.attempt == claim.attempt, trials.c.worker == claim.worker)
        with self.read() as connection:
            row = connection.execute(select(trials.c.state, trials.c.number).where(ours)).first()
        return row is not None and row.state == "running" and row.number is None

    @patient
    def take_over(self) -> Claim | None:
        """Claim the next attempt at a trial that was paused, crashed or lost its worker, if there is one.

        A trial that failed here is left to other workers while any are alive.
        """
        pending = or_(
            trials.c.state == "paused",
            and_(trials.c.state == "failed", trials.c.final.is_(False)),
            is_over(self.lease),
        )
        query = select(trials).where(trials.c.study == self.study, pending)
        with self.read() as connection:
            rows = connection.execute(query.order_by(trials.c.rung.desc(), trials.c.started_at)).all()
            failed_here = any(row.state == "failed" and row.worker == self.worker for row in rows)
            others = failed_here and others_alive(connection, self.study, self.worker, self.lease)
        for row in rows:
            if others and row.state == "failed" and row.worker == self.worker:
                continue
            if row.state == "running" and not self._silence.is_dead(row):
                continue
            claim = self._next_attempt(row)
            if claim is not None:
                step("taken over")
                return claim
        return None

    def _next_attempt(self, row: Row[Any]) -> Claim | None:
        """Compare and set; None if another worker was faster, or no attempt is left."""
        lost = row.state == "running"
        claim = Claim(self.study, row.candidate, row.rung, row.seed, row.attempt + 1, self.worker)
        same = and_(trials.c.attempt == row.attempt, trials.c.lease_until == row.lease_until)
        found = and_(claim.of(trials), same, trials.c.state == row.state, trials.c.final.is_(False))
        with self.write() as connection:
            counted = self._crash(connection, claim) if lost else {}
            crashes = counted.get("crashes", 0)
            if crashes > RETRIES:
                error = row.error or f"its worker was lost {crashes} times; is it out of memory?"
                values = {"state": "failed", "final": True, "error": error, "finished_at": clock()}
            else:
                error = f"worker {row.worker} was lost; the trial goes on" if lost else ""
                values = {
                    "state": "running",
                    "attempt": row.attempt + 1,
                    "worker": self.worker,
                    "lease_until": clock() + self.lease,
                    "number": None,
                    "told": False,
                    "started_at": clock(),
                    "finished_at": None,
                    "error": None,
                    **self.marks,
                }
            changed = connection.execute(update(trials).where(found).values(**counted, **values)).rowcount
            if changed and lost:
                self._note(connection, "lost" if values["state"] == "running" else "failed", error, claim)
        return claim if changed and values["state"] == "running" else None

    def _crash(self, connection: Connection, claim: Claim) -> dict[str, int]:
        """Columns of a trial after one more crash; a newer checkpoint since the last one resets the count."""
        durable = select(func.max(checkpoints.c.tokens)).where(
            claim.of(checkpoints), checkpoints.c.kind.in_(("trunk", "branch"))
        )
        tokens = connection.scalar(durable) or 0
        row = connection.execute(
            select(trials.c.crashes, trials.c.durable_tokens).where(claim.of(trials))
        ).one()
        further = row.durable_tokens is not None and tokens > row.durable_tokens
        return {"crashes": 1 if further else row.crashes + 1, "durable_tokens": tokens}

    @patient
    def start(self, claim: Claim, params: dict[str, Any], distributions: dict[str, str], tokens: int) -> int:
        """Create the attempt's trial in Optuna's study and note its number.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        if claim.attempt > 1:
            self.mend(thorough=True)
        attrs = {
            "candidate": claim.candidate,
            "rung": claim.rung,
            "seed": claim.seed,
            "attempt": claim.attempt,
            "tokens": tokens,
        }
        number = self._optuna.create(claim.label, params, distributions, attrs)
        step("created")
        try:
            with self.held(claim, number=number):
                pass
        except LeaseLost:
            self._optuna.tell(number, None)
            raise
        step("numbered")
        return number

    @patient
    def rewind(self, claim: Claim, tokens: int) -> None:
        """Forget the curve beyond the checkpoint from which an attempt goes on.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        with self.held(claim, progress_tokens=tokens) as connection:
            connection.execute(delete(curves).where(claim.of(curves), curves.c.tokens > tokens))

    @patient
    def beat(self, claim: Claim, points: Sequence[Mapping[str, Any]] = ()) -> None:
        """Renew the lease, and add points of the curve: `tokens`, `loss`, `task_losses`.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        latest = {point["tokens"]: point for point in points}
        progress = {"progress_tokens": max(latest)} if latest else {}
        with self.held(claim, **progress) as connection:
            if latest:
                again = curves.c.tokens.in_(list(latest))
                connection.execute(delete(curves).where(claim.of(curves), again))
                rows = [{**claim.key, **point} for point in latest.values()]
                connection.execute(insert(curves), rows)

    def finish(self, claim: Claim, card: Scorecard) -> None:
        """Note a trial's scores, then tell Optuna.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        self._note_scores(claim, card)
        step("scored")
        self.mend()

    @patient
    def _note_scores(self, claim: Claim, card: Scorecard) -> None:
        shared = set(Spent.model_fields) - {"tokens"}
        results = {
            **{name: getattr(card, name) for name in ("score", "stderr", "domains")},
            **{name: getattr(card, name) for name in ("memorisable_score", "generalising_score")},
            **{name: getattr(card.spent, name) for name in shared},
        }
        with self._end(claim, "done", final=True, error=None, **results) as connection:
            for table in (task_scores, routing):
                connection.execute(delete(table).where(claim.of(table)))
            scores = [{**claim.key, "task": task, **score.model_dump()} for task, score in card.tasks.items()]
            loads = [{**claim.key, "domain": domain, "load": load} for domain, load in card.routing.items()]
            for table, rows in ((task_scores, scores), (routing, loads)):
                if rows:
                    connection.execute(insert(table), rows)
            self._note(connection, "done", f"scored {card.score:.3f} at rung {claim.rung}", claim)

    def fail(self, claim: Claim, failure: Failure) -> None:
        """Note that an attempt failed and whether the trial may be tried again; then tell Optuna.

        Errors of the machine are not counted against the trial.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        self._note_failure(claim, failure)
        step("failed")
        self.mend()

    @patient
    def _note_failure(self, claim: Claim, failure: Failure) -> None:
        with self.write() as connection:
            machine = failure.kind == "machine"
            counted = {} if machine else self._crash(connection, claim)
            permanent = failure.kind in ("permanent", "diverged")
            self._change(
                connection,
                claim,
                state="failed",
                told=False,
                finished_at=clock(),
                final=permanent or counted.get("crashes", 0) > RETRIES,
                diverged=failure.kind == "diverged",
                error=failure.reason,
                **counted,
            )
            text = f"attempt {claim.attempt}: {failure.reason}"
            self._note(connection, "machine" if machine else "failed", text, claim)

    @patient
    def give_up(self, claim: Claim, error: str) -> None:
        """Let a running trial go, as lost: its trainer does not answer, and this process is about to end.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        with self.write() as connection:
            self._change(connection, claim, lease_until=LET_GO, error=error)
            self._note(connection, "stalled", error, claim)

    def pause(self, claim: Claim) -> None:
        """Lay a trial down at its checkpoint for any worker to take up; then tell Optuna.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        # also after a request to stop: what is not noted as paused would count as a crash
        patiently(lambda: self._note_pause(claim), min(self.patience, PAUSE_SECONDS), self.on_wait)
        step("paused")
        self.mend()

    def _note_pause(self, claim: Claim) -> None:
        with self._end(claim, "paused") as connection:
            self._note(connection, "paused", f"laid down at rung {claim.rung}", claim)

    @patient
    def mend(self, thorough: bool = False) -> None:
        """Tell Optuna what it does not know: how attempts ended, and which were taken over.

        Args:
            thorough: look for trials that are RUNNING without reason even if nothing is known to be untold.
        """
        own = and_(trials.c.study == self.study, trials.c.state != "running", trials.c.told.is_(False))
        with self.read() as connection:
            untold = connection.execute(select(trials).where(own)).all()
        if not untold and not thorough:
            return
        self._optuna.mend(untold, self._trials)
        step("told")
        with self.write() as connection:
            for row in untold:
                claim = Claim(self.study, row.candidate, row.rung, row.seed, row.attempt, row.worker)
                same = and_(claim.of(trials), trials.c.attempt == row.attempt, trials.c.state == row.state)
                connection.execute(update(trials).where(same).values(told=True))

    def _trials(self, of: set[str]) -> dict[tuple[Any, ...], Row[Any]]:
        """Trials of some candidates by candidate, rung and seed."""
        where = and_(trials.c.study == self.study, trials.c.candidate.in_(of))
        with self.read() as connection:
            rows = connection.execute(select(trials).where(where)).all()
        return {(row.candidate, row.rung, row.seed): row for row in rows}

    @patient
    def note(self, kind: str, text: str, claim: Claim | None = None) -> None:
        """Add an event."""
        with self.write() as connection:
            self._note(connection, kind, text, claim)

    def note_in(self, connection: Connection, kind: str, text: str) -> None:
        """Add an event within a transaction."""
        self._note(connection, kind, text, None)

    @patient
    def stop_requested(self) -> bool:
        """Whether somebody asked the whole study to stop, or it was halted."""
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
    def candidate(self, candidate: str) -> Row[Any]:
        """A candidate's row."""
        where = and_(candidates.c.study == self.study, candidates.c.candidate == candidate)
        with self.read() as connection:
            return connection.execute(select(candidates).where(where)).one()

    @contextmanager
    def held(self, claim: Claim, **changes: Any) -> Iterator[Connection]:
        """A transaction that holds only while the claim does; it renews the lease.

        Raises:
            LeaseLost: another worker has taken the trial over; nothing was written.
        """
        with self.write() as connection:
            self._change(connection, claim, lease_until=clock() + self.lease, **changes)
            yield connection

    @contextmanager
    def _end(self, claim: Claim, state: str, **changes: Any) -> Iterator[Connection]:
        with self.write() as connection:
            self._change(connection, claim, state=state, told=False, finished_at=clock(), **changes)
            yield connection

    def _change(self, connection: Connection, claim: Claim, **values: Any) -> None:
        own = and_(
            claim.of(trials),
            trials.c.attempt == claim.attempt,
            trials.c.worker == claim.worker,
            trials.c.state == "running",
        )
        if not connection.execute(update(trials).where(own).values(values)).rowcount:
            raise LeaseLost(f"another worker has taken trial {claim.label} over")

    def _note(self, connection: Connection, kind: str, text: str, claim: Claim | None) -> None:
        row = {"study": self.study, "at": clock(), "kind": kind, "text": text}
        if claim is not None:
            row |= {"candidate": claim.candidate, "rung": claim.rung}
        connection.execute(insert(events).values(row))

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction; Optuna must not be called inside it."""
        with reachable(self.url), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read through."""
        with reachable(self.url), self.engine.connect() as connection:
            yield connection
