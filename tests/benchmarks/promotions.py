"""What do the quotas of promotion cost, and what does promotion ahead of them save?

    python tests/benchmarks/promotions.py --out promotions.jsonl
    python tests/benchmarks/promotions.py --out promotions.jsonl --report

Pathfront's sampler plays studies under a simulated clock, once for each rule, on simulated families, on
surfaces of the table of trained candidates (`table`), and on such where only the rows of the table can be
tried (`rows`). For each rule it prints the training FLOPs until the study reports a front of the same value
for good, over those with the quotas: the geometric mean over pairs of runs with the same surface and seed,
with a bootstrap interval. Levels and misses are those of `priors.py`.

- `quotas`: one in eta of the candidates that ended at a rung is promoted.
- `ahead`: as studies promote that FLOPs or time end (`search/choose/ahead.py`): where the quotas promote
  nothing, the promotion that gains more for the compute that it takes to the top rung than the new candidate
  that is proposed; `ahead-1.0` with another factor.
- `eta-1.5`: the quotas, with another eta.
- `known`: promotes, at once, what is on the front without noise of the candidates that were tried.
- `oracle`: the quotas, with proposals that know every score (not on `rows`).
- `oracle-known`: both.

Runs are lines of a file; a run that is there is not played again. Surfaces 0 to 9 are for development, those
from 100 on for reports.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from contest.runs import results
from peers.known_promotion import Known
from peers.oracle import Oracle
from priors import BASE, config_of, measured, reaching, suite_of, table

from search.choose.ahead import FACTOR, Ahead
from search.choose.next_trial import Promotions, make_promotions
from search.choose.sampler import Problem
from search.planning.clock import play
from search.planning.reach import Judge
from search.table.files import read_table
from search.table.nearest import Rows
from space.study import Search, StudyConfig

QUOTAS, ROWS = "quotas", "rows"
RULES = [QUOTAS, "ahead", "known", "oracle", "oracle-known"]
FAMILIES = ["table", "quick", "smooth", "foreign", "law"]


def main() -> None:
    """Play what is missing, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="file of results")
    parser.add_argument("--families", nargs="+", default=FAMILIES)
    parser.add_argument("--surfaces", nargs="+", type=int, default=[104, 105], help="numbers")
    parser.add_argument("--seeds", type=int, default=4, help="of each surface")
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--budget", type=float, default=8.0, help="mean full trainings of a study")
    parser.add_argument("--at", type=float, default=0.625, help="share of the budget that sets the level")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--report", action="store_true", help="report what the file holds; play nothing")
    given = parser.parse_args()
    wanted: list[dict[str, Any]] = [
        {
            "family": family,
            "number": number,
            "seed": seed,
            "rule": rule,
            "budget": given.budget,
            "workers": given.workers,
        }
        for seed in range(given.seeds)
        for family in given.families
        for number in given.surfaces
        for rule in given.rules
        if not (family == ROWS and rule.startswith("oracle"))  # it suggests other candidates
    ]
    lines = results(given.out, wanted, None if given.report else played)
    named = [{**line, "belief": BASE if line["rule"] == QUOTAS else line["rule"]} for line in lines]
    text = table(reaching(named, given.at))
    print(text.replace("| belief |", "| rule |", 1).replace(f"| {BASE} |", f"| {QUOTAS} |", 1))


def played(family: str, number: int, seed: int, rule: str, budget: float, workers: int) -> dict[str, Any]:
    """Play one study."""
    source = "table" if family == ROWS else family
    judge, full_flops = measured(source, number)
    suite, config = suite_of(source), config_of(source)
    search = Search.model_validate({"sampler": "pathfront", "seed": seed})
    stop = config.stop.model_copy(update={"training_flops": budget * full_flops, "candidates": None})
    config = config.model_copy(update={"search": search, "stop": stop})
    if rule.startswith("eta-"):
        rungs = config.rungs.model_copy(update={"eta": float(rule.removeprefix("eta-"))})
        config = config.model_copy(update={"rungs": rungs})
    propose = Oracle(judge, seed).propose if rule.startswith("oracle") else None
    if family == ROWS:
        propose = Rows(read_table("quick"), config).propose
    begun = time.process_time()
    run = play(config, suite, judge.surface, workers, propose, rules_of(rule, config, judge))
    curve: list[list[float]] = []  # W and value where the value changes
    for point in judge.curve(run.trials):
        if not curve or point.value != curve[-1][1]:
            curve.append([round(point.spent / full_flops, 4), point.value])
    at_rungs = [sum(trial.rung == rung for trial in run.trials) for rung in range(len(config.rungs.tokens))]
    return {"curve": curve, "trials": at_rungs, "cpu_seconds": round(time.process_time() - begun, 2)}


def rules_of(rule: str, config: StudyConfig, judge: Judge) -> Promotions:
    """The rules of promotion of a study that is played."""
    if rule.endswith("known"):
        return Promotions(Known(judge, len(config.rungs.tokens)))
    problem = Problem.of(config, judge.problem.suite)
    quotas = make_promotions(config, problem).quotas
    if not rule.startswith("ahead"):
        return Promotions(quotas)
    factor = rule.removeprefix("ahead").removeprefix("-")
    return Promotions(quotas, Ahead(problem, float(factor or FACTOR)))


if __name__ == "__main__":
    main()
