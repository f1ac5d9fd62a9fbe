"""A study as its models see it: the problem, and what has been tried, whether from a database or a table."""

from typing import NamedTuple

from search.choose.models import Models, models_of
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot
from space.errors import NotFoundError
from space.words import counted

LEAST_SCORED = 8  # candidates with scores, for predictions: enough for cross-validation


class Studied(NamedTuple):
    """A study at one moment.

    Attributes:
        name: of the study.
        problem: its space, tasks, limits, seed and rungs.
        view: its candidates and trials.
    """

    name: str
    problem: Problem
    view: Snapshot

    @property
    def scored(self) -> int:
        """Candidates of the space with a score."""
        return len({trial.candidate for trial in models_of(self.problem).scored(self.view)})

    def models(self, purpose: str) -> Models:
        """The models of the study.

        Args:
            purpose: what they are needed for, as the subject of the error.

        Raises:
            NotFoundError: too few candidates have a score.
        """
        if self.scored < LEAST_SCORED:
            raise NotFoundError(
                f"{purpose} needs {LEAST_SCORED} candidates with scores, and study '{self.name}' has"
                f" {counted(self.scored, 'such candidate')}; train more of them first"
            )
        return models_of(self.problem)
