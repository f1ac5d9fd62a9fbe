"""Do predictions of larger models hold? On a finished study, and on models that are then trained.

    python tests/benchmarks/scale.py STUDY [--storage URL] [--candidates N --repeats R]
    python tests/benchmarks/scale.py STUDY --train --out FOLDER [--tokens N] [--scale 10x]

The first leaves out what is like an extrapolation and predicts it from the rest: the highest rung of each
candidate that got there, then the dearest quarter of the candidates, as ones that the study has not seen, then
the highest rung of those. `--candidates` repeats this on random subsets of the candidates, as in smaller
studies. It prints how many fell within their 90% interval, the mean error, its root mean square (and over that
of the best guess without a law: the mean score of the last rung or of all other candidates), and the mean width
of the intervals (and over that guess's, plus and minus 1.64 standard deviations).

TABLE

`--train` exports the best and the knee at `--scale`, trains each for the trial's own tokens (or `--tokens`)
and scores it on both splits. Predictions are fitted to select scores, so the select score is what they are
compared with; the report score stands beside it, as on the card.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from search.commands.options import scale, whole
from search.export.extrapolate import Curves, Interval, Observation, observations, too_small
from search.export.write import export_grown
from search.read.results import Reader
from space.growth import TargetSize
from trainers.exports.full import evaluate_export, train_export
from trainers.tasks.tokenizer import tokenizer_model

DEAREST = 0.25  # share of the candidates that is left out
NORMAL_90 = 1.645


class Held(NamedTuple):
    """What was left out, what was predicted of it, and a guess that knows no law: a normal distribution."""

    score: float
    predicted: Interval
    guess: float
    guess_std: float

    @property
    def within(self) -> bool:
        """Whether the interval holds the score."""
        return self.predicted.low <= self.score <= self.predicted.high


def predict(
    kept: Sequence[Observation], left_out: Sequence[Observation], guess: Sequence[float]
) -> Iterator[Held]:
    """Predict trials from others; the guess is the mean of some scores."""
    why = too_small(kept)
    if why is not None:
        raise SystemExit(f"what is left is too small: {why}")
    curves, known = Curves(kept), {trial.candidate for trial in kept}
    for trial in left_out:
        name = trial.candidate if trial.candidate in known else None
        point = curves.predict(name, trial.flops_per_token, trial.tokens)
        yield Held(trial.score, point, float(np.mean(guess)), float(np.std(guess)))


def told(label: str, held: Sequence[Held]) -> None:
    """Print how predictions did, beside the guess."""
    within = sum(point.within for point in held)
    width = np.mean([point.predicted.high - point.predicted.low for point in held])
    errors = np.array([point.score - point.predicted.score for point in held])
    plain = np.array([point.score - point.guess for point in held])
    size, plain_size = np.sqrt(np.mean(errors**2)), np.sqrt(np.mean(plain**2))
    plain_width = 2 * NORMAL_90 * np.mean([point.guess_std for point in held])
    print(
        f"{label}: {within} of {len(held)} ({within / len(held):.2f}) within their 90% interval, error"
        f" {errors.mean():+.3f}, root mean square {size:.3f} ({size / plain_size:.2f} of the guess's), width"
        f" {width:.3f} ({width / plain_width:.2f} of the guess's)"
    )


def leave_out(seen: Sequence[Observation]) -> dict[str, list[Held]]:
    """Leave out the highest rung, the dearest candidates, and both."""
    top = max(trial.tokens for trial in seen)
    below = [trial for trial in seen if trial.tokens < top]
    last = max(trial.tokens for trial in below)
    limit = np.quantile(sorted({trial.flops_per_token for trial in seen}), 1 - DEAREST)

    def scores(trials: Sequence[Observation], tokens: int) -> list[float]:
        climbed = {trial.candidate for trial in seen if trial.tokens == top}
        return [trial.score for trial in trials if trial.tokens == tokens and trial.candidate in climbed]

    cheap = [trial for trial in seen if trial.flops_per_token <= limit]
    dear = [trial for trial in seen if trial.flops_per_token > limit]
    cheap_below = [trial for trial in cheap if trial.tokens < top]
    on_top = [trial for trial in seen if trial.tokens == top]
    dear_on_top = [trial for trial in dear if trial.tokens == top]
    return {
        "highest rung": list(predict(below, on_top, scores(below, last))),
        "dearest candidates": list(predict(cheap, dear, [trial.score for trial in cheap])),
        "highest rung of the dearest": list(predict(cheap_below, dear_on_top, scores(cheap_below, last))),
    }


def subsets(seen: Sequence[Observation], candidates: int, repeats: int) -> Iterator[list[Observation]]:
    """The trials of random subsets of the candidates."""
    rng, names = np.random.default_rng(0), sorted({trial.candidate for trial in seen})
    for _ in range(repeats):
        kept = set(rng.choice(names, candidates, replace=False))
        yield [trial for trial in seen if trial.candidate in kept]


def train(reader: Reader, study: str, out: Path, size: TargetSize, tokens: int | None) -> None:
    """Train the best and the knee at a larger scale, and set their scores beside what was predicted."""
    for pick in ("best", "knee"):
        folder = out / pick
        recipe = export_grown(
            reader, study, folder, lambda suite: tokenizer_model(suite.tokenizer), size, tokens, pick
        )
        assert recipe.grown is not None
        if not recipe.grown.predicted:
            raise SystemExit(f"nothing is predicted: {recipe.grown.unknown}")
        point = recipe.grown.predicted[0]
        report = train_export(folder, point.tokens, lambda *_: None)
        select = evaluate_export(folder, "select")
        verdict = "within" if point.low <= select.score <= point.high else "outside"
        print(
            f"{pick}, {recipe.grown.factor:.1f} times larger, {point.tokens:,} tokens: select"
            f" {select.score:.3f} ± {select.stderr:.3f}, {verdict} {point.low:.3f} to {point.high:.3f}"
            f" (predicted {point.score:.3f}); report {report.score:.3f} ± {report.stderr:.3f};"
            f" the trial itself had {recipe.origin.score:.3f}"
        )


def main() -> None:
    """Leave out and predict, or train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--storage", default="sqlite:///pathfront.db")
    parser.add_argument("--candidates", type=int)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("scaled"))
    parser.add_argument("--scale", type=scale, default=TargetSize(10, relative=True))
    parser.add_argument("--tokens", type=whole)
    options = parser.parse_args()
    torch.set_num_threads(1)
    reader = Reader(options.storage)
    if options.train:
        train(reader, options.study, options.out, options.scale, options.tokens)
        return
    seen = observations(reader.trials(options.study), reader.config(options.study).rungs)
    parts = [seen] if options.candidates is None else subsets(seen, options.candidates, options.repeats)
    held: dict[str, list[Held]] = defaultdict(list)
    for part in parts:
        for label, found in leave_out(part).items():
            held[label] += found
    for label, found in held.items():
        told(label, found)


if __name__ == "__main__":
    main()
