"""One worker of a study: it promotes or proposes a candidate, claims the trial, trains it, and starts again.

This is the main path of the search. The study's trainer is by default `trainers.train.train_candidate`.
"""

import os
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from search.choose.next_trial import next_trial
from search.choose.optuna_samplers import distributions
from search.choose.promote import Promotion, PromotionAhead, repeat
from search.choose.propose import Proposal, Proposer
from search.choose.snapshot import Fractions, Snapshot, take_snapshot
from search.database.storage import (
    check_version,
    open_writer,
    reachable,
    resolve_artifacts,
    resolve_url,
    settle,
)
from search.failure_policy import FailurePolicy, StudyHalted
from search.report import StallLimits, TrialReport
from search.signals import StopRequest, stop_signals
from search.store.checkpoints import Checkpoints
from search.store.claims import Claim, Idle, NewTrial
from search.store.confirmations import Wanted, end_confirming, want_at_end
from search.store.environment import Environment, conflicts, environment_here, other_versions
from search.store.faults import Failure
from search.store.ledger import Ledger
from search.store.studies import Study, finish_study, load_study
from search.store.study_files import open_files
from search.store.workers import Register, note_end, worker_name
from search.tokenizers import adopt_tokenizer
from search.trainer import budget_of, checked_card, load_trainer, release_memory
from space.candidate import CandidateConfig
from space.description import describe
from space.errors import CheckpointError, Interrupted, LeaseLost, PathfrontError, StorageError, StudyFileError
from space.plugins import describe_error
from space.records import Split
from space.scores import Scorecard

POLL_SECONDS = 0.5  # of a worker that waits for others


def run_worker(url: str | None, study: str, artifacts: str | None = None, name: str | None = None) -> int:
    """Work on a study until it is finished, or until somebody asks to stop.

    The first SIGINT or SIGTERM lets the running trial reach a checkpoint, a second one of the same kind stops
    at once.

    Args:
        url: the database's URL; as `resolve_url` understands it.
        study: name of a study that exists.
        artifacts: where checkpoints go; as `resolve_artifacts` understands it.
        name: of the worker, unlike any other's; else PATHFRONT_WORKER, else made up.

    Returns:
        Trials that it finished.

    Raises:
        NotFoundError: there is no such study, or one of its tasks is not found here.
        StudyFileError: the study's trainer or sampler cannot be imported, or its data or code differ here.
        StorageError: the database or the artifacts cannot be used; the trial is paused at its checkpoint.
        MachineError: a task cannot be imported here, or trials fail here and not elsewhere.
        StudyHalted: the study's first attempts all failed with the same error.
        Interrupted: it was asked to stop; its trial is saved at a checkpoint.
    """
    url = resolve_url(url)
    name = name or os.environ.get("PATHFRONT_WORKER") or worker_name()
    with stop_signals() as request:
        worker = Worker(url, study, resolve_artifacts(url, artifacts), name, request)
        try:
            finished = worker.run()
        finally:
            worker.close()
    if worker.asked_to_stop:
        raise request.error("stopped as asked; launch the study again to resume it")
    return finished


class Worker:
    """A worker of one study; see `run_worker`."""

    def __init__(
        self, url: str, study: str, artifacts: str, name: str, request: StopRequest | None = None
    ) -> None:
        self.url = url
        log = os.environ.get("PATHFRONT_LOG")
        self.engine = open_writer(url, create=False)
        try:
            found = load_study(self.engine, url, study)
            self.config, self.suite = found.config, found.suite
            self.register = Register(self.engine, url, study, name)
            with self._refusals_noted(log):
                self.files = open_files(self.engine, url, study, artifacts)
                adopt_tokenizer(self.engine, url, study, self.suite)
                self.train = load_trainer(self.config)
                self.proposer = Proposer(self.config, self.suite)
                differing = self._check_environment(found)
        except BaseException:
            self.engine.dispose()
            raise
        self.ledger = Ledger(self.engine, url, study, name, log)
        self.ledger.stopping = lambda: self.asked_to_stop
        self.checkpoints = Checkpoints(self.ledger, self.files, self.config)
        self.distributions = distributions(self.proposer.parameters)
        self.finished = 0
        self._request = request or StopRequest()
        self._policy = FailurePolicy(self.ledger, log, lambda: self.asked_to_stop, self.register.seen)
        self._launcher = os.environ.get("PATHFRONT_LAUNCHER")
        self._fractions: dict[int, Fractions] = defaultdict(dict)
        self._exhausted = False
        self._reconciled_at = -float("inf")
        self.register.join(log)
        if differing is not None:
            self.ledger.marks["environment"] = differing.model_dump(mode="json")
            versions = ", ".join(other_versions(found.environment or differing, differing))
            self.ledger.note("versions", f"worker {name} trains with other versions: {versions}")

    @contextmanager
    def _refusals_noted(self, log: str | None) -> Iterator[None]:
        """Write into the database why this worker does not begin, so that its launcher can say so."""
        try:
            yield
        except PathfrontError as error:
            with suppress(StorageError):  # the database is away: what is raised says so
                self.register.join(log)
                self.register.leave(str(error))
            raise

    def _check_environment(self, study: Study) -> Environment | None:
        """Find what this worker trains with; None if its versions are the study's.

        Raises:
            StudyFileError: its data or its code differ, so that scores could not be compared.
            MachineError: the tasks' data cannot be made or read here.
        """
        data = {}
        if self.config.trainer is None:
            from trainers.tasks.fingerprint import data_fingerprints
            from trainers.tasks.registry import require

            require(self.suite.tasks)  # no candidate is to blame for a task that this machine lacks
            data = data_fingerprints(self.suite)
        here = environment_here(self.config, self.suite.tasks, data)
        if study.environment is None:
            return None
        differ = conflicts(study.environment, here)
        if differ:
            raise StudyFileError(
                f"workers of study '{self.config.study}' have its data and its code, and here differ:"
                f" {'; '.join(differ)}"
            )
        return here if other_versions(study.environment, here) else None

    @property
    def orphaned(self) -> bool:
        """Whether the launcher that started this worker is gone."""
        return self._launcher is not None and self._launcher != str(os.getppid())

    @property
    def asked_to_stop(self) -> bool:
        """Whether a stop was requested, or the launcher that started this worker is gone."""
        return self._request.asked or self.orphaned

    def close(self) -> None:
        """Note that this worker has ended, and close the database."""
        with suppress(StorageError), reachable(self.url):  # away: its lease runs out by itself
            note_end(self.engine, self.config.study, self.ledger.worker)
        self.ledger.close()

    def run(self) -> int:
        """Work until the study ends, and write into the database why this worker left before.

        Returns:
            The number of trials finished.

        Raises:
            PathfrontError: as `run_worker` does.
        """
        because = None
        try:
            self._run()
        except (Interrupted, StudyHalted):
            raise
        except PathfrontError as error:
            because = str(error)
            raise
        except Exception as error:
            because = describe_error(error)
            raise
        finally:
            with suppress(StorageError):  # the database is away: what is raised says so
                self.register.leave(because)
        halted = self.ledger.halted()
        if halted is not None:
            raise StudyHalted(halted)
        return self.finished

    def _run(self) -> None:
        while not (self.asked_to_stop or self.ledger.stop_requested()):
            self.ledger.patiently(self.register.seen)
            found = self.choose()
            if isinstance(found, Claim):
                self.work(found)
            elif found.under_way or self.asked_to_stop:
                time.sleep(POLL_SECONDS)
            elif not self._more_to_confirm():
                self.ledger.reconcile(thorough=True)
                self.checkpoints.conclude()
                if self.ledger.patiently(lambda idle=found: self._finish_study(idle.candidates)):
                    return

    def _more_to_confirm(self) -> bool:
        """Plan the confirmations at the study's end; returns whether any are left."""
        if self.ledger.confirmations().only:
            return False
        return self.ledger.patiently(lambda: want_at_end(self.engine, self.url, self.config, self.suite))

    def _finish_study(self, candidates: int | None) -> bool:
        """Finish the study, unless a candidate was enqueued that this worker does not know of."""
        if self.ledger.confirmations().only:
            end_confirming(self.engine, self.url, self.config.study)
            return True
        why = "no unseen candidate is left" if self._exhausted else "its stop rule is reached"
        return finish_study(self.engine, self.url, self.config.study, why, candidates)

    def choose(self) -> Claim | Idle:
        """Claim the next trial: confirmations come first, since they are of use at once."""
        check_version(self.engine, self.url)
        while True:
            self.reconcile()
            confirming = self.ledger.confirmations()
            claim = self.ledger.take_over(confirming.only)
            if claim is not None:
                return claim
            if confirming.waiting and not self.asked_to_stop:
                claim = self._claim_confirmation(confirming.waiting[0])
                if claim is not None:
                    return claim
                continue
            if confirming.only:
                return Idle(confirming.under_way)
            view = self.view()
            choice = self.next_step(view)
            if choice is None or self.asked_to_stop:  # a proposal may take a second
                return Idle(self._whole(view).under_way + confirming.under_way, len(view.candidates))
            if isinstance(choice, Proposal):
                row = choice.row(len(view.candidates), self.distributions)
                claim = self.ledger.claim(self.new_trial(choice.candidate, 0, self.config.search.seed), row)
            else:
                promotion, seed = choice
                config = CandidateConfig.model_validate(self.ledger.candidate(promotion.candidate).config)
                ahead = isinstance(promotion, PromotionAhead)
                claim = self.ledger.claim(self.new_trial(config, promotion.rung, seed), ahead=ahead)
            if claim is not None:
                return claim

    def _claim_confirmation(self, wanted: Wanted) -> Claim | None:
        """Claim a confirmation; None if another worker was faster."""
        config = CandidateConfig.model_validate(self.ledger.candidate(wanted.candidate).config)
        return self.ledger.claim(self.new_trial(config, wanted.rung, wanted.seed, "report"))

    def next_step(self, view: Snapshot) -> tuple[Promotion, int] | Proposal | None:
        """Choose a promotion from a rung with enough peers, else a new candidate, else any promotion.

        Trials that the study repeats with another seed come first.

        Returns:
            A known candidate with the seed of its trial, or a new candidate; None if there is neither.
        """
        search = self.config.search
        if search.repeats:
            other = self.view(search.seed + 1)
            repeated = repeat(view, other, search.repeats)
            if not view.joined(other).may_start(self.config.stop):
                return None
            if repeated is not None:
                return repeated, search.seed + 1
        choice = next_trial(view, self.config.stop, self._propose, self.proposer.promotions)
        return (choice, search.seed) if isinstance(choice, Promotion) else choice

    def _propose(self, view: Snapshot) -> Proposal | None:
        """A new candidate; None from the first time on that none is left."""
        proposal = None if self._exhausted else self.proposer.propose(view)
        self._exhausted = proposal is None
        return proposal

    def _whole(self, view: Snapshot) -> Snapshot:
        """A snapshot with the trials that are repeated with another seed, too."""
        search = self.config.search
        return view.joined(self.view(search.seed + 1)) if search.repeats else view

    def reconcile(self) -> None:
        """Tell Optuna the results that it missed; once a lease, also look for trials without a worker."""
        thorough = time.monotonic() - self._reconciled_at > self.ledger.lease
        self.ledger.reconcile(thorough)
        if thorough:
            self._reconciled_at = time.monotonic()

    def view(self, seed: int | None = None) -> Snapshot:
        """Read the study's candidates and its trials with a seed, by default the study's own."""
        of_seed = self.config.search.seed if seed is None else seed
        known = self._fractions[of_seed]

        def look() -> Snapshot:
            with reachable(self.url):
                return take_snapshot(self.engine, self.config.study, of_seed, known)

        return self.ledger.patiently(look)

    def work(self, claim: Claim) -> None:
        """Train a claimed trial to its rung, and note how it ended."""
        row = self.ledger.candidate(claim.candidate)
        candidate = CandidateConfig.model_validate(row.config)
        _say(f"{claim.label}: {describe(candidate).label}")
        try:
            tokens = self.config.rungs.tokens[claim.rung]
            self._policy.begun(self.ledger.start(claim, row.params, row.distributions, tokens))
            limits = StallLimits(60 * self.config.stall_minutes, lambda: self.orphaned)
            with TrialReport(
                self.ledger, self.checkpoints, claim, lambda: self.asked_to_stop, self.register.seen, limits
            ) as report:
                card = self._train(claim, candidate, report)
                release_memory()
            if card is not None:
                self.ledger.finish(claim, card)
                self.finished += 1
                self._policy.succeeded()
                _say(f"{claim.label}: scored {card.score:.3f}")
            self.checkpoints.settle(claim)
            self.ledger.patiently(lambda: settle(self.engine, self.url, wait=False))
        except LeaseLost as error:
            _say(f"{claim.label}: {error}")

    def new_trial(
        self, candidate: CandidateConfig, rung: int, seed: int, split: Split = "select"
    ) -> NewTrial:
        """The trial of a candidate at a rung with a seed, and its planned cost."""
        return NewTrial.of(self.config, self.suite, candidate, rung, seed, split)

    def _train(self, claim: Claim, candidate: CandidateConfig, report: TrialReport) -> Scorecard | None:
        """Run the trainer from the newest intact trunk; None if the attempt failed, which is noted."""
        with tempfile.TemporaryDirectory(prefix="pathfront-") as folder:
            trunk = self.checkpoints.latest_trunk(claim, Path(folder))
            self.ledger.rewind(claim, trunk.tokens if trunk else 0)
            logs = None
            if self.config.logger != "none":
                logs = str(self.files.folder(f"{claim.candidate}/logs"))
            budget = budget_of(self.config, claim, trunk.rung if trunk else None, logs)
            try:
                card = self.train(candidate, self.suite, budget, trunk.path if trunk else None, report)
                report.flush()
                return checked_card(card)
            except LeaseLost:
                raise
            except StorageError:
                self.ledger.pause(claim)  # the trial is not to blame; this raises too if the database is away
                raise
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                self._give_up(claim, error, asked=report.stopping, resumed=trunk is not None)
                return None

    def _give_up(self, claim: Claim, error: BaseException, asked: bool, resumed: bool) -> None:
        """Pause a trial if a stop was requested, else note why it failed.

        Raises:
            MachineError: this worker should leave.
            StudyHalted: the study is halted.
        """
        if asked and isinstance(error, Interrupted | SystemExit | KeyboardInterrupt):
            self.ledger.pause(claim)
            _say(f"{claim.label}: paused at its last checkpoint")
            return
        failure = Failure.of(error)
        if isinstance(error, CheckpointError) and resumed:
            self.checkpoints.refuse_latest(claim, failure.reason)
        traceback.print_exception(error)
        self.ledger.fail(claim, failure)
        _say(f"{claim.label}: failed: {failure.reason}")
        self._policy.failed(claim, failure)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
