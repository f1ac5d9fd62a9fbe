"""How far ahead of its rungs does a study tell? Every ladder of rungs within it predicts every rung above.

    python tests/benchmarks/ladders.py STUDY... [--storage URL]

The studies have many rungs, such as

    rungs: {tokens: [20_000, 40_000, 80_000, 160_000, 320_000, 640_000], eta: 1.25}

Of each pair of span (highest over lowest rung of the ladder) and distance (rung predicted over the highest)
it prints how many trials fell within their 90% interval, the mean error and the mean width, then the same
within the reach that is allowed and beyond it.

Seen on three studies, 12 candidates each, with an earlier law (a pure power law, and a scale of 1.0 of the
addition to the power of data): suites [digits, taxi] and [shape-captions, dialled-digits, metaworld-reach]
from 20k to 640k tokens, `quick` from 40k to 1.28M: within reach 118 of 144 in their interval, mean error
-0.01; beyond it 47 of 75, predicted 0.13 too low. A ladder that begins where candidates are at their floor
predicts worst.
"""

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from search.export.extrapolate import Curves, Observation, observations, reach, too_small
from search.read.results import Reader


class Held(NamedTuple):
    """A trial that was predicted: whether its interval holds it, how much was missing, how wide it was."""

    within: bool
    error: float
    width: float


def held(seen: list[Observation]) -> Iterable[tuple[float, float, bool, Held]]:
    """Span, distance, whether it is within reach, and what came of it; of each ladder and rung above it."""
    rungs = sorted({trial.tokens for trial in seen})
    for low, high in itertools.combinations(range(len(rungs)), 2):
        kept = [trial for trial in seen if rungs[low] <= trial.tokens <= rungs[high]]
        if too_small(kept) is not None:
            continue
        curves, known = Curves(kept), {trial.candidate for trial in kept}
        for trial in seen:
            if trial.tokens > rungs[high] and trial.candidate in known:
                point = curves.predict(trial.candidate, trial.flops_per_token, trial.tokens)
                result = Held(
                    point.low <= trial.score <= point.high, trial.score - point.score, point.high - point.low
                )
                near = trial.tokens <= reach(kept)
                yield rungs[high] / rungs[low], trial.tokens / rungs[high], near, result


def told(label: str, found: list[Held]) -> None:
    """Print one line."""
    within = sum(point.within for point in found)
    error, width = (np.mean([getattr(point, name) for point in found]) for name in ("error", "width"))
    print(
        f"{label}: {within} of {len(found)} within ({within / len(found):.0%}), error {error:+.3f},"
        f" width {width:.3f}"
    )


def main() -> None:
    """Predict and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", nargs="+")
    parser.add_argument("--storage", default="sqlite:///pathfront.db")
    options = parser.parse_args()
    reader = Reader(options.storage)
    cells: dict[tuple[int, int], list[Held]] = defaultdict(list)
    reached: dict[bool, list[Held]] = defaultdict(list)
    for study in options.study:
        seen = observations(reader.trials(study), reader.config(study).rungs)
        for span, distance, near, result in held(seen):
            cells[round(span), round(distance)].append(result)
            reached[near].append(result)
    for (span, distance), found in sorted(cells.items()):
        told(f"span {span}, {distance} times ahead", found)
    for near, found in sorted(reached.items(), reverse=True):
        told("within reach" if near else "beyond it", found)


if __name__ == "__main__":
    main()
