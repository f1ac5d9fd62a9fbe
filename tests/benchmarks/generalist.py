"""Can one network play them all? One sparse candidate, trained on the suite `generalist` and scored on it.

    python tests/benchmarks/generalist.py [--tokens 24M] [--out generalist] [--batch-tokens 4096]

Makes an export of a candidate that nobody searched and trains it in full, as `pathfront train` does: the same
command goes on with what was begun. Prints the table of the report episodes and how many tasks are above half
of the expert.
"""

import argparse
import time
from pathlib import Path

from search.commands import output
from search.commands.options import whole
from search.commands.scores import print_scorecard
from space.candidate import Architecture, CandidateConfig
from space.catalog import load_catalog
from space.mixture import TaskMixture
from space.recipe import CONFIG_FILE, TOKENIZER_FILE, Origin, Recipe
from trainers.exports.full import train_export
from trainers.tasks.prepare import prepare
from trainers.tasks.tokenizer import tokenizer_model

ARCHITECTURE = Architecture(depth=3, width=128, experts=8, top_k=2, expert_ratio=1, head_dim=32)
LEARNING_RATE = 3e-3
ORIGIN = Origin(study="generalist-benchmark", trial=0, rung=0, tokens=0, score=0.0, score_stderr=0.0)


def main() -> None:
    """Train, or go on with it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=whole, default=24_000_000)
    parser.add_argument("--out", type=Path, default=Path("generalist"))
    parser.add_argument("--batch-tokens", type=whole, default=4096)
    parser.add_argument("--suite", default="generalist")
    options = parser.parse_args()
    suite = load_catalog().suite(options.suite).model_copy(update={"batch_tokens": options.batch_tokens})
    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.out / CONFIG_FILE).exists():
        candidate = CandidateConfig(
            architecture=ARCHITECTURE, mixture=TaskMixture.uniform(suite.tasks), learning_rate=LEARNING_RATE
        )
        (options.out / TOKENIZER_FILE).write_bytes(tokenizer_model(suite.tokenizer))
        Recipe(candidate=candidate, suite=suite, origin=ORIGIN, weights_sha256="").write(options.out)
    with output.Meter("data", len(suite.tasks)) as meter:
        prepare(suite, 2, lambda task, done, total: meter.update(done, task, total))
    started = time.monotonic()
    with output.Meter("training", options.tokens) as meter:
        card = train_export(
            options.out,
            options.tokens,
            lambda done, loss, speed: meter.update(done, f"loss {loss:.3f}, {output.short(speed)} tokens/s"),
        )
    print_scorecard(card, suite)
    spent = card.spent
    print(f"above half of the expert on {card.above(0.5)} of {len(card.tasks)} tasks, report episodes")
    print(
        f"this call took {time.monotonic() - started:.0f} s; training {spent.wall_seconds:.0f} s in all,"
        f" scoring {spent.evaluation_seconds:.0f} s; {spent.training_flops:.3g} training FLOPs"
    )


if __name__ == "__main__":
    main()
