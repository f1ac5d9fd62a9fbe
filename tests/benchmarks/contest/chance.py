"""Differences between two methods along their spendings, and what noise alone makes of them."""

import numpy as np

DRAWS = 2_000  # of the signs


def chance_of_worst(gaps: np.ndarray) -> float:
    """The chance that noise alone makes some spending as bad as the worst one, by drawn signs.

    Args:
        gaps: differences (pairs, spendings); nan where a pair has not spent so much.
    """
    rng = np.random.default_rng(0)

    def worst(signed: np.ndarray) -> float:
        mean, error = mean_and_error(signed)
        return float((mean / error).min())

    seen = worst(gaps)
    drawn = [worst(gaps * rng.choice((-1, 1), size=(len(gaps), 1))) for _ in range(DRAWS)]
    return (1 + sum(value <= seen for value in drawn)) / (1 + DRAWS)


def mean_and_error(gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over pairs at each spending, and its standard error, which is above 0."""
    counts = np.sum(~np.isnan(gaps), axis=0)
    error = np.nanstd(gaps, axis=0, ddof=1) / np.sqrt(counts)
    return np.nanmean(gaps, axis=0), np.maximum(error, 1e-9)
