"""Does Pathfront's sampler find better fronts than Optuna's in a plain Optuna study?

    OMP_NUM_THREADS=1 python tests/benchmarks/optuna_sampler.py [--trials 60] [--seeds 5] [--samplers NAME...]
    OMP_NUM_THREADS=1 python tests/benchmarks/optuna_sampler.py --time

Prints for each problem and sampler the hypervolume that the best possible front has and the study's front has
not, in (log10 cost, score) without noise: median over seeds with the least and the largest, as a share of the
best. The second objective of each problem is a known cost; `pathfront` knows its function, `pathfront-blind`
does not.

`--time` prints the CPU seconds of a suggestion after 100 and 1,000 trials with 10 parameters.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.choose.pathfront_sampler import PathfrontSampler
from search.pareto import hypervolume

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """A score to maximise at a cost to minimise.

    Attributes:
        space: its parameters.
        score: score of parameters, without noise.
        cost: cost of parameters.
        best: parameters of which some are at least as good as any others.
        noise: standard deviation of an observed score.
        corner: least score and largest cost that count.
    """

    space: dict[str, BaseDistribution]
    score: Callable[[Params], float]
    cost: Callable[[Params], float]
    best: list[Params]
    noise: float
    corner: tuple[float, float]

    def volume(self, found: list[Params]) -> float:
        """Hypervolume of parameters."""
        return hypervolume([(self.score(p), self.cost(p)) for p in found], *self.corner)


def layers() -> Problem:
    """A network's depth and width at a power law of its size, and four training parameters."""
    space = {
        "depth": IntDistribution(1, 16),
        "width": IntDistribution(32, 1024, step=32),
        "rate": FloatDistribution(1e-5, 1e-1, log=True),
        "decay": FloatDistribution(0.0, 0.5),
        "optimizer": CategoricalDistribution(["sgd", "adam", "muon"]),
        "warmup": IntDistribution(1, 1000, log=True),
    }
    lost = {"sgd": 0.1, "adam": 0.03, "muon": 0.0}

    def score(p: Params) -> float:
        size = (cost(p) / 12 / 1024) ** -0.25
        shape = 0.04 * np.log(p["width"] / p["depth"] / 48) ** 2
        best_rate = -2.5 - 0.5 * np.log10(p["width"] / 64)
        rate = 0.1 * (np.log10(p["rate"]) - best_rate) ** 2
        rest = 0.4 * (p["decay"] - 0.15) ** 2 + 0.01 * (np.log10(p["warmup"]) - 1.5) ** 2
        return float(np.exp(-0.7 * size - shape - rate - rest - lost[p["optimizer"]]))

    def cost(p: Params) -> float:
        return 12.0 * p["depth"] * p["width"] ** 2

    best = [
        {"depth": d, "width": w, "rate": 10 ** (-2.5 - 0.5 * np.log10(w / 64)), "decay": 0.15, "warmup": 32,
         "optimizer": "muon"}
        for d, w in product(range(1, 17), range(32, 1025, 32))
    ]  # fmt: skip
    return Problem(space, score, cost, best, 0.0, (0.0, 3e8))


def zdt(dimensions: int = 6) -> Problem:
    """ZDT2 (Zitzler 2000, https://doi.org/10.1162/106365600568202), whose first objective is the cost."""
    space: dict[str, BaseDistribution] = {f"x{i}": FloatDistribution(0.0, 1.0) for i in range(1, dimensions)}
    space["x0"] = FloatDistribution(0.01, 1.0)

    def score(p: Params) -> float:
        g = 1 + 9 * sum(p[f"x{i}"] for i in range(1, dimensions)) / (dimensions - 1)
        return -g * (1 - (p["x0"] / g) ** 2)

    best = [{**{f"x{i}": 0.0 for i in range(1, dimensions)}, "x0": x} for x in np.linspace(0.01, 1, 500)]
    return Problem(space, score, lambda p: p["x0"], best, 0.0, (-5.0, 1.1))


def noisy() -> Problem:
    """Ten parameters, of which four decide the cost, with noise."""
    space: dict[str, BaseDistribution] = {f"size{i}": IntDistribution(1, 64, log=True) for i in range(4)}
    space |= {f"rate{i}": FloatDistribution(1e-4, 1.0, log=True) for i in range(3)}
    space |= {f"kind{i}": CategoricalDistribution(["a", "b", "c"]) for i in range(3)}

    def score(p: Params) -> float:
        size = sum(p[f"size{i}"] ** -0.5 / (i + 1) for i in range(4)) / 2.08
        rates = sum(0.02 * (np.log10(p[f"rate{i}"]) + 1 + 0.5 * i) ** 2 for i in range(3))
        kinds = sum(0.06 * (p[f"kind{i}"] != "abc"[i]) for i in range(3))
        return float(1 - size - rates - kinds)

    def cost(p: Params) -> float:
        return float(p["size0"] * p["size1"] * p["size2"] * p["size3"])

    tuned = {
        **{f"rate{i}": 10 ** (-1 - 0.5 * i) for i in range(3)},
        **{f"kind{i}": "abc"[i] for i in range(3)},
    }
    sizes = product((1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64), repeat=4)
    best = [{**tuned, **{f"size{i}": size for i, size in enumerate(each)}} for each in sizes]
    return Problem(space, score, cost, best, 0.02, (-0.5, 64.0**4))


PROBLEMS = {"layers": layers, "zdt": zdt, "noisy": noisy}
SAMPLERS: dict[str, Callable[[Problem, int], optuna.samplers.BaseSampler]] = {
    "random": lambda problem, seed: optuna.samplers.RandomSampler(seed=seed),
    "nsga2": lambda problem, seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=12),
    "tpe": lambda problem, seed: optuna.samplers.TPESampler(seed=seed, multivariate=True),
    "gp": lambda problem, seed: optuna.samplers.GPSampler(seed=seed),
    "pathfront-blind": lambda problem, seed: PathfrontSampler(seed=seed),
    "pathfront": lambda problem, seed: PathfrontSampler(cost=problem.cost, seed=seed),
    "pathfront-per-trial": lambda problem, seed: PathfrontSampler(cost=problem.cost, seed=seed, cost_power=0),
}


def play(problem: Problem, sampler: optuna.samplers.BaseSampler, trials: int, seed: int) -> list[Params]:
    """The parameters of a study's trials."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        trial = study.ask(dict(problem.space))
        noise = rng.normal(0, problem.noise)
        study.tell(trial, (problem.score(trial.params) + noise, problem.cost(trial.params)))
    return [trial.params for trial in study.trials]


def compare(problems: list[str], samplers: list[str], trials: int, seeds: int) -> None:
    """Print the table of missing hypervolumes."""
    print("| problem | sampler | missing hypervolume | over random | mean cost of a trial | CPU s a study |")
    print("|---|---|---|---|---|---|")
    for name in problems:
        problem = PROBLEMS[name]()
        best, random = problem.volume(problem.best), np.nan
        for sampler in samplers:
            start = time.process_time()
            found = [play(problem, SAMPLERS[sampler](problem, s), trials, s) for s in range(seeds)]
            seconds = (time.process_time() - start) / seeds
            missing = np.array([1 - problem.volume(params) / best for params in found])
            middle = float(np.median(missing))
            random = middle if sampler == "random" else random
            costs = np.mean([problem.cost(params) for study in found for params in study])
            print(
                f"| {name} | {sampler} | {middle:.3f} [{missing.min():.3f}, {missing.max():.3f}]"
                f" | {middle / random:.2f} | {costs:.3g} | {seconds:.1f} |",
                flush=True,
            )


def clock(samplers: list[str]) -> None:
    """Print CPU seconds of a suggestion."""
    problem = noisy()
    for count, sampler in product((100, 1_000), samplers):
        study = optuna.create_study(directions=["maximize", "minimize"])
        filler = play(problem, optuna.samplers.RandomSampler(seed=0), count, 0)
        for params in filler:
            values = [problem.score(params), problem.cost(params)]
            study.add_trial(
                optuna.create_trial(params=dict(params), distributions=dict(problem.space), values=values)
            )
        study.sampler = SAMPLERS[sampler](problem, 0)
        seconds = []
        for _ in range(5):
            start = time.process_time()
            trial = study.ask(dict(problem.space))
            seconds.append(time.process_time() - start)
            study.tell(trial, (problem.score(trial.params), problem.cost(trial.params)))
        print(f"{count} trials, {sampler}: {np.median(seconds):.3f} [{min(seconds):.3f}, {max(seconds):.3f}]")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--time", action="store_true")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if args.time:
        clock(args.samplers)
    else:
        compare(args.problems, args.samplers, args.trials, args.seeds)


if __name__ == "__main__":
    main()
