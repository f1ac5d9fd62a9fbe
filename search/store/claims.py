"""Records of trials that a worker may claim, and of claims."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_

from search.store.optuna_trials import label_of

KEY = ("study", "candidate", "rung", "seed")  # columns that identify a trial in every table


@dataclass(frozen=True)
class NewTrial:
    """A trial that no worker has started.

    Attributes:
        tokens: trunk tokens at its end: the rung.
        planned_flops: estimated training FLOPs.
    """

    candidate: str
    rung: int
    seed: int
    tokens: int
    flops_per_token: float
    planned_flops: float


@dataclass(frozen=True)
class Claim:
    """One attempt at a trial, which belongs to one worker."""

    study: str
    candidate: str
    rung: int
    seed: int
    attempt: int
    worker: str

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
