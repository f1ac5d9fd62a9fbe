"""How many tokens a second do loader processes assemble, and does a training wait for them?

    python tests/benchmarks/loaders.py
    python tests/benchmarks/loaders.py --seconds 10 --rounds 5

For four suites (that of `quick`, text alone, pictures alone, and text with control in windows as long as a
GPU is given) batches are taken as fast as they come: made in the process that takes them, by one loader,
and by two. Numbers of loaders take turns. Then the candidate of median cost in `quick` is trained with each
number, and the share of a step is printed that the training waits for its batch.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import move_data_to_device

from space.candidate import CandidateConfig
from space.mixture import TaskMixture
from space.records import SuiteRecord
from space.study import StudyConfig, read_study
from trainers.batch import Batch
from trainers.data import Mixer, MixtureData, load_corpora
from trainers.module import CandidateModule, Schedule
from trainers.tasks.prepare import prepare

SUITES: dict[str, dict[str, Any]] = {
    "quick": {},
    "text": {"suite": ("python-docs", "symbols-addition")},
    "image": {"suite": ("digits",)},
    "text and control, context 1024": {
        "suite": ("python-docs", "symbols-addition", "taxi", "frozen-lake", "cartpole", "pendulum"),
        "context": 1024,
        "batch_tokens": 16_384,
    },
}
LOADERS = (0, 1, 2)
WARM = 8  # batches before the clock starts


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60, help="of training, for the share of waiting")
    return parser.parse_args()


class At:
    """Stands for Lightning's trainer at its first step."""

    global_step = 0


def batches(mixer: Mixer, loaders: int) -> Iterator[Batch]:
    """Batches from the first step on."""
    data = MixtureData(mixer, loaders=loaders)
    data.trainer = At()  # type: ignore[assignment]
    return iter(data.train_dataloader())


def rate(mixer: Mixer, loaders: int, seconds: float) -> float:
    """Tokens a second, taken as fast as they come."""
    taken = batches(mixer, loaders)
    for _ in range(WARM):
        next(taken)
    begun, tokens = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        tokens += next(taken).tokens.numel()
    return tokens / (time.perf_counter() - begun)


def waiting(config: StudyConfig, suite: SuiteRecord, mixer: Mixer, loaders: int, steps: int) -> float:
    """Share of the time of training steps that is spent waiting for the batch."""
    priced = config.space.feasible(suite, config.limits)
    architecture = priced[len(priced) // 2][0]
    mixture = TaskMixture.uniform(suite.tasks)
    candidate = CandidateConfig(architecture=architecture, mixture=mixture, learning_rate=3e-3)
    module = CandidateModule(candidate, suite, Schedule(WARM + steps, 0), seed=0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module.to(device)
    optimizer = module.configure_optimizers()["optimizer"]
    taken, waited, begun = batches(mixer, loaders), 0.0, 0.0
    for step in range(WARM + steps):
        if step == WARM:
            waited, begun = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch = next(taken)
        waited += time.perf_counter() - asked
        module.training_step(move_data_to_device(batch, device)).backward()
        optimizer.step()
        optimizer.zero_grad()
    if device == "cuda":
        torch.cuda.synchronize()
    return waited / (time.perf_counter() - begun)


def main() -> None:
    """Measure, and print a table."""
    given = arguments()
    config = read_study("quick")
    print(f"| suite | {' | '.join(f'{n} loaders, tokens/s' for n in LOADERS)} | 1 over 0 | waiting |")
    print("|---|---|---|---|---|---|")
    for name, changes in SUITES.items():
        own = config.model_copy(update=changes)
        suite = own.suite_record()
        prepare(suite, 1, lambda *_: None)
        mixer = Mixer(load_corpora(suite), TaskMixture.uniform(suite.tasks), suite, 0)
        rates = np.array([[rate(mixer, n, given.seconds) for n in LOADERS] for _ in range(given.rounds)])
        middle, ratio = np.median(rates, axis=0), rates[:, 1] / rates[:, 0]
        waits = [waiting(own, suite, mixer, n, given.steps) for n in LOADERS]
        cells = [f"{value:,.0f}" for value in middle]
        cells += [f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"]
        cells += [", ".join(f"{share:.1%}" for share in waits)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
