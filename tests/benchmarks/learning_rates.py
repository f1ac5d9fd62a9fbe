"""Does one learning rate fit all sizes? The best rate of narrow and wide, shallow and deep candidates.

    python tests/benchmarks/learning_rates.py                      # three widths, AdamW, a sparse candidate
    python tests/benchmarks/learning_rates.py --depths 1,2,4 --widths 64
    python tests/benchmarks/learning_rates.py --optimizer muon --experts 1

Each size is trained on the suite at each rate of a grid of factors of 2, through the trainer of the search,
and judged by its loss on windows that it was not trained on. The best rate is where a parabola through the
three best points of the grid, over the logarithm of the rate, has its bottom.

Expect on two CPU cores: a quarter of an hour, and best rates within a factor of two.
"""

import argparse
import itertools
import statistics

import numpy as np
import torch
from torch.nn import functional as F

from search.commands.options import whole
from space.candidate import Architecture, CandidateConfig
from space.catalog import load_catalog
from space.contract import Budget
from space.errors import PathfrontError
from space.mixture import TaskMixture
from space.records import SuiteRecord
from trainers.data import Mixer, load_corpora
from trainers.model.decoder import Decoder
from trainers.specialist import Silent
from trainers.train import fit_candidate

HELD_OUT_SEED = 10_000  # another order of the data than any training run's
HELD_OUT_BATCHES = 60
DECAY = 0.2


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def held_out_loss(decoder: Decoder, suite: SuiteRecord) -> float:
    """Loss, weighted as in training, on windows in an order that training has not used."""
    mixer = Mixer(load_corpora(suite), TaskMixture.uniform(suite.tasks), suite, HELD_OUT_SEED)
    losses = []
    with torch.inference_mode():
        for step in range(HELD_OUT_BATCHES):
            batch = mixer.batch(step)
            hidden, _ = decoder(batch.tokens, batch.local, batch.patches, batch.segment)
            logits = decoder.logits(hidden.flatten(0, 1)[batch.at])
            nats = F.cross_entropy(logits, batch.targets, reduction="none")
            losses.append((nats * batch.weights).sum().item())
    return statistics.mean(losses)


def trained_loss(candidate: CandidateConfig, suite: SuiteRecord, tokens: int, seed: int) -> float:
    """Held-out loss after training; infinite where training diverged."""
    decay = round(DECAY * tokens)
    budget = Budget(
        tokens=tokens - decay, decay_tokens=decay, seed=seed, checkpoint_seconds=1e9, device="cpu"
    )
    try:
        decoder = fit_candidate(candidate, suite, budget, None, Silent()).decoder
    except PathfrontError:
        return float("inf")
    return held_out_loss(decoder.eval(), suite)


def best_rate(rates: list[float], losses: list[float]) -> float:
    """Bottom of the parabola through the best point and its neighbours; the point itself at an edge."""
    at = int(np.argmin(losses))
    if not 0 < at < len(rates) - 1 or not np.isfinite(losses[at - 1 : at + 2]).all():
        return rates[at]
    a, b, _ = np.polyfit(np.log(rates[at - 1 : at + 2]), losses[at - 1 : at + 2], 2)
    return float(np.exp(-b / (2 * a)))


def main() -> None:
    """Train every size at every rate, and print losses and best rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--widths", type=numbers, default=[48, 96, 192])
    parser.add_argument("--depths", type=numbers, default=[2])
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--optimizer", default="adamw", choices=["adamw", "muon"])
    parser.add_argument("--tokens", type=whole, default=200_000)
    parser.add_argument("--rates", default="1e-3,2e-3,4e-3,8e-3,1.6e-2")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    suite = load_catalog().suite(options.suite)
    rates = [float(rate) for rate in options.rates.split(",")]
    print("loss at a learning rate of " + "".join(f"{rate:>9g}" for rate in rates) + "     best")
    found = []
    for depth, width in itertools.product(options.depths, options.widths):
        architecture = Architecture(
            depth=depth, width=width, experts=options.experts, top_k=min(2, options.experts), expert_ratio=1
        )
        losses = []
        for rate in rates:
            candidate = CandidateConfig(
                architecture=architecture,
                mixture=TaskMixture.uniform(suite.tasks),
                learning_rate=rate,
                optimizer=options.optimizer,
            )
            seeds = range(options.seeds)
            losses.append(
                statistics.mean(trained_loss(candidate, suite, options.tokens, seed) for seed in seeds)
            )
        found.append(best_rate(rates, losses))
        told = "".join(f"{loss:9.4f}" for loss in losses)
        print(f"depth {depth:2d}, width {width:4d}       {told}  {found[-1]:.2e}", flush=True)
    print(f"the largest best rate over the smallest: {max(found) / min(found):.2f}")


if __name__ == "__main__":
    main()
