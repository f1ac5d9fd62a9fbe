"""Which channels to keep? Rules compared on an export, before any retraining.

    python tests/benchmarks/pruning.py best/ [--channels 0.5] [--batches 64]

Prints for each rule the divergence from the parent in nats a scored token, over that of the rule that
`pathfront shrink` follows, on batches that neither has seen; with the `down` columns of the kept channels as
they were, and fitted. Expect the rule of `shrink` below all others, and fitting to lower each of them.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

import trainers.exports.prune
from space.recipe import Recipe
from trainers.batch import Batch
from trainers.data import Mixer, load_corpora
from trainers.exports.distil import answers, divergence
from trainers.exports.load import load_decoder
from trainers.exports.prune import eliminate, measure_moments, prune
from trainers.exports.shrink import narrower
from trainers.model.decoder import Decoder

BOTH = (False, True)
HELD_OUT = range(1_000_000, 1_000_032)  # steps

Rule = Callable[[Tensor, Tensor], Tensor]  # down, moment -> importance (experts, hidden)


def taylor(decoder: Decoder, batches: Iterable[Batch]) -> dict[tuple[float, ...], Tensor]:
    """Squared first-order change of the loss when a channel goes, by `key` of its network.

    What a channel's loss changes is the product of its `down` column and that column's gradient
    (Molchanov 2019, https://arxiv.org/abs/1906.10771).
    """
    columns = {name: part for name, part in decoder.named_parameters() if name.endswith("down")}
    found = {name: part.new_zeros(part.shape[:-2] + part.shape[-1:]) for name, part in columns.items()}
    for batch in batches:
        decoder.zero_grad()
        logits, _ = answers(decoder, batch)
        (F.cross_entropy(logits, batch.targets, reduction="none") * batch.weights).sum().backward()
        for name, part in columns.items():
            assert part.grad is not None
            found[name] += (part.detach() * part.grad).sum(dim=-2).square()
    decoder.zero_grad()
    return {key(part.detach()): found[name].view(-1, part.shape[-1]) for name, part in columns.items()}


def key(down: Tensor) -> tuple[float, ...]:
    """What tells one network's `down` from another's."""
    return tuple(down.flatten()[:8].tolist())


def keep_best(rule: Rule, fitted: bool) -> Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]:
    """A stand-in for `eliminate` that keeps the channels that a rule finds most important."""

    def choose(down: Tensor, moment: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        kept = rule(down, moment).topk(keep).indices.sort(dim=-1).values
        return kept, columns(down.double(), moment, kept, fitted)

    return choose


def keep_ours(fitted: bool) -> Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]:
    """`eliminate`, or its choice without the fit."""

    def choose(down: Tensor, moment: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        kept, fit = eliminate(down, moment, keep)
        return kept, fit if fitted else columns(down, moment, kept, fitted=False)

    return choose


def columns(down: Tensor, moment: Tensor, kept: Tensor, fitted: bool) -> Tensor:
    """The kept columns (experts, width, keep), as they are or by least squares."""
    if not fitted:
        return down.gather(2, kept.unsqueeze(1).expand(-1, down.shape[1], -1))
    across = moment.gather(2, kept.unsqueeze(1).expand(-1, moment.shape[1], -1))
    within = across.gather(1, kept.unsqueeze(2).expand(-1, -1, kept.shape[1]))
    return down @ across @ torch.linalg.inv(within)


@torch.no_grad()
def distance(child: Decoder, parent: Decoder, batches: Iterable[Batch]) -> float:
    """Mean divergence of a child from its parent, tasks weighted as in the loss."""
    total = 0.0
    for count, batch in enumerate(batches, start=1):
        ours, theirs = answers(child, batch)[0], answers(parent, batch)[0]
        total += ((divergence(ours, theirs) * batch.weights).sum().item() - total) / count
    return total


def main() -> None:
    """Measure, prune by every rule, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--channels", type=float, default=0.5)
    parser.add_argument("--batches", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = Recipe.read(options.folder)
    parent = load_decoder(options.folder, recipe).eval()
    arch = narrower(recipe.candidate.architecture, options.channels)
    mixer = Mixer(load_corpora(recipe.suite), recipe.candidate.mixture, recipe.suite, recipe.seed + 1)
    seen = [mixer.batch(step) for step in range(options.batches)]
    unseen = [mixer.batch(step) for step in HELD_OUT]
    moments = measure_moments(parent, seen)
    sensitivity = taylor(parent, seen)
    rules: dict[str, Rule] = {
        "random": lambda down, moment: torch.rand(len(down), down.shape[-1]),
        "norm of the down column": lambda down, moment: down.norm(dim=1),
        "activation and norm": lambda down, moment: moment.diagonal(dim1=1, dim2=2) * down.square().sum(1),
        "Taylor": lambda down, moment: sensitivity[key(down)],
    }
    choices = {(name, fitted): keep_best(rule, fitted) for name, rule in rules.items() for fitted in BOTH}
    choices |= {("one by one", fitted): keep_ours(fitted) for fitted in BOTH}
    found = {}
    for which, choose in choices.items():
        with patch.object(trainers.exports.prune, "eliminate", choose):
            found[which] = distance(prune(parent, arch, moments), parent, unseen)
    ours = found["one by one", True]
    print(f"shrink's rule: {ours:.5f} nats from the parent; others, as they were and fitted, over that:")
    for name in (*rules, "one by one"):
        print(f"{name:26} {found[name, False] / ours:8.1f} {found[name, True] / ours:8.1f}")


if __name__ == "__main__":
    main()
