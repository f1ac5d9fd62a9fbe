"""Results of studies, read from the ledger; nothing here writes, creates or upgrades anything.

Every read is a few SQL statements over our own tables. Neither Optuna nor torch is imported.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, case, func, select

from search.choose.provenance import provenance
from search.choose.snapshot import Snapshot, take_snapshot
from search.database.storage import artifacts_home, open_reader, shown, storage_option
from search.database.tables import candidates, checkpoints, events, routing, studies, trials
from search.planning.forecast import Speed
from search.read import queries
from search.read.confirmation import confirmation_status, require_idle
from search.read.progress import moment, study_status
from search.read.rows import (
    CheckpointRow,
    FrontRow,
    ListedTrial,
    ProposedBy,
    StudyStatus,
    StudySummary,
    TrialDetail,
    TrialRow,
)
from search.store.artifacts import located
from search.store.confirmations import Plan, plan
from search.store.finalists import highest_rungs, mean_over_seeds
from search.store.studies import parse_config, parse_suite
from search.store.tokenizers import read_tokenizer
from space.candidate import CandidateConfig
from space.confirm import Confirm
from space.errors import NotFoundError, nearest
from space.recipe import new_folder
from space.records import SuiteRecord
from space.scores import TaskScore
from space.study import StudyConfig


class Reader:
    """A reader of one database of studies; it may be shared between threads.

    Args:
        url: SQLAlchemy URL of the database.

    Raises:
        NotFoundError: the database does not exist, or holds no study of Pathfront.
        StorageError: it cannot be reached, or is not a database.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = open_reader(url)

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()

    def studies(self) -> list[StudySummary]:
        """All studies, the latest launch first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(studies).order_by(studies.c.launched_at.desc())).all()
            proposed = select(candidates.c.study, func.count().label("candidates"))
            counted = proposed.where(candidates.c.ordinal >= 0).group_by(candidates.c.study)
            sizes = {row.study: row.candidates for row in connection.execute(counted)}
            totals = {row.study: row for row in connection.execute(queries.totals())}
            best = {name: queries.best_score(connection, name) for name in totals}
        return [
            StudySummary(
                name=row.name,
                suite=row.suite["name"],
                created_at=moment(row.created_at),
                finished=row.finished_at is not None and not row.confirming,
                candidates=sizes.get(row.name, 0),
                trials=total.trials if total else 0,
                running=total.live if total else 0,
                failed=total.failed if total else 0,
                best_score=best.get(row.name),
                training_flops=total.training_flops if total else 0.0,
                wall_seconds=total.wall_seconds if total else 0.0,
                halted=row.halted,
                stopping=bool(row.stop_requested),
            )
            for row in rows
            for total in [totals.get(row.name)]
        ]

    def config(self, study: str) -> StudyConfig:
        """The study's configuration.

        Raises:
            NotFoundError: there is no such study.
            StorageError: another version of Pathfront wrote it.
        """
        return parse_config(self._study(study).config, study)

    def suite(self, study: str) -> SuiteRecord:
        """The study's tasks, with the references that were frozen when it was created.

        Raises:
            NotFoundError: there is no such study.
            StorageError: another version of Pathfront wrote it.
        """
        return parse_suite(self._study(study).suite, study)

    def tokenizer(self, study: str) -> bytes | None:
        """The model of the study's own tokenizer; None if it has one that ships.

        Raises:
            NotFoundError: there is no such study.
            StorageError: the model is damaged.
        """
        self._study(study)
        return read_tokenizer(self._engine, self.url, study)

    def snapshot(self, study: str, seed: int) -> Snapshot:
        """The study's candidates, and its trials with a seed, as samplers see them.

        Raises:
            NotFoundError: there is no such study.
        """
        self._study(study)
        return take_snapshot(self._engine, study, seed)

    def change_token(self, study: str) -> str:
        """A short text that changes whenever a visible property of the study changes.

        Raises:
            NotFoundError: there is no such study.
        """
        row = self._study(study)
        counts = (
            select(
                trials.c.state,
                func.count(),
                func.max(trials.c.number),
                func.sum(trials.c.attempt),
                func.sum(trials.c.progress_tokens),
                func.sum(case((queries.LIVE, 1), else_=0)),
            )
            .where(trials.c.study == study)
            .group_by(trials.c.state)
            .order_by(trials.c.state)
        )
        last = select(func.max(events.c.id)).where(events.c.study == study)
        with self._engine.connect() as connection:
            states = [tuple(state) for state in connection.execute(counts)]
            event = connection.scalar(last)
            alive = len(queries.alive_workers(connection, study))
        of_study = (row.launched_at, row.finished_at, row.stop_requested, row.halted, row.confirming)
        return repr((states, event, alive, of_study))

    def trials(self, study: str) -> list[TrialRow]:
        """All trials that have an Optuna number, in the order of that number.

        Raises:
            NotFoundError: there is no such study.
        """
        self._study(study)
        with self._engine.connect() as connection:
            return queries.trial_rows(connection, study)

    def listed_trials(self, study: str, state: str | None = None) -> list[ListedTrial]:
        """All trials by number, then those without a number.

        Args:
            study: name of the study.
            state: running, done, failed, paused or lost (running without a live worker); None for all.

        Raises:
            NotFoundError: there is no such study.
        """
        self._study(study)
        with self._engine.connect() as connection:
            return queries.listed_trials(connection, study, state)

    def finalists(self, study: str) -> list[TrialRow]:
        """Each candidate at its highest done rung, with the mean over its seeds; the front is a subset.

        Raises:
            NotFoundError: there is no such study.
        """
        self._study(study)
        with self._engine.connect() as connection:
            highest = {row.number: row for row in highest_rungs(connection, study)}
            rows = queries.trial_rows(connection, study, trials.c.state == "done")
        return [queries.merged(row, highest[row.number]) for row in rows if row.number in highest]

    def front(self, study: str, max_flops: float | None = None) -> list[FrontRow]:
        """The finalists that no other beats in the study's objectives, best score first; ties are kept.

        Args:
            study: name of the study.
            max_flops: only candidates of at most that many FLOPs per token.

        Raises:
            NotFoundError: there is no such study.
        """
        self._study(study)
        ladder = self.config(study).rungs.tokens
        with self._engine.connect() as connection:
            return queries.front_rows(connection, study, max_flops, ladder)

    def trial(self, study: str, number: int) -> TrialDetail:
        """All details of one trial.

        Raises:
            NotFoundError: there is no such study or trial.
        """
        self._study(study)
        with self._engine.connect() as connection:
            rows = queries.trial_rows(connection, study, trials.c.number == number)
            if not rows:
                raise NotFoundError(
                    f"study '{study}' has no trial {number}{queries.numbers(connection, study, number)}"
                )
            row = rows[0]
            key = {"study": study, "candidate": row.candidate, "rung": row.rung, "seed": row.seed}
            found = connection.execute(select(trials).filter_by(**key)).one_or_none()
            candidate = connection.execute(
                select(candidates.c.config, candidates.c.training_bytes).filter_by(
                    study=study, candidate=row.candidate
                )
            ).one_or_none()
            if found is None or candidate is None:
                raise NotFoundError(f"study '{study}' was deleted while trial {number} was read")
            home = artifacts_home(self.url)
            rule, reason = provenance(row.origin)
            proposed, _ = queries.proposals(connection, study, controls=True)
            mean = mean_over_seeds(connection, study, row.candidate, row.rung)
            rungs = self.config(study).rungs
            trained = rungs.trained_tokens(row.rung, row.split)
            confirmation = confirmation_status(connection, study, len(rungs.tokens) - 1)
            confirmed = [] if confirmation is None else confirmation.candidates
            loads = connection.execute(
                select(routing.c.domain, routing.c.load).filter_by(**key).order_by(routing.c.domain)
            )
            files = connection.execute(
                select(checkpoints).filter_by(**key).order_by(checkpoints.c.tokens, checkpoints.c.kind)
            )
            return TrialDetail(
                row=row,
                config=CandidateConfig.model_validate(candidate.config),
                training_bytes=candidate.training_bytes,
                devices=self.suite(study).devices,
                tokens_per_second=trained / row.wall_seconds if row.wall_seconds else None,
                tasks=queries.scores_by_task(connection, study, [number]).get(number, {}),
                domains=found.domains or {},
                memorisable_score=found.memorisable_score,
                generalising_score=found.generalising_score,
                curves=queries.curve(connection, study, row),
                routing={row.domain: row.load for row in loads},
                epochs=found.epochs or {},
                checkpoints=[
                    CheckpointRow(
                        kind=file.kind,
                        tokens=file.tokens,
                        uri=located(file.uri, home),
                        bytes=file.bytes,
                        sha256=file.sha256,
                    )
                    for file in files
                ],
                device=found.device,
                worker=found.worker,
                evaluation_seconds=found.evaluation_seconds or 0.0,
                started_at=moment(found.started_at),
                finished_at=None if found.finished_at is None else moment(found.finished_at),
                error=found.error,
                on_front=queries.on_front(connection, study, number),
                export_command=self.command(
                    "export", study, f"--trial {number} -o {new_folder(f'{study}-{number}')}/"
                ),
                proposed_by=ProposedBy(rule=rule, reason=reason, candidates=proposed[rule]),
                log=found.log,
                attempts=found.attempt,
                seeds=0 if mean is None else mean.seeds,
                mean_score=None if mean is None else mean.score,
                mean_stderr=None if mean is None else mean.stderr,
                confirmed=next((each for each in confirmed if each.candidate == row.candidate), None),
            )

    def candidates(self, study: str) -> dict[str, CandidateConfig]:
        """The configuration of each candidate by its id.

        Raises:
            NotFoundError: there is no such study.
        """
        self._study(study)
        columns = select(candidates.c.candidate, candidates.c.config).where(candidates.c.study == study)
        with self._engine.connect() as connection:
            return {
                row.candidate: CandidateConfig.model_validate(row.config)
                for row in connection.execute(columns)
            }

    def task_scores(self, study: str, numbers: Sequence[int]) -> dict[int, dict[str, TaskScore]]:
        """Scores per task of some trials: number -> task -> score."""
        with self._engine.connect() as connection:
            return queries.scores_by_task(connection, study, numbers)

    def status(self, study: str) -> StudyStatus:
        """Status of a study.

        Raises:
            NotFoundError: there is no such study.
        """
        row, config = self._study(study), self.config(study)
        with self._engine.connect() as connection:
            return study_status(connection, row, config)

    def require_idle(self, study: str) -> None:
        """Check that a study's search has no live worker; see `search.read.confirmation.require_idle`.

        Raises:
            NotFoundError: there is no such study.
            StudyFileError: it has one.
        """
        row = self._study(study)
        with self._engine.connect() as connection:
            require_idle(connection, study, bool(row.confirming))

    def planned_confirmations(self, study: str, confirm: Confirm, numbers: Sequence[int] = ()) -> Plan:
        """Which confirmations `pathfront confirm` would want; see `search.store.confirmations.plan`.

        Raises:
            NotFoundError: there is no such study or trial, or no candidate to confirm.
            StudyFileError: the candidate of a given trial was never scored.
        """
        config, suite = self.config(study), self.suite(study)
        with self._engine.connect() as connection:
            return plan(connection, config, suite, confirm, numbers)

    def throughput(self, device: str) -> Speed | None:
        """Measured speed of one worker over all done trials of this database on a kind of device.

        Args:
            device: "cpu" or "cuda".

        Returns:
            The speed; None if no trial is done.
        """
        sums = select(
            func.sum(trials.c.planned_flops).label("flops"),
            func.sum(trials.c.wall_seconds).label("seconds"),
            func.avg(trials.c.evaluation_seconds).label("evaluation_seconds"),
            func.count().label("trials"),
        ).where(trials.c.state == "done", trials.c.device.startswith(device), trials.c.wall_seconds > 0)
        with self._engine.connect() as connection:
            found = connection.execute(sums).one()
        if not found.trials or not found.flops:
            return None
        return Speed(
            flops_per_second=found.flops / found.seconds,
            evaluation_seconds=found.evaluation_seconds or 0.0,
            trials=found.trials,
        )

    def command(self, name: str, study: str, rest: str = "") -> str:
        """A command line for this database, with `--storage` unless it is the default."""
        return f"pathfront {name} {shlex.quote(study)} {rest}".rstrip() + storage_option(self.url)

    def _study(self, name: str) -> Row[Any]:
        with self._engine.connect() as connection:
            row = connection.execute(select(studies).where(studies.c.name == name)).one_or_none()
            if row is None:
                known = connection.scalars(select(studies.c.name)).all()
                raise NotFoundError(f"no study '{name}' in '{shown(self.url)}'{nearest(name, known)}")
            return row
