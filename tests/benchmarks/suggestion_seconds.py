"""How many CPU seconds does a suggestion of Pathfront's sampler take, with the refit of its models?

The suggestion alone, and with the comparison of the new candidate with promotions ahead of the quotas.

    OMP_NUM_THREADS=1 python tests/benchmarks/suggestion_seconds.py
    OMP_NUM_THREADS=1 python tests/benchmarks/suggestion_seconds.py --trials 1000 --settings 14-knobs

Each measurement proposes a candidate of a study that has one score more than at the one before, so that the
models are fitted again. Scores follow a law with noise; one in three candidates reaches the next rung.
"""

import argparse
import time
from statistics import median

import numpy as np
from surfaces.settings import SETTINGS, study

from search.choose.propose import Proposer
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial, TaskFraction


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", nargs="+", default=["quick", "24-tasks"], choices=list(SETTINGS))
    parser.add_argument("--trials", nargs="+", type=int, default=[50, 250, 1_000])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--sampler", default="pathfront")
    return parser.parse_args()


def simulated(proposer: Proposer, count: int) -> Snapshot:
    """A study with `count` done trials of random candidates."""
    rng, problem = np.random.default_rng(0), proposer.problem
    candidates: dict[str, Candidate] = {}
    trials: list[SnapshotTrial] = []
    while len(trials) < count:
        found = problem.feasible(problem.space.sample(proposer.suite, rng))
        if found is None or found.candidate.id in candidates:
            continue
        name, flops = found.candidate.id, found.cost.flops_per_token
        sparse = found.candidate.architecture.sparse
        candidates[name] = Candidate(name, len(candidates), found.params, flops, sparse)
        rate = np.log(found.candidate.learning_rate / 3e-3)
        share = np.array([found.candidate.mixture.weights[task] for task in proposer.suite.tasks])
        for rung in range(len(proposer.config.rungs.tokens)):
            regret = 0.5 * (flops / 1e6) ** -0.1 * (share * len(share)) ** -0.3 * 0.8**rung + 0.05 * rate**2
            values = 1 - regret + 0.03 * rng.standard_normal(len(share))
            tasks = dict(
                zip(proposer.suite.tasks, (TaskFraction(float(v), 0.03) for v in values), strict=True)
            )
            score = float(np.clip(values, -1, 1).mean())
            done = SnapshotTrial(name, rung, "done", True, score, 0.01, flops, 1e5 * flops, tasks=tasks)
            trials.append(done)
            if rng.random() > 1 / 3:
                break
    return Snapshot(tuple(candidates.values()), tuple(trials[:count]), 0.0)


def seconds(proposer: Proposer, view: Snapshot, repetitions: int) -> list[tuple[float, float]]:
    """CPU seconds of proposals, and with their comparison; each after one more score than before."""
    known, taken, ahead = len(view.trials), [], proposer.promotions.ahead
    assert ahead is not None
    for left in range(repetitions, -1, -1):
        seen = Snapshot(view.candidates, view.trials[: known - left], 0.0)
        begin = time.process_time()
        proposal = proposer.propose(seen)
        proposed = time.process_time() - begin
        assert proposal is not None
        ahead(seen, proposal)
        taken.append((proposed, time.process_time() - begin))
    return taken[1:]  # the first one prices shapes and reads known candidates


def main() -> None:
    """Print one line for each setting and number of trials."""
    options = arguments()
    print("setting    tasks  trials  CPU seconds: least  median  with the comparison")
    for setting in options.settings:
        given = {"random": 0} if options.sampler == "pathfront" else {}
        config = study(setting, options.sampler, given, training_flops=1e30)
        proposer = Proposer(config, config.suite_record())
        for count in options.trials:
            measured = seconds(proposer, simulated(proposer, count), options.repetitions)
            taken, whole = zip(*measured, strict=True)
            tasks, least, usual = len(proposer.suite.tasks), min(taken), median(taken)
            line = f"{setting:10} {tasks:5}  {count:6}  {least:18.3f}  {usual:6.3f}  {median(whole):19.3f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
