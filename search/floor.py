"""Candidates that cannot be told from their floor: the one rule, and what a reader says of a study of them.

Such a candidate does no better than random play or a constant answer. It is not promoted, and it is not on
the front, where it would be the cheapest point of all.
"""

from collections.abc import Sequence

from search.rows import TrialRow

LONGER = "train them longer, with larger rungs.tokens"


def at_floor(score: float | None, stderr: float | None) -> bool:
    """Whether a score cannot be told from the floor: not above 0 by one standard error."""
    return score is None or score <= max(0.0, stderr or 0.0)


def why_no_front(study: str, finalists: Sequence[TrialRow], max_flops: float | None = None) -> str:
    """Why a front is empty, and what to do about it, in one line.

    Args:
        study: name of the study.
        finalists: every candidate's highest done rung.
        max_flops: the limit on FLOPs per token that the front was taken within.
    """
    limit = "" if max_flops is None else f" within {max_flops:g} FLOPs per token"
    within = [row for row in finalists if max_flops is None or row.flops_per_token <= max_flops]
    if not within:
        return f"study '{study}' has no done trial{limit}; see pathfront status {study}"
    best = max(within, key=lambda row: row.score or 0.0)
    return (
        f"none of the {len(within)} scored candidates of study '{study}'{limit} is above its floor by one"
        f" standard error (the best: {best.score:.3f} ± {best.stderr or 0:.3f} after {best.tokens:,}"
        f" tokens): {LONGER}, in a study of another name"
    )
