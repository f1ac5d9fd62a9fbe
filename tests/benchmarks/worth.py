"""Does "is it worth going on?" hold? Predictions of `pathfront status` against how studies went on.

    python tests/benchmarks/worth.py --series report --surfaces 24

Studies with Pathfront's sampler are played on an ensemble that is fitted to the table `quick`. At several
spendings the best score with twice and four times the compute is predicted from what the study knows; then it
goes on. The truth is the score without noise of the candidate that the study then calls its best at the top
rung. Constants of `search.understand.worth` were tuned on the series `development`; report `report`.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot
from search.choose.studied import Studied
from search.planning.clock import ClockRun, FinishedTrial, KnownSurface, play
from search.table.ensemble import Ensemble
from search.table.files import read_table
from search.table.records import Table
from search.understand.worth import LEAST_GAIN, Outlook, worth
from space.study import Search, Stop

SPENT = (0.1, 0.22, 0.45)  # of the budget, when the study is asked


class Row(NamedTuple):
    """A prediction and how it went."""

    outlook: Outlook
    now: float
    then: float


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", default="quick", help="a table that ships, or a file")
    parser.add_argument("--series", choices=("development", "report"), default="development")
    parser.add_argument("--first", type=int, default=0, help="number of the first surface")
    parser.add_argument("--surfaces", type=int, default=8, help="studies, each on its own surface")
    parser.add_argument("--flops", type=float, default=4e13, help="training FLOPs of a whole study")
    parser.add_argument("--workers", type=int, default=4)
    return parser.parse_args()


def at(run: ClockRun, spent: float) -> tuple[Snapshot, list[FinishedTrial]]:
    """The study when a number of training FLOPs were spent, and the trials that had ended."""
    now = next((trial.ended for trial in run.trials if trial.spent >= spent), run.trials[-1].ended)
    begun = {(trial.candidate, trial.rung): trial for trial in run.trials if trial.started < now}
    trials = []
    for trial in run.snapshot.trials:
        finished = begun.get((trial.candidate, trial.rung))
        if finished is not None and finished.ended <= now:
            trials.append(trial)
        elif finished is not None:
            unknown = {"score": None, "stderr": None, "diverged": False, "tasks": {}}
            trials.append(replace(trial, state="running", final=False, **unknown))
    known = {candidate for candidate, _ in begun}
    candidates = tuple(candidate for candidate in run.snapshot.candidates if candidate.id in known)
    ended = [trial for trial in begun.values() if trial.ended <= now]
    return Snapshot(candidates, tuple(trials), 0.0), ended


def best(ended: Sequence[FinishedTrial], surface: KnownSurface, top: int) -> float:
    """Score without noise of the candidate that measures best at the top rung."""
    able = [
        (trial.result.score, trial.proposal)
        for trial in ended
        if trial.rung == top and trial.result.score is not None
    ]
    proposal = max(able, key=lambda pair: pair[0])[1]
    truth = surface.truth(proposal.candidate, proposal.cost)
    assert truth is not None
    return truth


def rows(table: Table, ensemble: Ensemble, options: argparse.Namespace, number: int) -> list[Row]:
    """Play one study, and predict along it."""
    search = Search(sampler="pathfront", seed=number)
    stop = Stop(training_flops=options.flops)
    config = table.header.config.model_copy(update={"search": search, "stop": stop})
    suite, surface = table.header.suite, ensemble.surface(options.series, number)
    run = play(config, suite, surface, options.workers)
    top, found = len(config.rungs.tokens) - 1, []
    for share in SPENT:
        view, ended = at(run, share * options.flops)
        problem = Problem(config.space, suite, config.limits, number, config.rungs)
        predicted = worth(Studied(config.study, problem, view))
        if predicted is None:
            continue
        now = best(ended, surface, top)
        for outlook in predicted.best:
            if outlook.training_flops <= options.flops:
                later = at(run, outlook.training_flops)[1]
                found.append(Row(outlook, now, best(later, surface, top)))
    return found


def main() -> None:
    """Print coverage, errors, and how well chances are calibrated."""
    options = arguments()
    table = read_table(options.table)
    ensemble = Ensemble(table)
    found: dict[int, list[Row]] = defaultdict(list)
    done = 0
    try:
        for number in range(options.first, options.first + options.surfaces):
            for row in rows(table, ensemble, options, number):
                found[row.outlook.multiple].append(row)
            done += 1
    except KeyboardInterrupt:
        print(f"interrupted after {done} of {options.surfaces} surfaces")
    for multiple, members in sorted(found.items()):
        then = np.array([row.then for row in members])
        gained = then - [row.now for row in members]
        score = np.array([row.outlook.score for row in members])
        low, high = np.array([row.outlook.interval for row in members]).T
        inside = (low <= then) & (then <= high)
        chance = np.array([row.outlook.chance for row in members])
        print(
            f"{multiple}x: {inside.sum()} of {len(then)} in the 90% interval"
            f" ({inside.mean():.2f}), mean width {np.mean(high - low):.3f};"
            f" error {np.mean(then - score):+.4f}, root mean square"
            f" {np.sqrt(np.mean((then - score) ** 2)):.4f};"
            f" gain {np.mean([row.outlook.gain for row in members]):.4f} predicted, {gained.mean():.4f} true;"
            f" chance of a gain above {LEAST_GAIN} {chance.mean():.2f} predicted,"
            f" {np.mean(gained > LEAST_GAIN):.2f} true"
        )


if __name__ == "__main__":
    main()
