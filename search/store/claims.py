"""Records of trials that a worker may claim, and of claims."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, and_, insert, update

from search.database.tables import candidates, clock
from search.store.optuna_trials import label_of
from space.candidate import CandidateConfig
from space.cost import price
from space.records import Split, SuiteRecord
from space.study import StudyConfig

KEY = ("study", "candidate", "rung", "seed")  # columns that identify a trial in every table


@dataclass(frozen=True)
class NewTrial:
    """A trial that no worker has started.

    Attributes:
        tokens: trunk tokens at its end: the rung.
        planned_flops: estimated training FLOPs.
        split: the episodes on which it is scored; "report" for confirmations.
    """

    candidate: str
    rung: int
    seed: int
    tokens: int
    flops_per_token: float
    planned_flops: float
    split: Split = "select"

    @classmethod
    def of(
        cls,
        config: StudyConfig,
        suite: SuiteRecord,
        candidate: CandidateConfig,
        rung: int,
        seed: int,
        split: Split = "select",
    ) -> "NewTrial":
        """The trial of a candidate at a rung with a seed, and its planned cost."""
        cost, rungs = price(candidate.architecture, suite), config.rungs
        return cls(
            candidate=candidate.id,
            rung=rung,
            seed=seed,
            tokens=rungs.tokens[rung],
            flops_per_token=cost.flops_per_token,
            planned_flops=cost.planned_flops_per_token(candidate.optimizer, suite.batch_tokens)
            * rungs.trained_tokens(rung, split),
            split=split,
        )


@dataclass(frozen=True)
class Claim:
    """One attempt at a trial, which belongs to one worker.

    Attributes:
        split: the episodes on which it is scored; a confirmation ("report") trains from the first step.
    """

    study: str
    candidate: str
    rung: int
    seed: int
    attempt: int
    worker: str
    split: Split = "select"

    @property
    def label(self) -> str:
        """The label of the attempt in Optuna's study."""
        return label_of(self.candidate, self.rung, self.seed, self.attempt)

    @property
    def key(self) -> dict[str, Any]:
        """The columns that identify the trial in every table."""
        return {name: getattr(self, name) for name in KEY}

    def of(self, table: Table) -> ColumnElement[bool]:
        """The condition for a table's rows of this trial, from all attempts."""
        return and_(*(table.c[name] == value for name, value in self.key.items()))


class Idle(NamedTuple):
    """Nothing to start now.

    Attributes:
        under_way: trials that run or will be retried.
        candidates: that the worker knows of; None if it trains confirmations only.
    """

    under_way: int
    candidates: int | None = None


def insert_candidate(connection: Connection, study: str, candidate: Mapping[str, Any]) -> None:
    """Insert a new candidate's row; it replaces that of the same candidate as a confirmation's control.

    Args:
        connection: a transaction.
        study: its study.
        candidate: the row of `pf_candidates`, without study and time.

    Raises:
        IntegrityError: another worker has proposed it, or another candidate as the same number.
    """
    row = {**candidate, "study": study, "created_at": clock()}
    same = and_(candidates.c.study == study, candidates.c.candidate == candidate["candidate"])
    replaced = update(candidates).where(same, candidates.c.ordinal < 0).values(row)
    if not connection.execute(replaced).rowcount:
        connection.execute(insert(candidates).values(row))
