"""How much faster is a model with half the channels? Counted and measured, over widths of the experts.

    python tests/benchmarks/shrunk_speed.py [--suite quick] [--rounds 30]

Prints for each shape the experts' share of the FLOPs, and how many times as fast the half is, by FLOPs and by
the clock (median and quartiles, both models in turn). Expect the clock to stay below the FLOPs, which count
neither sorting tokens to experts nor norms, and both to stay below 2, which only the experts' part reaches.
"""

import argparse

import torch

from space.candidate import Architecture
from space.catalog import load_catalog
from space.cost import price
from space.mixture import TaskMixture
from trainers.data import Mixer, load_corpora
from trainers.exports.shrink import narrower
from trainers.exports.speed import measure_speeds
from trainers.model.decoder import Decoder

SHAPES = [
    Architecture(depth=3, width=96, experts=16, top_k=4, expert_ratio=1),
    Architecture(depth=3, width=128, experts=8, top_k=2, expert_ratio=2, head_dim=32),
    Architecture(depth=3, width=256, experts=8, top_k=2, expert_ratio=4, head_dim=32),
]


def main() -> None:
    """Time each shape and its half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    suite = load_catalog().suite(options.suite)
    batch = Mixer(load_corpora(suite), TaskMixture.uniform(suite.tasks), suite, seed=0).batch(0)
    for wide in SHAPES:
        narrow = narrower(wide, 0.5)
        before, after = price(wide, suite), price(narrow, suite)
        speeds = measure_speeds(Decoder(wide, suite), Decoder(narrow, suite), batch, options.rounds)
        shape = f"width {wide.width}, {wide.experts_in_words} of {wide.expert_width}"
        print(f"{shape}: experts {before.network_flops_per_token / before.flops_per_token:.0%} of the FLOPs")
        print(f"  FLOPs {before.flops_per_token / after.flops_per_token:.2f} times fewer")
        print(f"  forward {speeds.forward} times as fast, forward and backward {speeds.training}")


if __name__ == "__main__":
    main()
