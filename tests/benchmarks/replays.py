"""Compare replays on a table in pairs: how many times less compute does the first sampler need?

    given="--series report --workers 4 --seeds 20 --json"
    pathfront table replay quick --sampler pathfront $given > pathfront.json
    pathfront table replay quick --sampler stratified $given > stratified.json
    python tests/benchmarks/replays.py pathfront.json stratified.json

Runs are paired by their seed; a run that does not reach the level counts as the whole budget. Prints
geometric means with 95% bootstrap intervals over the seeds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from priors import interval


def reached(replay: dict[str, Any]) -> dict[int, float]:
    """Seed -> logarithm of the W at which the run reaches the level."""
    return {run["seed"]: float(np.log(run["reached"] or replay["budget"])) for run in replay["runs"]}


def main() -> None:
    """Print one line for each replay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("replays", type=Path, nargs="+", help="outputs; the first is compared")
    replays = {path.stem: json.loads(path.read_text()) for path in parser.parse_args().replays}
    first = reached(next(iter(replays.values())))
    for name, replay in replays.items():
        of = reached(replay)
        pairs = [of[seed] - first[seed] for seed in first if seed in of]
        less = np.log(replay["random"])
        print(
            f"{name}: {interval([less - log for log in of.values()])} times less than random,"
            f" {replay['hits']}/{len(of)} reach it; the first needs {interval(pairs)} times less"
        )


if __name__ == "__main__":
    main()
