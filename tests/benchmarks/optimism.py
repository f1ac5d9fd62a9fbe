"""How much too high is the best score of a study, and what does confirmation leave of it?

    python tests/benchmarks/optimism.py
    python tests/benchmarks/optimism.py --surfaces 104 105 106 --seeds 60 --top 5 --fresh 3

Plays many small studies under a simulated clock, on surfaces of the table of trained candidates, whose scores
are known without noise: `confirmation.py` trains really, but only a few studies, and measures with further
seeds. Prints, as means over the studies with bootstrap intervals:

1. the best score before confirmation minus what that candidate scores on average;
2. after the candidates of the front at the top rung, the best `--top` of them, were trained with `--fresh`
   seeds each: the best confirmed mean minus what that candidate scores on average;
3. what that candidate scores with one seed more, on which no choice depends, minus what it scores on average;
4. how much better the candidate that is picked after confirmation is than the one picked before.
"""

import argparse
import itertools
from collections.abc import Sequence

import numpy as np
from priors import config_of, measured, suite_of, surface_of
from real_search import interval
from surfaces.settings import study

from search.planning.clock import FinishedTrial, play
from search.planning.reach import reported_front
from space.confirm import SEEDS, TOP, fresh_seeds
from space.study import LARGEST_SEED

FAMILY = "table"
NAMES = (
    "best score before, too high by",
    "best confirmed mean, too high by",
    "its score with a further seed",
    "better after",
)


def main() -> None:
    """Play the studies, and print the means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--surfaces", nargs="+", type=int, default=[104, 105], help="numbers")
    parser.add_argument("--seeds", type=int, default=50, help="studies of each surface")
    parser.add_argument("--candidates", type=int, default=12, help="of a study")
    parser.add_argument("--sampler", default="pathfront")
    parser.add_argument("--top", type=int, default=TOP, help="candidates that are confirmed")
    parser.add_argument("--fresh", type=int, default=SEEDS, help="fresh seeds of each")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    rows = []
    runs = list(itertools.product(given.surfaces, range(given.seeds)))
    for done, (number, seed) in enumerate(runs, start=1):
        row = optimism(number, seed, given.candidates, given.sampler, given.workers, given.top, given.fresh)
        rows += [] if row is None else [row]
        if done % 10 == 0:
            print(f"{done}/{len(runs)}", flush=True)
    print(f"{len(rows)} of {len(runs)} studies have a score at the top rung")
    for name, values in zip(NAMES, np.transpose(rows), strict=True):
        print(f"{name} {interval(values)}")


def optimism(
    number: int, seed: int, candidates: int, sampler: str, workers: int, top: int, fresh: int
) -> tuple[float, ...] | None:
    """The four differences of one study; None if it has no score at the top rung."""
    config, surface = config_of(FAMILY), surface_of(FAMILY, number)
    judge, _ = measured(FAMILY, number)
    search = study(sampler=sampler, seed=seed).search
    stop = config.stop.model_copy(update={"training_flops": None, "candidates": candidates})
    run = play(config.model_copy(update={"search": search, "stop": stop}), suite_of(FAMILY), surface, workers)
    rung = len(config.rungs.tokens) - 1
    front = reported_front([trial for trial in run.trials if trial.rung == rung], judge.problem)[:top]
    if not front:
        return None
    seeds = fresh_seeds(seed, fresh + 1, LARGEST_SEED)

    def scores(trial: FinishedTrial, of: Sequence[int]) -> float:
        proposal = trial.proposal
        results = (surface.trial(proposal.candidate, proposal.cost, rung, one).score for one in of)
        return float(np.mean([0.0 if score is None else score for score in results]))

    def truth(trial: FinishedTrial) -> float:
        found = surface.truth(trial.proposal.candidate, trial.proposal.cost)
        return 0.0 if found is None else found

    before = front[0]
    assert before.result.score is not None
    after = max(front, key=lambda trial: scores(trial, seeds[:-1]))
    return (
        before.result.score - truth(before),
        scores(after, seeds[:-1]) - truth(after),
        scores(after, seeds[-1:]) - truth(after),
        truth(after) - truth(before),
    )


if __name__ == "__main__":
    main()
