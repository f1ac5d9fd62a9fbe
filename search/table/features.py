"""Features of candidates for regression on a table: exact costs, knobs, learning rate, mixture, tokens.

They are computed from a candidate and its cost alone, so any candidate of the space has them.
"""

from collections.abc import Sequence

import numpy as np

from search.table.records import Costs, Table
from space.candidate import CandidateConfig
from space.cost import Cost
from space.errors import StudyFileError
from space.knob_index import KNOBS, is_of_architecture, kind, words

COSTS = ("flops_per_token", "active_params", "total_params")
LEAST_SHARE = 1e-4  # of a task in a mixture, below which its logarithm stays the same


class Features:
    """Computes features of candidates of one table's space.

    Knobs that are positive numbers enter as logarithms, words as one column for each word. Costs and the
    learning rate are clamped to the ranges that the table covers, because nothing was measured beyond them.

    Args:
        table: at least one candidate.
    """

    def __init__(self, table: Table) -> None:
        varying = [name for name in KNOBS if len({_value(row.config, name) for row in table.rows}) > 1]
        self._numbers = [name for name in varying if kind(name) != "word" and name != "learning_rate"]
        self._logs = [n for n in self._numbers if all(float(_value(r.config, n)) > 0 for r in table.rows)]
        self._words = [(name, word) for name in varying if kind(name) == "word" for word in words(name)]
        self._tasks = table.tasks
        self._log_tokens = np.log(np.array(table.header.config.rungs.tokens, dtype=float))
        known = np.array([self._bounded(row.config, row.costs) for row in table.rows])
        self._low, self._high = known.min(axis=0), known.max(axis=0)
        self.clamped: set[str] = set()

    @property
    def names(self) -> list[str]:
        """Names of the columns of `of`, without those of the mixture."""
        knobs = [f"ln {name}" if name in self._logs else name for name in self._numbers]
        costs = [f"ln {name}" for name in COSTS]
        return [*costs, "ln learning_rate", "its square", *knobs, *(f"{n}={w}" for n, w in self._words)]

    def of(self, candidate: CandidateConfig, cost: Costs | Cost) -> np.ndarray:
        """Features of a candidate, shape (columns + 2 tasks,): costs and knobs, then the mixture.

        The mixture is the square roots of the shares, then their logarithms. Candidates whose costs or
        learning rate were clamped are noted in `clamped`.
        """
        bounded = self._bounded(candidate, cost)
        clamped = np.clip(bounded, self._low, self._high)
        if not np.allclose(bounded, clamped, rtol=0, atol=1e-9):
            self.clamped.add(candidate.id)
        middle, half = (self._low[-1] + self._high[-1]) / 2, max((self._high[-1] - self._low[-1]) / 2, 1e-9)
        values = {name: float(_value(candidate, name)) for name in self._numbers}
        knobs = [np.log(max(v, 1e-9)) if name in self._logs else v for name, v in values.items()]
        flags = [float(_value(candidate, name) == word) for name, word in self._words]
        shares = np.array([candidate.mixture.weights.get(task, 0.0) for task in self._tasks])
        mixture = [*np.sqrt(shares), *np.log(np.maximum(shares, LEAST_SHARE))]
        return np.array([*clamped, ((clamped[-1] - middle) / half) ** 2, *knobs, *flags, *mixture])

    def require_inside(self, candidate: CandidateConfig, cost: Costs | Cost) -> None:
        """Refuse a candidate whose costs lie outside the range of the table.

        Raises:
            StudyFileError: they do.
        """
        bounded = np.exp(self._bounded(candidate, cost))
        low, high = np.exp(self._low) * (1 - 1e-6), np.exp(self._high) * (1 + 1e-6)
        for name, value, least, most in zip(COSTS, bounded, low, high, strict=False):
            if not least <= value <= most:
                raise StudyFileError(
                    f"an ensemble knows candidates of {least:,.0f} to {most:,.0f} {name}, got {value:,.0f}"
                )

    def at_rungs(self, features: np.ndarray, task: int) -> np.ndarray:
        """Rows for one task's regression, one for each candidate and rung.

        Args:
            features: shape (candidates, columns), from `of`.
            task: index of the task.

        Returns:
            Shape (candidates x rungs, columns), the rungs of a candidate side by side: costs and knobs, the
            task's own share as square root and logarithm, the others' logarithms, log tokens of the rung, log
            tokens of the task, and one column for each rung.
        """
        count, tasks = len(features), len(self._tasks)
        base, roots, logs = np.split(features, [-2 * tasks, -tasks], axis=1)
        own = np.column_stack((roots[:, task], logs[:, task], np.delete(logs, task, axis=1)))
        rungs = len(self._log_tokens)
        tokens = np.tile(self._log_tokens - self._log_tokens.mean(), count)
        each = np.repeat(np.hstack((base, own)), rungs, axis=0)
        of_task = np.repeat(logs[:, task], rungs) + tokens
        return np.hstack((each, np.column_stack((tokens, of_task)), np.tile(np.eye(rungs), (count, 1))))

    def of_rows(self, table: Table, rows: Sequence[int]) -> np.ndarray:
        """Features of some candidates of a table, shape (candidates, columns)."""
        return np.array([self.of(table.rows[i].config, table.rows[i].costs) for i in rows])

    def _bounded(self, candidate: CandidateConfig, cost: Costs | Cost) -> np.ndarray:
        return np.log([*(getattr(cost, name) for name in COSTS), candidate.learning_rate])


def _value(candidate: CandidateConfig, name: str) -> float | str:
    return getattr(candidate.architecture if is_of_architecture(name) else candidate, name)
