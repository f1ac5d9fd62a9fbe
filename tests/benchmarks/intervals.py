"""Do the sampler's predictions hold? Scores of later candidates at the top rung, against its 90% intervals.

    python tests/benchmarks/intervals.py --table quick
    python tests/benchmarks/intervals.py --study quick --storage sqlite:///pathfront.db
    python tests/benchmarks/intervals.py --study pathfront-0 pathfront-1 --storage sqlite:///runs/pathfront.db

Each candidate with a score at the top rung is predicted from the trials of the candidates that were proposed
before it, at all rungs; of the candidate itself nothing is known but its configuration. An interval covers
the luck of one training and of the episodes. Where the candidates were proposed by the sampler itself, they
are chosen for their predictions, which makes the test harder.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from search.choose.models import models_of
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot
from search.read.results import Reader
from search.read.studied import studied
from search.surrogate.surrogate import ALL, Use
from search.table.files import read_table
from search.table.studied import studied_table

LEAST = 8  # candidates that are known before the first prediction
TAIL = 0.05  # on either side of an interval


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    of = parser.add_mutually_exclusive_group(required=True)
    of.add_argument("--table", help="a table that ships, or a file")
    of.add_argument("--study", nargs="+", help="one or several, whose predictions are counted together")
    parser.add_argument("--storage", default="sqlite:///pathfront.db")
    return parser.parse_args()


def predictions(problem: Problem, view: Snapshot, use: Use) -> Iterator[tuple[float, float, float]]:
    """Score, predicted mean, and probability of a lower score, of each candidate that can be predicted."""
    models, top = models_of(problem, use), len(problem.rungs.tokens) - 1
    params = {candidate.id: candidate.params for candidate in view.candidates}
    for trial in (t for t in view.trials if t.rung == top and t.score is not None):
        ordinal = next(c.ordinal for c in view.candidates if c.id == trial.candidate)
        known = {c.id for c in view.candidates if c.ordinal < ordinal}
        before = [t for t in view.trials if t.candidate in known]
        if len({t.candidate for t in before if t.state == "done"}) < LEAST:
            continue
        surrogate = models.surrogate(replace(view, trials=tuple(before)))
        pool, kept = models.space.encode([params[trial.candidate]])
        if len(kept):
            predicted = surrogate.predict(models.space.points(pool), top)
            score = np.array([trial.score])
            probability = predicted.below(score, np.array([trial.stderr or 0.0]))
            yield float(score[0]), float(predicted.mixed_mean[0]), float(probability[0])


def main() -> None:
    """Print coverage, error and sharpness for the whole surrogate and for its parts."""
    options = arguments()
    table = options.table
    if table:
        seen = [studied_table(read_table(table))]
    else:
        reader = Reader(options.storage)
        seen = [studied(reader, study) for study in options.study]
    parts = {"both models": ALL, "the law with its residual": Use(plain=False), "no law": Use(law=False)}
    for name, use in parts.items():
        found = [one for _, problem, view in seen for one in predictions(problem, view, use)]
        if not found:
            raise SystemExit(f"error: no top score of a candidate that {LEAST} others with scores precede")
        score, mean, below = np.array(found).T
        inside = int(((below > TAIL) & (below < 1 - TAIL)).sum())
        error = np.sqrt(np.mean((score - mean) ** 2))
        print(
            f"{name}: {inside} of {len(score)} scores in the 90% interval ({inside / len(score):.2f});"
            f" root mean square error {error:.4f}, standard deviation of the scores {score.std():.4f}"
        )


if __name__ == "__main__":
    main()
