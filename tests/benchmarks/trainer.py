"""What our trainer costs beside the steps: Lightning's share, a worker's start, use of threads.

    python tests/benchmarks/trainer.py

Lightning: CPU time of a step in our trainer (with the callback, the logger and the meter of the search) over
that of the same step in a bare loop, in turns, on a candidate whose step takes some 20 ms.
Start: seconds from starting a process to the end of a candidate's first step, and the same for the process's
second candidate.
Threads: tokens per second of two one-thread trials side by side over those of one two-thread trial, in turns.

Expect: less than 5% for Lightning, some ten seconds for a cold start and a tenth of a second for a warm one.
The threads need two idle cores to be judged.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import torch

from space.candidate import Architecture, CandidateConfig
from space.catalog import load_catalog
from space.contract import Budget
from space.mixture import TaskMixture
from trainers.data import Mixer, MixtureData, load_corpora
from trainers.lightning import L
from trainers.module import GRADIENT_CLIP, CandidateModule, Schedule
from trainers.specialist import Silent
from trainers.train import fit
from trainers.trial import Trial

ARCHITECTURE = Architecture(depth=2, width=64, experts=8, top_k=2, expert_ratio=1)
WARM = 5  # steps that are not timed
FAR = 10_000_000  # tokens: a schedule that no round reaches the end of


class Clocked(Trial):
    """A trial that notes the CPU time at the end of each step, and leaves after some."""

    def begin(self, steps: int) -> None:
        """Forget what was noted."""
        self.steps = steps
        self.clock: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Do what a trial does, and note the time."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.clock.append(time.process_time())
        if len(self.clock) == self.steps:
            trainer.should_stop = True


class Setting:
    """One candidate on the suite `quick`."""

    def __init__(self, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.suite = load_catalog().suite("quick")
        self.candidate = CandidateConfig(
            architecture=ARCHITECTURE, mixture=TaskMixture.uniform(self.suite.tasks), learning_rate=3e-3
        )
        self.mixer = Mixer(load_corpora(self.suite), self.candidate.mixture, self.suite, 0)
        self.schedule = Schedule(round(FAR / self.mixer.step_tokens), 0)

    def module(self) -> CandidateModule:
        return CandidateModule(self.candidate, self.suite, self.schedule, 0)

    def ours(self, steps: int) -> float:
        """CPU seconds a step in our trainer."""
        with tempfile.TemporaryDirectory() as folder:
            budget = Budget(
                tokens=FAR,
                decay_tokens=0,
                device="cpu",
                checkpoint_seconds=1e9,
                logger="csv",
                log_dir=folder,
            )
            trial = Clocked(self.candidate, budget, Silent(), self.schedule, self.mixer.step_tokens)
            trial.begin(WARM + steps)
            fit(self.module(), MixtureData(self.mixer), trial, None)
        return (trial.clock[-1] - trial.clock[WARM - 1]) / steps

    def bare(self, steps: int) -> float:
        """CPU seconds a step in a loop of our own."""
        module = self.module()
        optimizer = module.configure_optimizers()["optimizer"]
        for step in range(WARM + steps):
            if step == WARM:
                started = time.process_time()
            loss = module.training_step(self.mixer.batch(step))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), GRADIENT_CLIP)
            optimizer.step()
        return (time.process_time() - started) / steps


def spread(values: list[float], form: str = ".3f") -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:{form}} (quartiles {low:{form}} to {high:{form}})"


def lightning_share(rounds: int, steps: int) -> None:
    setting = Setting()
    pairs = []
    for index in range(rounds):
        ways = [setting.bare, setting.ours]
        found = {way: way(steps) for way in (ways if index % 2 else ways[::-1])}
        pairs.append((found[setting.bare], found[setting.ours]))
    milliseconds = statistics.median(bare for bare, _ in pairs) * 1e3
    print(f"a step of the bare loop takes {milliseconds:.1f} ms of CPU time")
    print(f"our trainer over the bare loop: {spread([ours / bare for bare, ours in pairs])}, {rounds} rounds")


def start() -> None:
    """Print the seconds from the start of this process, whose time the caller gives, to two first steps."""
    from trainers.train import fit_candidate

    started = float(sys.argv[2])
    suite = load_catalog().suite("quick")
    torch.set_num_threads(1)
    for rate in (1e-3, 2e-3):
        candidate = CandidateConfig(
            architecture=ARCHITECTURE, mixture=TaskMixture.uniform(suite.tasks), learning_rate=rate
        )
        budget = Budget(tokens=suite.batch_tokens, decay_tokens=0, device="cpu")
        fit_candidate(candidate, suite, budget, None, Silent())
        print(time.time() - started)
        started = time.time()


def starts(rounds: int) -> None:
    cold, warm = [], []
    for _ in range(rounds):
        command = [sys.executable, __file__, "--start", str(time.time())]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        cold.append(float(told[0]))
        warm.append(float(told[1]))
    print(f"start to first step: cold {spread(cold, '.1f')} s, warm {spread(warm, '.2f')} s, {rounds} rounds")


def speed(threads: int, steps: int) -> None:
    """Print the wall time at which the timed steps began and ended."""
    setting = Setting(threads)
    module = setting.module()
    optimizer = module.configure_optimizers()["optimizer"]
    sys.stdin.readline()
    started = time.time()
    for step in range(steps):
        loss = module.training_step(setting.mixer.batch(step))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), GRADIENT_CLIP)
        optimizer.step()
    print(started, time.time())


def thread_shapes(rounds: int, steps: int) -> None:
    tokens = load_catalog().suite("quick").batch_tokens * steps

    def side_by_side(count: int, threads: int) -> float:
        command = [sys.executable, __file__, "--speed", str(threads), str(steps)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        runs = [subprocess.Popen(command, **pipes) for _ in range(count)]
        for run in runs:
            run.stdin.write("go\n")
            run.stdin.flush()
        spans = [tuple(map(float, run.communicate()[0].split())) for run in runs]
        return sum(tokens / (end - begun) for begun, end in spans)

    ratios = []
    for index in range(rounds):
        shapes = [(2, 1), (1, 2)]
        found = {shape: side_by_side(*shape) for shape in (shapes if index % 2 else shapes[::-1])}
        ratios.append(found[2, 1] / found[1, 2])
    print(f"two one-thread trials over one two-thread trial: {spread(ratios, '.2f')}, {rounds} rounds")


def main() -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    lightning_share(options.rounds, options.steps)
    starts(max(3, options.rounds // 4))
    thread_shapes(max(3, options.rounds // 4), 4 * options.steps)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--start"]:
        start()
    elif sys.argv[1:2] == ["--speed"]:
        speed(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
