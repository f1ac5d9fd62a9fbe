"""A candidate's origin: the rule that proposed it, and why, as one line in the database.

Examples are "control", "tpe", "stratified; tpe waits for results: 3 of 10 candidates" and
"pathfront model; the law weighs 0.83".
"""

from typing import NamedTuple

LENGTH = 200  # characters in the database
SEPARATOR = "; "
FALLBACK = " fallback"  # ends a rule that draws candidates because no suggestion could be used
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
