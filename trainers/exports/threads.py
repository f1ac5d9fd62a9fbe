"""Choose the number of CPU threads: the user's, or the fastest number in a short measurement.

On a shared machine, more threads than free cores can be many times slower than one thread, because every
operation waits for the slowest thread. So the number is measured when the work begins.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from space.candidate import CandidateConfig
from space.files import write_atomically
from space.records import SuiteRecord
from trainers.data import Mixer, load_corpora
from trainers.exports.speed import train_once
from trainers.model.attention import Cache, Slots
from trainers.model.decoder import Decoder

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
NOTE = "threads.json"  # stores the choice, in the folder of a training
RUNS = 3  # timed runs for each number of threads, after a warm-up run
GAIN = 1.05  # speed-up that more threads must reach to be chosen
TOO_SLOW = 3.0  # a first run that is so many times slower than the best is not repeated
KEEP = 1.5  # a stored number is kept while it is at most this many times slower than the fastest
PLAYED_ROWS, PLAYED_TOKENS, PLAYED_STEPS = 128, 4, 4  # size of the work that is timed for scoring

Work = Callable[[], object]


class Timing(NamedTuple):
    """Seconds that the timed work took with a number of threads."""

    threads: int
    seconds: float


class Threads:
    """Chooses the number of threads of this process.

    Args:
        asked: the number that the user gave; None uses the environment's or a measurement.
        cores: cores that this process may use.
        say: called with a line about the choice.
        note: a file that stores the choice, so that a resumed training prefers the same number: another
            number of threads may round differently. None stores nothing.
    """

    def __init__(
        self, asked: int | None, cores: int, say: Callable[[str], None], note: Path | None = None
    ) -> None:
        self._asked = asked
        self._cores = cores
        self._say = say
        self._note = note

    def settle(self, phase: str, work: Work) -> int:
        """Choose the number of threads for a phase, set it, and report it.

        Args:
            phase: name of the phase.
            work: a typical piece of its work, which is timed.

        Returns:
            The number of threads.
        """
        known = self._remembered()
        if self._asked is not None:
            chosen, why = self._asked, "as asked"
        elif (name := next((name for name in VARIABLES if os.environ.get(name)), None)) is not None:
            chosen, why = torch.get_num_threads(), f"by {name}"
        elif self._cores == 1:
            chosen, why = 1, "of 1 core"
        else:
            timings = measure(work, self._cores, known.get(phase))
            chosen = choose(timings, known.get(phase))
            tried = ", ".join(f"{1000 * seconds:,.0f} ms with {threads}" for threads, seconds in timings)
            why = f"of {self._cores} cores, measured a step: {tried}"
        torch.set_num_threads(chosen)
        self._say(f"{phase} on {chosen} thread{'s' if chosen > 1 else ''} ({why})")
        if self._note is not None and known.get(phase) != chosen:
            self._note.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._note, json.dumps(known | {phase: chosen}) + "\n")
        return chosen

    def _remembered(self) -> dict[str, int]:
        if self._note is None or not self._note.is_file():
            return {}
        return json.loads(self._note.read_text(encoding="utf-8"))


def settle(threads: Threads | None, device: str, phase: str, work: Callable[[], Work]) -> None:
    """Choose the number of threads for a phase that runs on the CPU; other devices need no choice.

    Args:
        threads: chooses it; None does not change it.
        device: type of the device that the phase runs on.
        phase: name of the phase.
        work: makes the work that `Threads.settle` times.
    """
    if threads is not None and device == "cpu":
        threads.settle(phase, work())


def measure(work: Work, cores: int, also: int | None = None) -> list[Timing]:
    """Time a piece of work on 1, 2, 4 ... threads up to the cores, until more threads are not faster.

    Args:
        work: the work, the same on each call.
        cores: largest number to try.
        also: another number to try.

    Returns:
        Timings by increasing number of threads. torch keeps the last number that was tried.
    """
    counts = sorted(
        {*(1 << power for power in range(cores.bit_length())), cores} | ({also} if also else set())
    )
    timings: list[Timing] = []
    for count in counts:
        best = min((timing.seconds for timing in timings), default=float("inf"))
        torch.set_num_threads(count)
        first = _seconds(work)
        if first > TOO_SLOW * best:
            timings.append(Timing(count, first))
        else:
            timings.append(Timing(count, statistics.median(_seconds(work) for _ in range(RUNS))))
        if timings[-1].seconds > best and count != also and (also is None or count > also):
            break
    return timings


def choose(timings: list[Timing], known: int | None = None) -> int:
    """The fastest number of threads; the smallest of nearly equal ones, or a known one that is close."""
    best = min(timing.seconds for timing in timings)
    for threads, seconds in timings:
        if threads == known and seconds <= KEEP * best:
            return threads
    return next(threads for threads, seconds in timings if seconds <= GAIN * best)


def training(candidate: CandidateConfig, suite: SuiteRecord) -> Work:
    """A function that runs a training step of a candidate on real data: forward and backward."""
    mixer = Mixer(load_corpora(suite), candidate.mixture, suite, 0)
    batch = mixer.batch(0)
    with torch.random.fork_rng(devices=[]):
        decoder = Decoder(candidate.architecture, suite)
    return lambda: train_once(decoder, batch)


def playing(decoder: Decoder) -> Work:
    """A function that decodes a few timesteps of many parallel episodes."""
    ids = torch.zeros(PLAYED_ROWS * PLAYED_TOKENS, dtype=torch.int64)
    new = torch.full((PLAYED_ROWS,), PLAYED_TOKENS).numpy()

    @torch.inference_mode()
    def work() -> None:
        cache = Cache(decoder.arch, PLAYED_ROWS, like=decoder.embedding.table.weight)
        for step in range(min(PLAYED_STEPS, decoder.suite.context // PLAYED_TOKENS)):
            slots = Slots.of(new * step, new, decoder.device)
            decoder.extend(ids, ids, {}, slots, cache)

    return work


def _seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
