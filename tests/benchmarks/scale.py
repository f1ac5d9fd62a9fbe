"""Do predictions of larger models hold? On a finished study, and on models that are then trained.

    python tests/benchmarks/scale.py STUDY [--storage URL] [--candidates N --repeats R] [--tasks]
    python tests/benchmarks/scale.py STUDY --train --out FOLDER [--tokens N] [--scale 10x]

The first leaves out what is like an extrapolation and predicts it from the rest: the highest rung of each
candidate that got there, then the dearest quarter of the candidates, as ones that the study has not seen,
then the highest rung of those. `--candidates` repeats this on random subsets of the candidates, as in smaller
studies; `--tasks` takes the fraction of each task as the score. It prints how many fell within their 90%
interval, the mean error (what was scored minus what was predicted), its root mean square (and over that of
the best guess without a law: the mean score of the last rung or of all other candidates), and the mean width
of the intervals (and over that guess's, plus and minus 1.64 standard deviations).

Seen on a study of `quick` with 59 candidates at three rungs, beside the law of `extrapolate.py` before it was
the sampler's (a pure power law), as coverage / root mean square / width:

    candidates      highest rung        before              dearest             before
    59              0.97 0.033 0.124    0.73 0.050 0.131    0.92 0.043 0.129    0.85 0.043 0.121
    24, 12 times    0.96 0.036 0.127    0.81 0.048 0.148    0.94 0.042 0.151    0.91 0.042 0.140
    12, 30 times    0.94 0.039 0.129    0.91 0.038 0.151    0.91 0.045 0.152    0.84 0.046 0.140
    8, 40 times     0.95 0.041 0.141    0.94 0.037 0.155    0.95 0.048 0.185    0.91 0.050 0.177
    20, each task   0.91 0.096 0.223    0.89 0.090 0.163    0.90 0.158 0.353    0.86 0.179 0.317

Predictions of the highest rung are too high by 0.02 to 0.03 on average: the addition to the power of data
beyond the rungs is more than this study needed. With it at 1.0 instead of 0.7 they were too high by 0.03 to
0.04, and 0.90 to 0.92 of them lay in the interval.

The earlier law, on five studies of `quick`: at the highest rung 18 of 20 were within (10 of the first 16
where all candidates gain alike from data), of the dearest candidates 26 of 31. Size as active parameters, all
parameters or FLOPs without the head ended within 0.012 of the same errors. Of three candidates that were
trained ten times as large on as many tokens all ended within, 0.02 to 0.04 below what was predicted.

`--train` exports the best and the knee at `--scale`, trains each for the trial's own tokens (or `--tokens`)
and scores it on both splits. Predictions are fitted to select scores, so the select score is what they are
compared with; the report score stands beside it, as on the card.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from search.commands.options import scale, whole
from search.export.extrapolate import Curves, Interval, Observation, observations, too_small
from search.export.write import export_grown
from search.read.results import Reader
from space.growth import TargetSize
from space.study import Rungs
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


def by_task(reader: Reader, study: str, rungs: Rungs) -> Iterator[list[Observation]]:
    """The trials with the fraction of one task as their score, for each task."""
    rows = [row for row in reader.trials(study) if row.state == "done"]
    scores = reader.task_scores(study, [row.number for row in rows])
    for task in reader.suite(study).tasks:
        found = [(row, scores[row.number][task]) for row in rows]
        yield observations(
            [replace(row, score=score.fraction, stderr=score.fraction_stderr) for row, score in found], rungs
        )


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
    parser.add_argument("--tasks", action="store_true")
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
    rungs = reader.config(options.study).rungs
    parts = [observations(reader.trials(options.study), rungs)]
    if options.tasks:
        parts = list(by_task(reader, options.study, rungs))
    if options.candidates is not None:
        parts = [few for part in parts for few in subsets(part, options.candidates, options.repeats)]
    held: dict[str, list[Held]] = defaultdict(list)
    for part in parts:
        for label, found in leave_out(part).items():
            held[label] += found
    for label, found in held.items():
        told(label, found)


if __name__ == "__main__":
    main()
