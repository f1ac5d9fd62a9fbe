"""How much compute does a search need to reach what random search reaches?

    python tests/benchmarks/search_methods.py --out results.jsonl
    python tests/benchmarks/search_methods.py --out results.jsonl --report --plot curves.svg
    python tests/benchmarks/search_methods.py --out checks.jsonl --settings --methods stratified pathfront

Methods play studies under a simulated clock on families of simulated surfaces: same promotion, same exact
costs, same filter. For each it prints how many times fewer training FLOPs than 200 random full trainings it
needs to report a front of the same value, judged without noise (`search/planning/reach.py`): `lasting` if it
does not lose that value again, `first` otherwise. A miss within the budget (`--budget`, 14 mean full
trainings) counts as the budget, a ratio of 200 / 14 = 14.3.

Runs are lines of a file; a run that is there is not played again. Surfaces 0 to 9 are for development, those
from 100 on for reports. A method that is not in `peers/methods.py` is given as NAME=SAMPLER JSON, such as
'no-law=pathfront {"law": false}'. A family may be the `package.module:name` of a function of a study and a
number that returns a surface, such as one fitted on a table.

`--worth 100` also prints how many times fewer training FLOPs a method needs to reach what `--against` reaches
with 100 candidates.

`--settings` plays few candidates, one and 64 workers, one rung, one and 24 tasks, 3 and 14 knobs, and prints
where a method is worse than `--against` at equal spending.
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

from contest.plot import plot
from contest.report import compute_table, loss_table, worth_table
from contest.runs import BUDGET, CORNERS, REPETITIONS, Run, play_all, read
from peers.methods import USUAL, method
from surfaces.families import FAMILIES
from surfaces.settings import SETTINGS

CHECKS = [  # setting, workers, candidates
    ("quick", 4, 5),
    ("quick", 1, None),
    ("quick", 64, None),
    ("one-rung", 4, None),
    ("one-task", 4, None),
    ("24-tasks", 4, None),
    ("3-knobs", 4, None),
    ("14-knobs", 4, None),
]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="file of results")
    parser.add_argument("--methods", nargs="+", default=USUAL, help="names, or NAME=SAMPLER JSON")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--surfaces", nargs="+", type=int, default=[100, 101], help="numbers")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from --first-seed on")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", nargs="+", type=int, default=[4])
    parser.add_argument("--setting", choices=SETTINGS, default="quick")
    parser.add_argument("--settings", action="store_true", help="play the checks of all settings")
    full = "mean full trainings that a search may spend"
    parser.add_argument("--budget", type=float, default=BUDGET, help=full)
    parser.add_argument("--processes", type=int, default=1)
    repetitions = "random searches that set the level of a surface"
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help=repetitions)
    parser.add_argument("--report", action="store_true", help="report what the file holds; play nothing")
    parser.add_argument("--against", default="stratified", help="method that others are divided by")
    worth = "also compare with what --against reaches with so many candidates"
    parser.add_argument("--worth", type=int, help=worth)
    parser.add_argument("--corner", choices=CORNERS, default="decile", help="least score that counts")
    parser.add_argument("--reach", choices=("lasting", "first"), default="lasting")
    parser.add_argument("--plot", type=Path, help="SVG file to write")
    return parser.parse_args()


def main() -> None:
    """Play what is missing, and report."""
    given = arguments()
    methods = dict(method(named) for named in given.methods)
    cases = CHECKS if given.settings else [(given.setting, workers, None) for workers in given.workers]
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    runs = [
        Run(setting, family, number, name, seed, workers, candidates, given.budget)
        for setting, workers, candidates in cases
        for family, number, seed, name in itertools.product(given.families, given.surfaces, seeds, methods)
    ]
    rivals = [
        replace(run, candidates=given.worth) for run in runs if given.worth and run.method == given.against
    ]
    if not given.report:
        play_all([*runs, *rivals], methods, given.out, given.processes, given.repetitions)
    known = {line["key"]: line for line in read(given.out)}
    lines, of_rival = ([known[r.key] for r in some if r.key in known] for some in (runs, rivals))
    if given.settings:
        print(loss_table(lines, given.against, given.corner))
    else:
        print(compute_table(lines, given.against, given.corner, given.reach))
    if of_rival:
        print(f"\nAgainst {given.worth} candidates of {given.against}\n")
        print(worth_table(lines, of_rival, given.corner))
    if given.plot:
        plot(lines, given.corner, given.plot)


if __name__ == "__main__":
    main()
