"""How much too high are the best scores of a search, and does `pathfront confirm` remove it?

    python tests/benchmarks/confirmation.py --out runs/ quick-0 quick-1 quick-2
    python tests/benchmarks/confirmation.py --out runs/ quick-0 quick-1 quick-2 --report

Takes finished studies of `runs/pathfront.db`. Each is confirmed: its best candidates, and the uniform mixture
at the architecture of the best of them, are trained with fresh seeds and scored on the report episodes. Then
the candidate that `export --pick best` chooses is trained with one seed more. Prints, as means over the
studies with bootstrap intervals:

1. the over-optimism of the best score before confirmation: its select score minus its confirmed mean;
2. that of the candidate that is picked after confirmation: its confirmed mean minus its score with the
   further seed, which took no part in the choice;
3. the searched mixture minus the uniform one, both confirmed, with the same seeds.

A call that was stopped continues where it was.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from real_search import interval, read, run

from search.read.picks import picked
from search.read.results import Reader
from space.confirm import SEEDS, TOP, fresh_seeds
from space.study import LARGEST_SEED

RESULTS = "confirmation.jsonl"

Line = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="+", help="finished studies")
    parser.add_argument("--out", type=Path, required=True, help="folder of the database and the results")
    parser.add_argument("--top", type=int, default=TOP, help="candidates to confirm")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="fresh seeds of each")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="report what there is; train nothing")
    return parser.parse_args()


def confirm(place: Path, study: str, seeds: int, workers: int, *options: str) -> None:
    """Run `pathfront confirm`; the study may have been trained by another version."""
    run(
        *(place, "confirm", study, "--seeds", str(seeds), "--workers", str(workers)),
        *("--accept-changes", *options),
    )


def confirmed(place: Path, study: str, top: int, seeds: int, workers: int) -> Line:
    """Confirm a study's best candidates; returns what that says."""
    confirm(place, study, seeds, workers, "--top", str(top))
    reader = Reader(f"sqlite:///{place / 'pathfront.db'}")
    try:
        found, best = reader.status(study).confirmation, picked(reader.front(study), "best")
    finally:
        reader.close()
    assert found is not None
    assert found.optimism is not None, "the best candidate is confirmed"
    return {
        "study": study,
        "seeds": seeds,
        "optimism": found.optimism,
        "picked": best.trial,
        "score": best.score,
        "uniform": [row.difference for row in found.controls],
    }


def further(place: Path, line: Line, workers: int) -> float:
    """The score of the picked candidate with one fresh seed more, on the report episodes."""
    study, number = line["study"], line["picked"]
    reader = Reader(f"sqlite:///{place / 'pathfront.db'}")
    try:
        rows = reader.trials(study)
        picked_one = next(row.candidate for row in rows if row.number == number)
        searched = any(row.candidate == picked_one and row.split == "select" for row in rows)
        chosen = ["--trial", str(number), "--no-uniform"] if searched else []  # else the uniform control
        confirm(place, study, line["seeds"] + 1, workers, *chosen)
        rows, own = reader.trials(study), reader.config(study).search.seed
    finally:
        reader.close()
    seed = fresh_seeds(own, line["seeds"] + 1, LARGEST_SEED)[-1]
    (score,) = [row.score for row in rows if (row.candidate, row.seed) == (picked_one, seed)]
    assert score is not None, "the further trial has a score"
    return score


def note(results: Path, line: Line) -> None:
    """Add a line to the results."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def report(lines: list[Line]) -> None:
    """Print the means over the studies."""
    before = [line["optimism"] for line in lines]
    after = [line["score"] - line["further"] for line in lines]
    uniform = [difference for line in lines for difference in line["uniform"]]
    for line in lines:
        print(json.dumps(line))
    print(f"\n{len(lines)} studies, [95% over studies]\n\n| quantity | studies | mean |\n|---|---|---|")
    for name, values in (
        ("best before confirmation: select score minus confirmed mean", before),
        ("picked after confirmation: confirmed mean minus a further seed", after),
        ("the first minus the second, in pairs", [a - b for a, b in zip(before, after, strict=True)]),
        ("searched minus uniform mixture", uniform),
    ):
        print(f"| {name} | {len(values)} | {interval(values) if values else 'none'} |")


def main() -> None:
    """Confirm every study, and report."""
    given = arguments()
    place, results = given.out.resolve(), given.out / RESULTS
    known = {line["study"]: line for line in read(results)}  # a later line replaces an earlier one
    for study in given.studies:
        if given.report or "further" in known.get(study, {}):
            continue
        if study not in known:
            known[study] = confirmed(place, study, given.top, given.seeds, given.workers)
            note(results, known[study])  # before the further seed changes the mean
        known[study] |= {"further": further(place, known[study], given.workers)}
        note(results, known[study])
    report([known[study] for study in given.studies if "further" in known.get(study, {})])


if __name__ == "__main__":
    main()
