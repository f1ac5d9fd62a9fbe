"""Do bins learn faster when neighbours look alike from the start? Smooth against independent embeddings.

    python tests/benchmarks/bins.py [--tokens 300k] [--seeds 2] [--task cartpole ...]

Trains a small dense decoder on each task alone, from the same seeds, once with the bins' embeddings as smooth
waves of their value (as candidates have them) and once with independent normal ones. Prints the fraction of
the expert on the select episodes of both, side by side.
"""

import argparse
from unittest.mock import patch

import torch
from torch import Tensor

from search.commands.options import whole
from space.candidate import Architecture, CandidateConfig
from space.catalog import OWN_SETTINGS, load_catalog
from space.contract import Budget
from space.mixture import TaskMixture
from trainers.evaluate import ModelPolicy
from trainers.specialist import Silent
from trainers.tasks.registry import load_task
from trainers.train import fit_candidate

TASKS = ("cartpole", "inverted-pendulum", "dm-point-mass-easy", "metaworld-reach", "metaworld-faucet-open")
ARCHITECTURE = Architecture(depth=2, width=96, expert_ratio=2, head_dim=32)


def independent(bins: int, width: int) -> Tensor:
    """What stands in for the waves: nothing that neighbours share. Shape (bins, width), std 1."""
    return torch.randn(bins, width)


def score(name: str, tokens: int, seed: int) -> float:
    """Fraction of the expert after training on one task alone."""
    suite = load_catalog().suite(OWN_SETTINGS)
    alone = suite.model_copy(update={"name": name, "tasks": (name,), "batch_tokens": 1024})
    candidate = CandidateConfig(
        architecture=ARCHITECTURE, mixture=TaskMixture.uniform((name,)), learning_rate=3e-3
    )
    budget = Budget(tokens=tokens, decay_tokens=tokens // 5, seed=seed, checkpoint_seconds=1e9)
    decoder = fit_candidate(candidate, alone, budget, None, Silent()).decoder
    task = load_task(name, suite)
    values = task.score(ModelPolicy(decoder), "select", task.eval_episodes)
    return suite.records[name].fraction(float(values.mean()), "select")


def main() -> None:
    """Train in pairs and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=whole, default=300_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--task", action="append")
    options = parser.parse_args()
    torch.set_num_threads(1)
    gains = []
    for name in options.task or TASKS:
        for seed in range(options.seeds):
            smooth = score(name, options.tokens, seed)
            with patch("trainers.model.decoder.waves", independent):
                plain = score(name, options.tokens, seed)
            gains.append(smooth - plain)
            print(f"{name:24} seed {seed}  smooth {smooth:.3f}  independent {plain:.3f}", flush=True)
    mean = sum(gains) / len(gains)
    spread = (sum((gain - mean) ** 2 for gain in gains) / max(1, len(gains) - 1) / len(gains)) ** 0.5
    print(f"smooth less independent: {mean:+.3f} ± {spread:.3f} (s.e. over {len(gains)} pairs)")


if __name__ == "__main__":
    main()
