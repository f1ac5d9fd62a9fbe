"""Does a demonstration before each episode help? An export, scored with and without one.

    python tests/benchmarks/prompts.py DIR [--split select]

Prints the fraction of the expert of each task both ways, and the seconds that each took.
"""

import argparse
import time
from pathlib import Path

import torch

from space.recipe import Recipe
from space.scores import Scorecard
from trainers.evaluate import score_candidate
from trainers.exports.load import load_decoder


def main() -> None:
    """Score twice and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", choices=("select", "report"), default="select")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe.read(options.folder)
    decoder = load_decoder(options.folder, recipe)
    cards, seconds = [], []
    for prompted in (False, True):
        suite = recipe.suite.model_copy(update={"prompted": prompted})
        started = time.perf_counter()
        cards.append(Scorecard.of(suite, score_candidate(decoder, suite, options.split), options.split))
        seconds.append(time.perf_counter() - started)
    bare, prompted = cards
    for name, task in bare.tasks.items():
        other = prompted.tasks[name]
        told = f"bare {task.fraction:6.3f} ± {task.fraction_stderr:.3f}  prompted {other.fraction:6.3f}"
        print(f"{name:32} {told}")
    print(f"score: bare {bare.score:.3f}, prompted {prompted.score:.3f} (s.e. {bare.stderr:.3f} each)")
    print(f"seconds: bare {seconds[0]:.0f}, prompted {seconds[1]:.0f}")


if __name__ == "__main__":
    main()
