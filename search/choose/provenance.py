"""A candidate's origin: the rule that proposed it, and why, as one line in the database.

Examples are "control", "tpe", "stratified; tpe waits for results: 3 of 10 candidates" and
"pathfront model; the law weighs 0.83". A person's own candidates are "start; given by the study file" and
"enqueued", the first ones of a study with a belief "believed; the likeliest at its cost by the priors".
"""

from typing import NamedTuple

LENGTH = 200  # characters in the database
SEPARATOR = "; "
FALLBACK = " fallback"  # ends a rule that draws candidates because no suggestion could be used
START = "start"  # rule of candidates that the study file gives
ENQUEUED = "enqueued"  # rule of those that were given while the study ran
GIVEN = (START, ENQUEUED)
BELIEVED = "believed"  # rule of the first candidates of a study with priors or a warm start
NOT_OWN = (*GIVEN, BELIEVED)  # rules of candidates that come before those that the study chooses by itself
CONTROL = "control"  # rule of the first candidates, which try the control mixtures
TRIED_ANYWAY = (*NOT_OWN, CONTROL, "pathfront start", "pathfront random")  # whatever models expect of them
WAITS = " waits for results"  # in the reason of candidates that are drawn because of too few results


class Provenance(NamedTuple):
    """The rule that proposed a candidate, and why; "" if it gives no reason."""

    rule: str
    reason: str = ""

    @property
    def origin(self) -> str:
        """As the database holds it."""
        return (f"{self.rule}{SEPARATOR}{self.reason}" if self.reason else self.rule)[:LENGTH]


def provenance(origin: str) -> Provenance:
    """Read an origin."""
    rule, _, reason = origin.partition(SEPARATOR)
    return Provenance(rule, reason)
