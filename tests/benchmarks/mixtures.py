r"""Does the searched mixture beat the uniform one? One architecture, equal tokens, fresh seeds in pairs.

    python tests/benchmarks/mixtures.py --study quick --storage sqlite:///pathfront.db --out mixtures.jsonl
    python tests/benchmarks/mixtures.py --study quick --storage sqlite:///pathfront.db --out mixtures.jsonl \
        --report

Takes the best candidate of a finished study at the highest rung, and trains it from the first step to that
rung, decay branch included, with each of several seeds that no search has used: once with its own mixture
and once with the uniform one. Both are scored on the report episodes, which no search has seen. The mixture
was chosen on other seeds and other episodes, so a lucky choice counts with what it is worth. Prints the mean
difference of each pair, own less uniform, for the score and for each task, with a 95% interval (Student's t
over seeds).

Trainings are noted in the file and are not done again: a call that was stopped continues with the next one.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from search.commands import output
from search.read.results import Reader
from space.candidate import CandidateConfig
from space.contract import Budget, CheckpointKind
from space.errors import NotFoundError
from space.mixture import TaskMixture
from space.records import SuiteRecord
from space.scores import score_weights
from trainers.tasks.prepare import prepare
from trainers.train import train_candidate

FRESH_SEED = 1_000  # the first seed; searches use small ones
OWN, UNIFORM = "own", "uniform"
LEVEL = 0.95

Line = dict[str, Any]


class Progress:
    """Shows how far a training is; keeps no checkpoint, since a training takes a minute."""

    stopping = False

    def __init__(self, meter: output.Meter) -> None:
        self._meter = meter

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Show the loss."""
        self._meter.update(tokens, f"loss {loss:.3f}")

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Keep nothing."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", required=True, help="a finished study")
    parser.add_argument("--storage", required=True, help="URL of its database")
    parser.add_argument("--out", type=Path, required=True, help="file of the trainings, one a line")
    parser.add_argument("--seeds", type=int, default=8, help="pairs to train")
    parser.add_argument("--report", action="store_true", help="report what there is; train nothing")
    return parser.parse_args()


def best_candidate(reader: Reader, study: str) -> tuple[CandidateConfig, int]:
    """The candidate with the best score at the highest rung, and the number of its trial.

    Raises:
        NotFoundError: no trial of the highest rung has a score.
    """
    top = len(reader.config(study).rungs.tokens) - 1
    finalists = [row for row in reader.finalists(study) if row.rung == top]
    scored = [(row.score, row.number) for row in finalists if row.score is not None]
    if not scored:
        raise NotFoundError(f"study '{study}' has no score at its highest rung")
    _, number = max(scored)
    return reader.trial(study, number).config, number


def trained(candidate: CandidateConfig, suite: SuiteRecord, budget: Budget, mixture: str) -> Line:
    """Train a candidate from the first step, and score it on the report episodes."""
    label = f"seed {budget.seed}, {mixture} mixture"
    with output.Meter(label, budget.tokens + budget.decay_tokens) as meter:
        card = train_candidate(candidate, suite, budget, None, Progress(meter))
    return {
        "mixture": mixture,
        "seed": budget.seed,
        "score": card.score,
        "stderr": card.stderr,
        "tasks": {name: task.fraction for name, task in card.tasks.items()},
        "tokens": card.spent.tokens,
        "training_flops": card.spent.training_flops,
        "epochs": card.spent.epochs,
    }


def differences(lines: Sequence[Line], value: Callable[[Line], float]) -> np.ndarray:
    """Own mixture less uniform, for each seed that has both."""
    of = {(line["mixture"], line["seed"]): value(line) for line in lines}
    seeds = sorted(seed for mixture, seed in of if mixture == OWN and (UNIFORM, seed) in of)
    return np.array([of[OWN, seed] - of[UNIFORM, seed] for seed in seeds])


def interval(values: np.ndarray) -> str:
    """Mean and 95% interval by Student's t; the mean alone for fewer than two values."""
    if len(values) < 2:
        return f"{values.mean():+.4f}"
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.4f} [{values.mean() - half:+.4f}, {values.mean() + half:+.4f}]"


def report(lines: Sequence[Line], candidate: CandidateConfig, suite: SuiteRecord) -> None:
    """Print the mean difference of the pairs, in the score and in each task."""
    pairs = differences(lines, lambda line: line["score"])
    if not len(pairs):
        print("no pair has been trained yet")
        return
    print(f"own mixture less uniform, {len(pairs)} paired seeds, mean [{LEVEL:.0%}], report episodes")
    for mixture in (OWN, UNIFORM):
        scores = [line["score"] for line in lines if line["mixture"] == mixture]
        print(f"mean score with the {mixture} mixture: {np.mean(scores):.4f}")
    print(f"difference in score: {interval(pairs)}; own is better in {int((pairs > 0).sum())} pairs\n")
    weights = score_weights(suite)
    print(
        "| task | share | share, uniform | weight in the score | difference in the fraction of the expert |"
    )
    print("|---|---|---|---|---|")
    for task in suite.tasks:
        change = interval(differences(lines, lambda line, task=task: line["tasks"][task]))
        share = candidate.mixture.weights[task]
        print(f"| {task} | {share:.3f} | {1 / len(suite.tasks):.3f} | {weights[task]:.3f} | {change} |")


def main() -> None:
    """Train what is missing, and report."""
    given = arguments()
    reader = Reader(given.storage)
    try:
        if not reader.status(given.study).finished:
            sys.exit(f"study '{given.study}' still runs; its best candidate may change")
        config, suite = reader.config(given.study), reader.suite(given.study)
        own, number = best_candidate(reader, given.study)
    finally:
        reader.close()
    uniform = own.model_copy(update={"mixture": TaskMixture.uniform(suite.tasks)})
    text = given.out.read_text(encoding="utf-8") if given.out.exists() else ""
    known = [json.loads(line) for line in text.splitlines()]
    lines = [line for line in known if line["study"] == given.study and line["candidate"] == own.id]
    top = len(config.rungs.tokens) - 1
    output.say(
        f"candidate {own.id} of trial {number}, {config.rungs.tokens[top]:,} tokens and a decay branch"
    )
    if not given.report:
        with output.Meter("data", len(suite.tasks)) as meter:
            prepare(suite, 1, lambda task, done, total: meter.update(done, task, total))
    for seed in range(FRESH_SEED, FRESH_SEED + given.seeds):
        for mixture, candidate in ((OWN, own), (UNIFORM, uniform)):
            if given.report or any((line["mixture"], line["seed"]) == (mixture, seed) for line in lines):
                continue
            whole = config.rungs.budget(top, seed=seed, split="report", device="cpu", checkpoint_seconds=1e9)
            budget = whole.model_copy(update={"start_tokens": 0, "rung": 0, "episodes": 1.0})
            line = trained(candidate, suite, budget, mixture)
            line |= {"study": given.study, "candidate": own.id}
            lines.append(line)
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    report(lines, own, suite)


if __name__ == "__main__":
    main()
