"""Rows about confirmations; see `search.read.rows` for the rules of rows."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedRow:
    """A candidate with confirmations: trials with fresh seeds on the report episodes.

    Attributes:
        trial: its number on the front; None before a confirmation is done, if the search never scored it.
        wanted: confirmations that are wanted.
        done: those that have a score.
        failed: those that failed permanently.
        score: mean over those that are done; None before the first.
        score_stderr: from the variation between seeds, pooled over the study's confirmed candidates.
        interval: 95% by Student's t; None if no candidate has two confirmations.
        selected_score: its score on the select episodes at the same rung; None if it was not scored there.
        control_of: the candidate that it is the uniform control of; None for others.
        label: architecture in a few words.
    """

    trial: int | None
    candidate: str
    wanted: int
    done: int
    failed: int
    score: float | None
    score_stderr: float | None
    interval: tuple[float, float] | None
    selected_score: float | None
    flops_per_token: float
    control_of: str | None
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRow:
    """A searched mixture compared with the uniform one at the same architecture, both confirmed.

    Attributes:
        difference: confirmed mean of the searched mixture minus that of the uniform one.
        interval: of the difference, 95% by Student's t; None if no candidate has two confirmations.
    """

    candidate: str
    control: str
    difference: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationStatus:
    """Where a study's confirmations stand, and what they say.

    Attributes:
        wanted: confirmations that are wanted.
        done: those that have a score.
        running: those with a live worker.
        failed: those that failed permanently.
        candidates: the best confirmed mean first.
        best_before: trial with the best score at the top rung before confirmation; None if there is none.
        optimism: its select score minus its confirmed score; None until it is confirmed.
        controls: searched mixtures against the uniform one.
    """

    wanted: int
    done: int
    running: int
    failed: int
    candidates: list[ConfirmedRow]
    best_before: int | None = None
    optimism: float | None = None
    controls: list[ControlRow] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether all of them are done or failed permanently."""
        return self.done + self.failed == self.wanted
