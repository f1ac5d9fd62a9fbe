"""Do predictions of larger models hold? On a finished study, and on models that are then trained.

    python tests/benchmarks/scale.py STUDY [--storage URL]
    python tests/benchmarks/scale.py STUDY --train --out FOLDER [--tokens N] [--scale 10x]

The first leaves out what is like an extrapolation and predicts it from the rest: the highest rung of each
candidate that got there, then the dearest quarter of the candidates, as ones that the study has not seen.
It prints how many fell within their 90% interval, the mean width of the intervals over that of the best guess
without a law (the scores of the last rung or of all other candidates, plus and minus 1.64 standard
deviations), and the error.

Seen on five studies of `quick`, two of them by earlier versions: at the highest rung 18 of 20 were within (10
of the first 16 where all candidates gain alike from data), of the dearest candidates 26 of 31; errors 0.02 to
0.04 and 0.05 to 0.10. Size as active parameters, all parameters or FLOPs without the head ended within 0.012
of the same errors.

Of three candidates that were trained ten times as large on as many tokens all ended within, 0.02 to 0.04
below what was predicted: the law promises too much of size where the tokens stay as few.

`--train` exports the best and the knee at `--scale`, trains each for the trial's own tokens (or `--tokens`)
and scores it on both splits. Predictions are fitted to select scores, so the select score is what they are
compared with; the report score stands beside it, as on the card.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from search.commands.options import scale, whole
from search.export.extrapolate import Curves, Observation, observations, too_small
from search.export.write import export_grown
from search.read.results import Reader
from space.growth import TargetSize
from trainers.exports.full import evaluate_export, train_export
from trainers.tasks.tokenizer import tokenizer_model

DEAREST = 0.25  # share of the candidates that is left out
NORMAL_90 = 1.645


class Held(NamedTuple):
    """What was left out and what was predicted of it."""

    score: float
    predicted: float
    low: float
    high: float


def predict(kept: Sequence[Observation], left_out: Sequence[Observation]) -> list[Held]:
    """Predict trials from others."""
    why = too_small(kept)
    if why is not None:
        raise SystemExit(f"what is left is too small: {why}")
    curves, known = Curves(kept), {trial.candidate for trial in kept}
    held = []
    for trial in left_out:
        name = trial.candidate if trial.candidate in known else None
        point = curves.predict(name, trial.flops_per_token, trial.tokens)
        held.append(Held(trial.score, point.score, point.low, point.high))
    print(f"exponents: size {curves.exponents[0]:.2f}, tokens {curves.exponents[1]:.2f}")
    return held


def told(label: str, held: Sequence[Held], guess: Sequence[float]) -> None:
    """Print how predictions did, beside a guess that knows no law: the mean of some scores."""
    within = sum(point.low <= point.score <= point.high for point in held)
    width = np.mean([point.high - point.low for point in held])
    error = np.sqrt(np.mean([(point.score - point.predicted) ** 2 for point in held]))
    plain = np.sqrt(np.mean([(point.score - np.mean(guess)) ** 2 for point in held]))
    print(f"{label}: {within} of {len(held)} within their 90% interval, mean width {width:.3f}")
    print(f"  error {error:.3f}, {error / plain:.2f} of that of the mean of what was left")
    print(f"  width {width / (2 * NORMAL_90 * np.std(guess)):.2f} of that mean's")


def leave_out(seen: list[Observation]) -> None:
    """Leave out the highest rung, then the dearest candidates."""
    top = max(trial.tokens for trial in seen)
    below = [trial for trial in seen if trial.tokens < top]
    last = max(trial.tokens for trial in below)
    climbed = {trial.candidate for trial in seen if trial.tokens == top}
    guess = [trial.score for trial in below if trial.tokens == last and trial.candidate in climbed]
    told("highest rung", predict(below, [trial for trial in seen if trial.tokens == top]), guess)
    limit = np.quantile(sorted({trial.flops_per_token for trial in seen}), 1 - DEAREST)
    cheap = [trial for trial in seen if trial.flops_per_token <= limit]
    dear = [trial for trial in seen if trial.flops_per_token > limit]
    told("dearest candidates", predict(cheap, dear), [trial.score for trial in cheap])


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
    leave_out(observations(reader.trials(options.study), reader.config(options.study).rungs))


if __name__ == "__main__":
    main()
