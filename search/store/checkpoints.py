"""The checkpoints of trials: files under the artifacts' URL, each with its row in the ledger.

A file is durable before its row is written, and a row is gone before its file is deleted, so a row always
names a file that was whole. What a killed worker leaves without a row is swept away when its trial is done.
A row is struck out only if all of its file was read and is not what was stored: a file that is missing or out
of reach may come back.
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

SPARE_TRUNKS = 2  # trunk checkpoints kept while a trial runs, since one may turn out to be damaged
SUFFIXES: dict[CheckpointKind, str] = {"trunk": "ckpt", "branch": "ckpt", "decayed": "safetensors"}


@dataclass(frozen=True)
class Trunk:
    """A trunk to go on from: a file on this machine, the rung whose trial wrote it, its tokens."""

    path: Path
    rung: int
    tokens: int


class Checkpoints:
    """Checkpoints of one study.

    Args:
        ledger: the study's ledger.
        files: where files go.
        config: the study's configuration, which says what is kept.
    """

    def __init__(self, ledger: Ledger, files: StudyFiles, config: StudyConfig) -> None:
        self._ledger = ledger
        self._files = files
        self._config = config

    def save(self, claim: Claim, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Make a checkpoint durable and drop those that it makes superfluous.

        Raises:
            LeaseLost: another worker has taken the trial over.
            StorageError: it cannot be stored, or the study's folder has vanished.
            StorageFull: there is no room for it.
        """
        folder = trial_folder(claim.candidate, claim.rung, claim.seed)
        try:
            name = f"{folder}/{kind}-{tokens}-{claim.attempt}.{SUFFIXES[kind]}"
            stored = self._files.put(name, save)
        except StorageError:
            with self._ledger.held(claim):  # if the trial is another worker's by now, that is the reason
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
        """Write a checkpoint's row; returns the rows that it made superfluous, which are gone."""
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
        """The newest trunk of a candidate that is whole; damaged ones become events and are forgotten.

        Args:
            claim: of the attempt that will go on from it.
            folder: where a copy may be put.

        Returns:
            None if there is none.

        Raises:
            StorageError: one is missing or cannot be read; nothing is struck out.
            StorageUnavailable: its store does not answer.
        """
        for row in self._trunks(claim):
            try:
                return Trunk(self._files.fetch(row.uri, row.sha256, folder), row.rung, row.tokens)
            except CheckpointError as error:
                self.forget(claim, row, str(error))
            except StorageError:
                if row in self._trunks(claim):  # else it was dropped while this went on
                    raise
        return None

    def forget(self, claim: Claim, row: Row[Any], reason: str) -> None:
        """Strike out a checkpoint that cannot be used."""

        def strike_out() -> None:
            with self._ledger.held(claim) as connection:
                connection.execute(delete(checkpoints).where(this_checkpoint(row)))

        self._ledger.patiently(strike_out)
        self._ledger.note("damaged", f"{reason}; going on from an older one, or from the start", claim)

    def refuse_latest(self, claim: Claim, reason: str) -> None:
        """Strike out the trunk that an attempt went on from, since its trainer cannot read it.

        Raises:
            StorageError: nobody can read it now; it is not struck out.
        """
        for row in self._trunks(claim)[:1]:
            with tempfile.TemporaryDirectory(prefix="pathfront-") as folder:
                try:
                    self._files.fetch(row.uri, row.sha256, Path(folder))
                except CheckpointError as error:
                    reason = str(error)
            self.forget(claim, row, reason)

    def settle(self, claim: Claim) -> None:
        """After a trial ended: drop what can no longer be used, and sweep the folder of its candidate.

        Raises:
            StorageError: something cannot be deleted; the next trial that ends tries again.
        """
        self._drop(over=False)
        self._sweep(claim.candidate)
        step("settled")

    def conclude(self) -> None:
        """After a study ended: drop what nothing can use any more, and sweep all of its folder.

        Raises:
            StorageError: something cannot be deleted.
        """
        self._drop(over=True)
        self._sweep("")

    def _drop(self, over: bool) -> None:
        """Drop what can no longer be used: rows first, files after."""
        rungs, keep = len(self._config.rungs.tokens), self._config.keep

        def drop_rows() -> list[Row[Any]]:
            with self._ledger.read() as connection:
                rows = superfluous(connection, self._config.study, rungs, keep, over)
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
        """Delete files without a row from the folders of trials that are over."""
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
        """Trunks of a claim's candidate and seed at its rung and below, the newest first.

        Where the claim's own decay branch was interrupted, its checkpoints come before them.
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
