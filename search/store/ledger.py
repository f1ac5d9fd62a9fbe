"""The ledger: which worker runs which trial, and the results. It commits first, Optuna second.

One attempt at a trial goes through these calls, in this order:

```
claim or take_over -> start -> rewind -> heartbeat ...
-> finish, fail, pause or give_up -> reconcile (with Optuna)
```

Each is a transaction of its own, and a worker may die between any two of them: `take_over` continues what is
left of a trial, and `reconcile` brings Optuna's study up to date with the ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from search.database.patience import patient, patiently
from search.database.tables import checkpoints, clock, curves, routing, task_scores, trials
from search.store.aims import known_costs
from search.store.claims import Claim, NewTrial, insert_candidate
from search.store.events import add_event
from search.store.faults import OUT_OF_MEMORY, Failure
from search.store.leases import LET_GO, Silence, is_over
from search.store.memory import any_running, ran_out_before
from search.store.optuna_trials import OptunaTrials, candidates_of, untold_results
from search.store.transactions import Transactions
from search.store.workers import others_alive
from space.contract import Spent
from space.errors import LeaseLost
from space.scores import Scorecard

PAUSE_SECONDS = 60.0  # longest wait for the database when a trial is paused
REOPENED = {  # columns of a failed trial that may be tried again
    "final": False,
    "crashes": 0,
    "durable_tokens": None,
    "diverged": False,
}
RETRIES = 2  # of a trial that crashed or lost its worker without a newer checkpoint


def step(name: str) -> None:
    """Do nothing: marks a point between two durable steps. Tests replace it to kill the worker there."""


class Ledger(Transactions):
    """The ledger of one study, used by one worker.

    Args:
        engine: the database, open for writing.
        url: its URL.
        study: the study's name; it exists.
        worker: this worker's name, unique in the study.
        log: path of this worker's log, which its trials name; None if it writes to a terminal.

    Attributes:
        marks: columns that every trial gets which this worker takes on.
    """

    def __init__(self, engine: Engine, url: str, study: str, worker: str, log: str | None = None) -> None:
        super().__init__(engine, url, study, worker)
        self.marks: dict[str, Any] = {"log": log}
        self._silence = Silence(self.lease)
        self._optuna = OptunaTrials(url, study)

    def close(self) -> None:
        """Close the connections to the database."""
        self._optuna.close()
        self.engine.dispose()

    @patient
    def claim(
        self, trial: NewTrial, candidate: Mapping[str, Any] | None = None, ahead: bool = False
    ) -> Claim | None:
        """Claim a trial that no worker has begun.

        Args:
            trial: the trial, at rung 0 that of an enqueued candidate if `candidate` is None.
            candidate: its row of `pf_candidates` (without study and time), if the candidate is new.
            ahead: whether it is a promotion ahead of the quotas, which is noted.

        Returns:
            The claim; None if another worker was faster.
        """
        claim = Claim(self.study, trial.candidate, trial.rung, trial.seed, 1, self.worker, trial.split)
        try:
            with self.write() as connection:
                if candidate is not None:
                    insert_candidate(connection, self.study, candidate)
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
                if candidate is not None:
                    add_event(connection, self.study, "proposed", "new candidate", claim)
                elif trial.split == "report":
                    add_event(connection, self.study, "confirming", f"trained with seed {trial.seed}", claim)
                elif trial.rung == 0:
                    add_event(connection, self.study, "begun", "first trial of an enqueued candidate", claim)
                else:
                    how = " ahead of the quotas" if ahead else ""
                    add_event(
                        connection, self.study, "promoted", f"promoted to rung {trial.rung}{how}", claim
                    )
        except IntegrityError:
            return claim if self._is_ours(claim) else None
        step("claimed")
        return claim

    def _is_ours(self, claim: Claim) -> bool:
        """Whether an earlier try did claim the trial, and lost its connection during the commit."""
        ours = and_(claim.of(trials), trials.c.attempt == claim.attempt, trials.c.worker == claim.worker)
        with self.read() as connection:
            row = connection.execute(select(trials.c.state, trials.c.number).where(ours)).first()
        return row is not None and row.state == "running" and row.number is None

    @patient
    def take_over(self, confirmations_only: bool = False) -> Claim | None:
        """Claim the next attempt at a trial that was paused, crashed or lost its worker.

        While other workers are alive, a trial that failed on this worker is left to them; one that ran out of
        memory is left until no other trial of the study runs.

        Args:
            confirmations_only: whether other trials wait for the next launch.

        Returns:
            The claim; None if there is no such trial.
        """
        pending = or_(
            trials.c.state == "paused",
            and_(trials.c.state == "failed", trials.c.final.is_(False)),
            is_over(self.lease),
        )
        query = select(trials).where(trials.c.study == self.study, pending)
        if confirmations_only:
            query = query.where(trials.c.split == "report")
        with self.read() as connection:
            rows = connection.execute(query.order_by(trials.c.rung.desc(), trials.c.started_at)).all()
            alone = not any_running(connection, self.study)
            failed_here = any(row.state == "failed" and row.worker == self.worker for row in rows)
            others = failed_here and others_alive(connection, self.study, self.worker, self.lease)
        for row in rows:
            if others and row.state == "failed" and row.worker == self.worker:
                continue
            if row.state == "failed" and row.error.startswith(OUT_OF_MEMORY) and not alone:
                continue
            if row.state == "running" and not self._silence.is_dead(row):
                continue
            claim = self._next_attempt(row)
            if claim is not None:
                step("taken over")
                return claim
        return None

    def _next_attempt(self, row: Row[Any]) -> Claim | None:
        """Claim a trial if its row is still as it was read (compare and set).

        Returns:
            The claim; None if another worker was faster, or if no attempt is left.
        """
        lost = row.state == "running"
        attempt = row.attempt + 1
        claim = Claim(self.study, row.candidate, row.rung, row.seed, attempt, self.worker, row.split)
        same = and_(trials.c.attempt == row.attempt, trials.c.lease_until == row.lease_until)
        found = and_(claim.of(trials), same, trials.c.state == row.state, trials.c.final.is_(False))
        with self.write() as connection:
            counted = _counted_crash(connection, claim) if lost else {}
            crashes = counted.get("crashes", 0)
            if crashes > RETRIES:
                error = row.error or f"its worker was lost {crashes} times; is it out of memory?"
                values = {"state": "failed", "final": True, "error": error, "finished_at": clock()}
            else:
                error = f"worker {row.worker} was lost; the trial is resumed" if lost else ""
                values = {
                    "state": "running",
                    "attempt": attempt,
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
                kind = "lost" if values["state"] == "running" else "failed"
                add_event(connection, self.study, kind, error, claim)
        return claim if changed and values["state"] == "running" else None

    @patient
    def start(self, claim: Claim, params: dict[str, Any], distributions: dict[str, str], tokens: int) -> int:
        """Create the attempt's trial in Optuna's study, and store its number in the ledger.

        Args:
            claim: the attempt.
            params: Optuna's parameters of the candidate.
            distributions: parameter -> Optuna's distribution as JSON.
            tokens: trunk tokens of the rung.

        Returns:
            The number of Optuna's trial.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        if claim.attempt > 1:
            self.reconcile(thorough=True)
        attrs = {
            "candidate": claim.candidate,
            "rung": claim.rung,
            "seed": claim.seed,
            "attempt": claim.attempt,
            "tokens": tokens,
            **({"split": claim.split} if claim.split != "select" else {}),
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
        """Delete the points of the training curve after the checkpoint from which an attempt continues.

        Args:
            claim: the attempt.
            tokens: tokens of that checkpoint; 0 if there is none.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        with self.held(claim, progress_tokens=tokens) as connection:
            connection.execute(delete(curves).where(claim.of(curves), curves.c.tokens > tokens))

    @patient
    def heartbeat(self, claim: Claim, points: Sequence[Mapping[str, Any]] = ()) -> None:
        """Renew the lease, and store points of the training curve.

        Args:
            claim: the attempt.
            points: each with `tokens`, `loss` and `task_losses`.

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
        """Store a trial's scores, then tell Optuna.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        self._store_scores(claim, card)
        step("scored")
        self.reconcile()

    @patient
    def _store_scores(self, claim: Claim, card: Scorecard) -> None:
        shared = set(Spent.model_fields) - {"tokens"}
        results = {
            **{name: getattr(card, name) for name in ("score", "stderr", "domains")},
            **{name: getattr(card, name) for name in ("memorisable_score", "generalising_score")},
            **{name: getattr(card.spent, name) for name in shared},
        }
        ended = {"state": "done", "told": False, "finished_at": clock(), "final": True, "error": None}
        with self.changed(claim, **ended, **results) as connection:
            for table in (task_scores, routing):
                connection.execute(delete(table).where(claim.of(table)))
            scores = [{**claim.key, "task": task, **score.model_dump()} for task, score in card.tasks.items()]
            loads = [{**claim.key, "domain": domain, "load": load} for domain, load in card.routing.items()]
            for table, rows in ((task_scores, scores), (routing, loads)):
                if rows:
                    connection.execute(insert(table), rows)
            text = f"scored {card.score:.3f} at rung {claim.rung}"
            add_event(connection, self.study, "done", text, claim)

    def fail(self, claim: Claim, failure: Failure) -> None:
        """Store why an attempt failed and whether to retry the trial, then tell Optuna.

        Failures of the machine do not count against the trial.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        self._store_failure(claim, failure)
        step("failed")
        self.reconcile()

    @patient
    def _store_failure(self, claim: Claim, failure: Failure) -> None:
        machine = failure.kind == "machine"
        with self.write() as connection:
            counted = {} if machine else _counted_crash(connection, claim)
            again = failure.kind == "memory" and ran_out_before(connection, claim)
            self.change(
                connection,
                claim,
                state="failed",
                told=False,
                finished_at=clock(),
                final=again or failure.lasting or counted.get("crashes", 0) > RETRIES,
                diverged=failure.kind == "diverged",
                error=failure.reason,
                **counted,
            )
            kind, text = "machine" if machine else "failed", f"attempt {claim.attempt}: {failure.reason}"
            add_event(connection, self.study, kind, text, claim)

    def pause(self, claim: Claim) -> None:
        """Pause a trial at its last checkpoint, so that any worker may continue it; then tell Optuna.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        # waits after a request to stop as well: a trial that is not stored as paused counts as a crash
        patiently(lambda: self._store_pause(claim), min(self.patience, PAUSE_SECONDS), self.on_wait)
        step("paused")
        self.reconcile()

    def _store_pause(self, claim: Claim) -> None:
        with self.changed(claim, state="paused", told=False, finished_at=clock()) as connection:
            add_event(connection, self.study, "paused", f"paused at rung {claim.rung}", claim)

    @patient
    def give_up(self, claim: Claim, error: str) -> None:
        """Release a running trial as lost, because its trainer hangs and this process is about to end.

        Raises:
            LeaseLost: another worker has taken the trial over.
        """
        with self.changed(claim, lease_until=LET_GO, error=error) as connection:
            add_event(connection, self.study, "stalled", error, claim)

    @patient
    def reconcile(self, thorough: bool = False) -> None:
        """Tell Optuna how attempts ended that it does not know about.

        Args:
            thorough: also look for trials that are RUNNING in Optuna's study and not in the ledger.
        """
        own = and_(trials.c.study == self.study, trials.c.state != "running", trials.c.told.is_(False))
        with self.read() as connection:
            untold = connection.execute(select(trials).where(own)).all()
        if not untold and not thorough:
            return
        running = self._optuna.running()
        names = candidates_of(running) | {row.candidate for row in untold}
        known, costs = self._trials_of(names)  # read after `running`, so never older
        for number, values in untold_results(running, known, untold, costs):
            self._optuna.tell(number, values)
        step("told")
        with self.write() as connection:
            for row in untold:
                claim = Claim(self.study, row.candidate, row.rung, row.seed, row.attempt, row.worker)
                same = and_(claim.of(trials), trials.c.attempt == row.attempt, trials.c.state == row.state)
                connection.execute(update(trials).where(same).values(told=True))

    def _trials_of(
        self, names: set[str]
    ) -> tuple[dict[tuple[Any, ...], Row[Any]], dict[str, tuple[float, ...]]]:
        """Trials of some candidates by candidate, rung and seed; their costs that are objectives."""
        where = and_(trials.c.study == self.study, trials.c.candidate.in_(names))
        with self.read() as connection:
            rows = connection.execute(select(trials).where(where)).all()
            costs = known_costs(connection, self.study, names=names)
        return {(row.candidate, row.rung, row.seed): row for row in rows}, costs


def _counted_crash(connection: Connection, claim: Claim) -> dict[str, int]:
    """Columns of a trial after one more crash; the count restarts at 1 after a newer checkpoint."""
    durable = select(func.max(checkpoints.c.tokens)).where(
        claim.of(checkpoints), checkpoints.c.kind.in_(("trunk", "branch"))
    )
    tokens = connection.scalar(durable) or 0
    row = connection.execute(select(trials.c.crashes, trials.c.durable_tokens).where(claim.of(trials))).one()
    further = row.durable_tokens is not None and tokens > row.durable_tokens
    return {"crashes": 1 if further else row.crashes + 1, "durable_tokens": tokens}
