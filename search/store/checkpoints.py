"""The checkpoints of trials: files under the artifacts' URL, each with a row in the ledger.

A file is durable before its row is written, and a row is deleted before its file, so that every row names a
complete file. Files that a killed worker left without a row are deleted when the trial ends. A row is deleted
as damaged only if the whole file was read and has another SHA-256: a file that is missing or cannot be
reached may come back.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row, and_, delete, insert, or_, select

from search.database.tables import checkpoints, clock, trials
from search.store.artifacts import Stored
from search.store.claims import Claim
from search.store.ledger import Ledger, step
from search.store.retention import superfluous
from search.store.study_files import StudyFiles, TrialKey, this_checkpoint, trial_folder
from space.contract import CheckpointKind
from space.errors import CheckpointError, LeaseLost, StorageError
from space.study import StudyConfig

SPARE_TRUNKS = 2  # trunk checkpoints kept while a trial runs, in case one is damaged
SUFFIXES: dict[CheckpointKind, str] = {"trunk": "ckpt", "branch": "ckpt", "decayed": "safetensors"}


@dataclass(frozen=True)
class Trunk:
    """A trunk checkpoint to continue from: a file on this machine, the rung of its trial, its tokens."""

    path: Path
    rung: int
    tokens: int


class Checkpoints:
    """Checkpoints of one study.

    Args:
        ledger: the study's ledger.
        files: the study's files.
        config: the study's configuration; its `keep` decides which weights are kept.
    """

    def __init__(self, ledger: Ledger, files: StudyFiles, config: StudyConfig) -> None:
        self._ledger = ledger
        self._files = files
        self._config = config

    def save(self, claim: Claim, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Store a checkpoint durably, and delete the ones that it replaces.

        Args:
            claim: the attempt.
            save: writes one file at the path that it is given.
            tokens: tokens that the candidate was trained on so far.
            kind: trunk, branch or decayed.

        Raises:
            LeaseLost: another worker has taken the trial over.
            StorageError: it cannot be stored, or the study's folder is missing.
            StorageFull: no space is left for it.
        """
        folder = trial_folder(claim.candidate, claim.rung, claim.seed)
        try:
            name = f"{folder}/{kind}-{tokens}-{claim.attempt}.{SUFFIXES[kind]}"
            stored = self._files.put(name, save)
        except StorageError:
            with self._ledger.held(claim):  # raises LeaseLost if another worker has the trial now
                raise
        step(f"{kind} stored")
        try:
            dropped = self._ledger.patiently(lambda: self._note(claim, stored, tokens, kind))
        except LeaseLost:
            self._files.remove([stored.uri])
            raise
        step(f"{kind} noted")
        self._files.remove(row.uri for row in dropped if row.uri != stored.uri)

    def _note(self, claim: Claim, stored: Stored, tokens: int, kind: CheckpointKind) -> list[Row[Any]]:
        """Insert a checkpoint's row, and delete the rows that it replaces; returns those."""
        of_kind = and_(claim.of(checkpoints), checkpoints.c.kind == kind)
        with self._ledger.held(claim) as connection:
            rows = connection.execute(
                select(checkpoints).where(of_kind).order_by(checkpoints.c.tokens.desc())
            ).all()
            same = [row for row in rows if row.tokens == tokens]
            others = [row for row in rows if row.tokens != tokens]
            dropped = same + (others[SPARE_TRUNKS - 1 :] if kind == "trunk" else others)
            for row in dropped:
                connection.execute(delete(checkpoints).where(this_checkpoint(row)))
            row = {**claim.key, "kind": kind, "tokens": tokens, **asdict(stored)}
            connection.execute(insert(checkpoints).values(created_at=clock(), **row))
        return dropped

    def latest_trunk(self, claim: Claim, folder: Path) -> Trunk | None:
        """The newest undamaged trunk of a candidate. Rows of damaged ones are deleted, with an event.

        Args:
            claim: the attempt that will continue from it.
            folder: where a remote file is copied to.

        Returns:
            The trunk; None if there is none.

        Raises:
            StorageError: one is missing or cannot be read; its row is kept.
            StorageUnavailable: its store does not answer.
        """
        for row in self._trunks(claim):
            try:
                return Trunk(self._files.fetch(row.uri, row.sha256, folder), row.rung, row.tokens)
            except CheckpointError as error:
                self.forget(claim, row, str(error))
            except StorageError:
                if row in self._trunks(claim):  # else its row was deleted meanwhile
                    raise
        return None

    def forget(self, claim: Claim, row: Row[Any], reason: str) -> None:
        """Delete the row of a checkpoint that cannot be used, with an event."""

        def delete_row() -> None:
            with self._ledger.held(claim) as connection:
                connection.execute(delete(checkpoints).where(this_checkpoint(row)))

        self._ledger.patiently(delete_row)
        self._ledger.note("damaged", f"{reason}; going on from an older one, or from the start", claim)

    def refuse_latest(self, claim: Claim, reason: str) -> None:
        """Delete the row of the trunk that an attempt continued from, because its trainer cannot read it.

        Raises:
            StorageError: the file cannot be read now; its row is kept.
        """
        for row in self._trunks(claim)[:1]:
            with tempfile.TemporaryDirectory(prefix="pathfront-") as folder:
                try:
                    self._files.fetch(row.uri, row.sha256, Path(folder))
                except CheckpointError as error:
                    reason = str(error)
            self.forget(claim, row, reason)

    def settle(self, claim: Claim) -> None:
        """After a trial: delete the checkpoints that are no longer needed, and leftovers of its candidate.

        Raises:
            StorageError: a file cannot be deleted; the next trial that ends tries again.
        """
        self._drop(over=False)
        self._sweep(claim.candidate)
        step("settled")

    def conclude(self) -> None:
        """After a study: delete the checkpoints that are no longer needed, and all leftovers.

        Raises:
            StorageError: a file cannot be deleted.
        """
        self._drop(over=True)
        self._sweep("")

    def _drop(self, over: bool) -> None:
        """Delete checkpoints that are no longer needed: rows first, then files."""
        rungs, keep = len(self._config.rungs.tokens), self._config.keep
        everyone = self._config.search.promotion == "all"

        def drop_rows() -> list[Row[Any]]:
            with self._ledger.read() as connection:
                rows = superfluous(connection, self._config.study, rungs, keep, over, everyone)
            if rows:
                with self._ledger.write() as connection:
                    for row in rows:
                        connection.execute(delete(checkpoints).where(this_checkpoint(row)))
            return rows

        rows = self._ledger.patiently(drop_rows)
        if rows:
            step("rows dropped")
            self._files.remove(row.uri for row in rows)

    def _sweep(self, candidate: str) -> None:
        """Delete files without a row from the folders of trials that have ended."""
        study = self._config.study

        def look() -> tuple[set[TrialKey], list[str]]:
            over = select(trials.c.candidate, trials.c.rung, trials.c.seed).where(
                trials.c.study == study, trials.c.final
            )
            with self._ledger.read() as connection:
                keys = {(row.candidate, row.rung, row.seed) for row in connection.execute(over)}
                named = select(checkpoints.c.uri).where(checkpoints.c.study == study)
                return keys, list(connection.scalars(named))

        self._files.sweep(candidate, lambda: self._ledger.patiently(look))

    def _trunks(self, claim: Claim) -> list[Row[Any]]:
        """Trunk checkpoints of a claim's candidate and seed, at its rung and below, newest first.

        Checkpoints of the claim's own interrupted decay branch come first.
        """
        table = checkpoints.c
        query = select(checkpoints).where(
            table.study == claim.study,
            table.candidate == claim.candidate,
            table.seed == claim.seed,
            table.rung <= claim.rung,
            or_(table.kind == "trunk", and_(table.kind == "branch", table.rung == claim.rung)),
        )

        def read() -> list[Row[Any]]:
            with self._ledger.read() as connection:
                return list(connection.execute(query.order_by(table.rung.desc(), table.tokens.desc())).all())

        return self._ledger.patiently(read)
