"""The checkpoints of trials: files under the artifacts' URL, each with its row in the ledger.

A file is durable before its row is written, and a row is gone before its file is deleted, so a row always
names a file that was whole. What a killed worker leaves without a row is swept away when its trial is done.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row, and_, delete, insert, or_, select

from search.artifacts import Artifacts
from search.claims import Claim
from search.ledger import Ledger, step
from search.tables import checkpoints, clock
from space.errors import CheckpointError, LeaseLost
from space.scores import CheckpointKind

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
        artifacts: where files go.
    """

    def __init__(self, ledger: Ledger, artifacts: Artifacts) -> None:
        self._ledger = ledger
        self._artifacts = artifacts

    def save(self, claim: Claim, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Make a checkpoint durable and drop those that it makes superfluous.

        Raises:
            LeaseLost: another worker has taken the trial over.
            StorageError: it cannot be stored.
        """
        name = f"{_folder(claim)}/{kind}-{tokens}-{claim.attempt}.{SUFFIXES[kind]}"
        stored = self._artifacts.put(name, save)
        step(f"{kind} stored")
        of_kind = and_(claim.of(checkpoints), checkpoints.c.kind == kind)
        try:
            with self._ledger.held(claim) as connection:
                rows = connection.execute(
                    select(checkpoints).where(of_kind).order_by(checkpoints.c.tokens.desc())
                ).all()
                same = [row for row in rows if row.tokens == tokens]
                others = [row for row in rows if row.tokens != tokens]
                dropped = same + (others[SPARE_TRUNKS - 1 :] if kind == "trunk" else others)
                for row in dropped:
                    connection.execute(delete(checkpoints).where(_this(row)))
                row = {**claim.key, "kind": kind, "tokens": tokens, **asdict(stored)}
                connection.execute(insert(checkpoints).values(created_at=clock(), **row))
        except LeaseLost:
            self._artifacts.remove(stored.uri)
            raise
        step(f"{kind} noted")
        for row in dropped:
            if row.uri != stored.uri:
                self._artifacts.remove(row.uri)

    def latest_trunk(self, claim: Claim, folder: Path) -> Trunk | None:
        """The newest trunk of a candidate that is whole; damaged ones become events and are forgotten.

        Args:
            claim: of the attempt that will go on from it.
            folder: where a copy may be put.

        Returns:
            None if there is none.
        """
        for row in self._trunks(claim):
            try:
                return Trunk(self._artifacts.fetch(row.uri, row.sha256, folder), row.rung, row.tokens)
            except CheckpointError as error:
                self.forget(claim, row, str(error))
        return None

    def forget(self, claim: Claim, row: Row[Any], reason: str) -> None:
        """Strike out a checkpoint that cannot be used."""
        with self._ledger.held(claim) as connection:
            connection.execute(delete(checkpoints).where(_this(row)))
        self._ledger.note("damaged", f"{reason}; going on from an older one, or from the start", claim)

    def refuse_latest(self, claim: Claim, reason: str) -> None:
        """Strike out the trunk that an attempt went on from, since its trainer cannot read it."""
        for row in self._trunks(claim)[:1]:
            self.forget(claim, row, reason)

    def settle(self, claim: Claim) -> None:
        """After a trial is done: keep its last trunk and its decayed weights, and sweep its folder."""
        with self._ledger.write() as connection:
            kept = connection.execute(
                select(checkpoints).where(claim.of(checkpoints)).order_by(checkpoints.c.tokens.desc())
            ).all()
            spare = [row for row in kept if row.kind == "trunk"][1:]
            spare += [row for row in kept if row.kind == "branch"]  # its decay is over
            for row in spare:
                connection.execute(delete(checkpoints).where(_this(row)))
        self._artifacts.tidy(_folder(claim), {row.uri for row in kept if row not in spare})

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
        with self._ledger.read() as connection:
            return list(connection.execute(query.order_by(table.rung.desc(), table.tokens.desc())).all())


def _folder(claim: Claim) -> str:
    return f"{claim.study}/{claim.candidate}/rung{claim.rung}-seed{claim.seed}"


def _this(row: Row[Any]) -> Any:
    columns = (column == getattr(row, column.name) for column in checkpoints.primary_key.columns)
    return and_(*columns)
