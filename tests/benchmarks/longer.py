"""Is the best candidate of a search still the best after ten times the training?

    python tests/benchmarks/longer.py --out runs/ quick-0 quick-1 quick-2
    python tests/benchmarks/longer.py --out runs/ quick-0 quick-1 quick-2 --report

Takes candidates that the search scored at the highest rung of finished studies in `runs/pathfront.db`, spread
evenly over the order of their scores. Each is exported and trained from the first step with a seed that no
search has used, on `--factor` times the tokens of that rung, and scored on the report episodes, which no
search has seen. Prints the rank correlations of that score with the first one, and with the FLOPs per token,
with bootstrap intervals over candidates.

`--workers` trainings run side by side, on a core each. A call that was stopped continues where it was.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from real_search import DRAWS, LEVEL, read, train_again
from scipy.stats import spearmanr

from search.commands.options import whole
from search.read.results import Reader
from search.read.rows import TrialRow
from trainers.exports.load import full_scorecard

RESULTS = "longer.jsonl"

Line = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="+", help="finished studies of the same suite and rungs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the database and the results")
    parser.add_argument("--count", type=int, default=10, help="candidates")
    parser.add_argument("--factor", type=float, default=10.0, help="times the tokens of the highest rung")
    parser.add_argument("--workers", type=whole, default=2, help="trainings side by side")
    parser.add_argument("--report", action="store_true", help="report what there is; train nothing")
    return parser.parse_args()


def chosen(place: Path, studies: Sequence[str], count: int) -> list[tuple[str, TrialRow]]:
    """Candidates of the highest rung, spread evenly over the order of their scores, with their studies."""
    found: list[tuple[str, TrialRow]] = []
    reader = Reader(f"sqlite:///{place / 'pathfront.db'}")
    try:
        for study in studies:
            config = reader.config(study)
            at = len(config.rungs.tokens) - 1, config.search.seed, "select", "done"
            found += [
                (study, row)
                for row in reader.trials(study)
                if (row.rung, row.seed, row.split, row.state) == at
            ]
    finally:
        reader.close()
    found.sort(key=lambda pair: (-(pair[1].score or 0.0), pair[0], pair[1].number))
    places = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    return [found[i] for i in places]


def trained(place: Path, study: str, row: TrialRow, factor: float) -> Line:
    """Train a candidate for long; returns both scores."""
    card = full_scorecard(train_again(place, study, row.number, factor))
    assert card is not None, "it is trained"
    return {
        "study": study,
        "trial": row.number,
        "searched": row.score,
        "longer": card.score,
        "stderr": card.stderr,
        "flops_per_token": row.flops_per_token,
    }


def report(lines: Sequence[Line]) -> None:
    """Print the scores, best searched first, and their rank correlation."""
    print("\n| study | trial | at the highest rung | longer | FLOPs per token |\n|---|---|---|---|---|")
    for line in sorted(lines, key=lambda line: -line["searched"]):
        print(
            f"| {line['study']} | {line['trial']} | {line['searched']:.3f} |"
            f" {line['longer']:.3f} ± {line['stderr']:.3f} s.e. | {line['flops_per_token']:,.0f} |"
        )
    if len(lines) < 3:
        return
    print(f"\nrank correlation of the score after longer training, {len(lines)} candidates")
    for key, name in (("searched", "the score at the highest rung"), ("flops_per_token", "FLOPs per token")):
        pairs = np.array([(line[key], line["longer"]) for line in lines])
        rng = np.random.default_rng(0)
        drawn = [_spearman(pairs[rng.integers(len(pairs), size=len(pairs))]) for _ in range(DRAWS)]
        low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        print(f"- with {name}: {_spearman(pairs):.2f} [{low:.2f}, {high:.2f}]")


def _spearman(pairs: np.ndarray) -> float:
    """NaN where one side is constant."""
    return float("nan") if (np.ptp(pairs, axis=0) == 0).any() else float(spearmanr(pairs).statistic)


def main() -> None:
    """Train what is missing, and report."""
    given = arguments()
    place, results = given.out.resolve(), given.out / RESULTS
    known = {(line["study"], line["trial"]): line for line in read(results)}
    wanted = chosen(place, given.studies, given.count)
    missing = [] if given.report else [pair for pair in wanted if (pair[0], pair[1].number) not in known]
    with ThreadPoolExecutor(given.workers) as side_by_side:
        trainings = [side_by_side.submit(trained, place, *pair, given.factor) for pair in missing]
        for line in (training.result() for training in as_completed(trainings)):
            known[line["study"], line["trial"]] = line
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    report([known[study, row.number] for study, row in wanted if (study, row.number) in known])


if __name__ == "__main__":
    main()
