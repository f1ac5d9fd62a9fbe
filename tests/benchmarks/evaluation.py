"""Is evaluation the bottleneck? On a suite, with a decoder that has been trained a little.

    python tests/benchmarks/evaluation.py [--suite generalist] [--tokens 2M] [--rounds 3]

Prints the time of scoring all select episodes over the time of training on `--tokens` (the last rung), and
the time of playing episodes one by one over playing them side by side, whose scores are the same.
"""

import argparse
import statistics
import time
from functools import partial

import numpy as np
import torch

from search.commands.options import whole
from space.candidate import Architecture, CandidateConfig
from space.catalog import load_catalog
from space.contract import Budget
from space.mixture import TaskMixture
from space.records import SuiteRecord
from trainers.evaluate import ModelPolicy, score_candidate
from trainers.model.decoder import Decoder
from trainers.specialist import Silent
from trainers.tasks.registry import load_task
from trainers.tasks.sessions import SessionTask, play
from trainers.train import fit_candidate

ARCHITECTURE = Architecture(depth=3, width=128, experts=8, top_k=2, expert_ratio=1, head_dim=32)
FEW = 8  # episodes of a task that are played one by one


def train(suite: SuiteRecord, tokens: int) -> tuple[Decoder, float]:
    """A decoder trained on so many tokens, and the seconds it took."""
    candidate = CandidateConfig(
        architecture=ARCHITECTURE, mixture=TaskMixture.uniform(suite.tasks), learning_rate=3e-3
    )
    budget = Budget(tokens=tokens, decay_tokens=tokens // 5, checkpoint_seconds=1e9)
    fitted = fit_candidate(candidate, suite, budget, None, Silent())
    return fitted.decoder, fitted.work.seconds


def compare(decoder: Decoder, suite: SuiteRecord) -> tuple[float, bool]:
    """Seconds one by one over seconds side by side, and whether all scores agree."""
    seconds, same = {1: 0.0, FEW: 0.0}, True
    for name in suite.tasks:
        task = load_task(name, suite)
        if not isinstance(task, SessionTask):
            continue
        openers = [partial(task.session, "select", index) for index in range(FEW)]
        values = {}
        for lanes in seconds:
            started = time.perf_counter()
            values[lanes] = play(ModelPolicy(decoder), openers, lanes)
            seconds[lanes] += time.perf_counter() - started
        same = same and np.array_equal(values[1], values[FEW])
    return seconds[1] / seconds[FEW], same


def main() -> None:
    """Train, score, compare, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", default="generalist")
    parser.add_argument("--tokens", type=whole, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    suite = load_catalog().suite(options.suite)
    decoder, training = train(suite, options.tokens)
    scoring = []
    for _ in range(options.rounds):
        started = time.perf_counter()
        score_candidate(decoder, suite, "select")
        scoring.append(time.perf_counter() - started)
    told = ", ".join(f"{seconds / training:.3f}" for seconds in scoring)
    print(f"training on {options.tokens:,} tokens took {training:.0f} s on one thread")
    print(f"scoring took {statistics.median(scoring):.0f} s: {told} of that")
    ratios = [compare(decoder, suite) for _ in range(options.rounds)]
    told = ", ".join(f"{ratio:.2f}" for ratio, _ in ratios)
    print(f"{FEW} episodes a task one by one over side by side: {told} times as long")
    print(f"all scores the same: {all(same for _, same in ratios)}")


if __name__ == "__main__":
    main()
