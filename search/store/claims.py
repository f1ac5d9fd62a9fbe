"""What a worker may ask the ledger for, and what it then holds."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_

from search.store.optuna_trials import label_of

KEY = ("study", "candidate", "rung", "seed")  # of a trial, in every table


@dataclass(frozen=True)
class NewTrial:
    """A climb that nobody has begun.

    Attributes:
        tokens: trunk tokens at its end.
        planned_flops: estimate of its training FLOPs.
    """

    candidate: str
    rung: int
    seed: int
    tokens: int
    flops_per_token: float
    planned_flops: float


@dataclass(frozen=True)
class Claim:
    """A worker's right to one attempt at a trial."""

    study: str
    candidate: str
    rung: int
    seed: int
    attempt: int
    worker: str

    @property
    def label(self) -> str:
        """What names the attempt in Optuna's study."""
        return label_of(self.candidate, self.rung, self.seed, self.attempt)

    @property
    def key(self) -> dict[str, Any]:
        """The trial's key in every table."""
        return {name: getattr(self, name) for name in KEY}

    def of(self, table: Table) -> ColumnElement[bool]:
        """A table's rows of this trial, whichever attempt wrote them."""
        return and_(*(table.c[name] == value for name, value in self.key.items()))
