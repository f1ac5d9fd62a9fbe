"""What do priors and a warm start save, and what do wrong ones cost?

    python tests/benchmarks/priors.py --out priors.jsonl
    python tests/benchmarks/priors.py --out priors.jsonl --report
    python tests/benchmarks/priors.py --related

A sampler plays studies of the space of `quick` under a simulated clock, without a belief and with one, on
surfaces of the table of trained candidates and of simulated families. For each belief it prints the training
FLOPs until the study reports a front of the same value for good, over those without a belief: the geometric
mean over pairs of runs with the same surface and seed, with a bootstrap interval. The value is the mean that
the runs without a belief report on that surface after `--at` of the budget, judged without noise. A miss
counts as the budget.

- `good`: priors on all knobs and shares at the best of 1,000 random candidates, blurred as much as their
  strength says.
- `bad`: the same, at the candidate that nine in ten candidates of about the same cost surpass.
- `warm`: a study of 16 candidates (`--earlier`) on another surface of the same family.
- `warm-wrong`: a study of as many random candidates, whose scores were dealt anew among them. (Candidates
  that a search has chosen are good ones, whatever scores they are given afterwards.)
- `oracle`: no belief but knowledge: it proposes the candidates that are best without noise. What it saves is
  the most that proposals can save.

What a warm start can save depends on how much the two surfaces have in common. `--related` prints the rank
correlation of their scores without noise, of random candidates, after the part that the cost explains.

Runs are lines of a file; a run that is there is not played again. Surfaces 0 to 9 are for development, those
from 100 on for reports.
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from contest.runs import results
from peers.oracle import Oracle
from scipy.stats import spearmanr
from surfaces.families import make_surface
from surfaces.settings import study

from search.choose.copies import copy_of
from search.choose.earlier import by_cost
from search.choose.sampler import Feasible, Problem
from search.choose.snapshot import Snapshot
from search.planning.clock import KnownSurface, play
from search.planning.reach import Judge, Point, lasting_reach, within
from search.table.ensemble import Ensemble
from search.table.files import read_table
from space.knobs import Between, Choices
from space.ranges import MIXTURE_PREFIX
from space.records import SuiteRecord
from space.study import StudyConfig

BASE, CEILING = "none", "oracle"
BELIEFS = (BASE, "good", "bad", "warm", "warm-wrong", CEILING)
FAMILIES = ("table", "quick", "smooth")
CANDIDATES = 1_000  # random ones among which the best and a bad one are found
BLUR, SHARE_BLUR = 0.1, 0.2  # standard deviations: of a knob's range, of the logarithm of a share
STRENGTH = 2.5  # of which these are the standard deviations
SAME_COST = 0.2  # of the logarithm of the FLOPs: candidates of about the same cost
EARLIER = 16  # candidates of the study that a warm start copies
FURTHER = 50  # number of its surface over that of the run
BOOTSTRAP = 4_000


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="file of results")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--surfaces", nargs="+", type=int, default=[104, 105], help="numbers")
    parser.add_argument("--seeds", type=int, default=10, help="of each surface")
    parser.add_argument("--beliefs", nargs="+", choices=BELIEFS, default=list(BELIEFS))
    parser.add_argument(
        "--budget", type=float, default=10.0, help="mean full trainings that a study may spend"
    )
    parser.add_argument("--at", type=float, default=0.5, help="share of the budget that sets the level")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--sampler", default="pathfront", choices=("pathfront", "stratified"))
    parser.add_argument("--earlier", type=int, default=EARLIER, help="candidates that a warm start copies")
    parser.add_argument("--report", action="store_true", help="report what the file holds; play nothing")
    parser.add_argument("--related", action="store_true", help="how related the surfaces are; play nothing")
    given = parser.parse_args()
    if given.out is None and not given.related:
        parser.error("--out is needed, unless --related is given")
    return given


def main() -> None:
    """Play what is missing, and report."""
    given = arguments()
    if given.related:
        for family, number in itertools.product(given.families, given.surfaces):
            print(f"{family} {number} and {number + FURTHER}: {related(family, number):.2f}")
        return
    other_size = {} if given.earlier == EARLIER else {"candidates": given.earlier}
    wanted = [
        {
            "family": family,
            "number": number,
            "seed": seed,
            "belief": belief,
            "budget": given.budget,
            "workers": given.workers,
            "sampler": given.sampler,
            **(other_size if belief.startswith("warm") else {}),
        }
        for seed, family, number, belief in itertools.product(
            range(given.seeds), given.families, given.surfaces, given.beliefs
        )
    ]
    lines = results(given.out, wanted, None if given.report else played)
    print(table(reaching(lines, given.at)))


def played(
    family: str,
    number: int,
    seed: int,
    belief: str,
    budget: float,
    workers: int,
    sampler: str,
    candidates: int = EARLIER,
) -> dict[str, Any]:
    """Play one study; a warm start copies one of so many candidates."""
    judge, full_flops = measured(family, number)
    config = config_of(family)
    search = study(sampler=sampler, seed=seed).search
    stop = config.stop.model_copy(update={"training_flops": budget * full_flops, "candidates": None})
    config = config.model_copy(update={"search": search, "stop": stop})
    config = believing(config, belief, family, number, seed, workers, candidates)
    begun = time.process_time()
    propose = Oracle(judge, seed).propose if belief == CEILING else None
    run = play(config, judge.problem.suite, judge.surface, workers, propose)
    curve: list[list[float]] = []  # W and value where the value changes
    for point in judge.curve(run.trials):
        if not curve or point.value != curve[-1][1]:
            curve.append([round(point.spent / full_flops, 4), point.value])
    return {
        "curve": curve,
        "tried": len(run.snapshot.candidates),
        "cpu_seconds": round(time.process_time() - begun, 2),
    }


def believing(
    config: StudyConfig, belief: str, family: str, number: int, seed: int, workers: int, candidates: int
) -> StudyConfig:
    """A study with a belief."""
    if belief in (BASE, CEILING):
        return config
    if belief.startswith("warm"):
        copied = earlier(family, number, seed, workers, candidates, belief == "warm-wrong")
        stated: dict[str, Any] = {"warm": {"study": "earlier", "copied": copied}}
    else:
        rng = np.random.default_rng([number, seed, 7])
        stated = {"priors": blurred(config, suite_of(family), known_points(family, number)[belief], rng)}
    told = StudyConfig.model_validate({**config.model_dump(mode="json", exclude_unset=True), **stated})
    return told


@cache
def ensemble() -> Ensemble:
    """Fitted on the table that ships."""
    return Ensemble(read_table("quick"))


@cache
def config_of(family: str) -> StudyConfig:
    """The space and the rungs of the study that is played."""
    if family != "table":
        return study()
    return read_table("quick").header.config


@cache
def suite_of(family: str) -> SuiteRecord:
    """Its tasks."""
    return read_table("quick").header.suite if family == "table" else config_of(family).suite_record()


def surface_of(family: str, number: int) -> KnownSurface:
    """A surface; those of reports have numbers from 100 on."""
    if family != "table":
        return make_surface(family, config_of(family), number)
    return ensemble().surface("report" if number >= 100 else "development", number)


@cache
def measured(family: str, number: int) -> tuple[Judge, float]:
    """The judge of a surface, and the training FLOPs of a mean full training of random candidates."""
    config = config_of(family)
    problem = Problem(config.space, suite_of(family), config.limits, 0, config.rungs)
    judge = Judge(problem, surface_of(family, number))
    return judge, judge.random_fronts(1)[1]


@cache
def known_points(family: str, number: int) -> Mapping[str, Feasible]:
    """The best of many random candidates, and a bad one of about the same cost."""
    judge, _ = measured(family, number)
    drawn = judge.random(np.random.default_rng([number, 3]), CANDIDATES)
    scored = [(found, truth) for found in drawn if (truth := judge.truth(found)) is not None]
    best = max(scored, key=lambda pair: pair[1])[0]
    cost = np.log([found.cost.flops_per_token for found, _ in scored])
    near = [scored[i] for i in np.flatnonzero(abs(cost - np.log(best.cost.flops_per_token)) < SAME_COST)]
    near.sort(key=lambda pair: pair[1])
    return {"good": best, "bad": near[len(near) // 10][0]}


def blurred(
    config: StudyConfig, suite: SuiteRecord, point: Feasible, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Priors near a candidate: as a person would state them who knows it inexactly."""
    priors: dict[str, dict[str, Any]] = {}
    for name, knob in config.space.parameters(suite).items():
        if not name.startswith(MIXTURE_PREFIX):
            priors[name] = {"value": moved(knob, point.params[name], rng), "strength": STRENGTH}
    floor, tasks = config.space.mixture.floor, suite.tasks
    for task in tasks:
        share = point.candidate.mixture.weights[task] * np.exp(SHARE_BLUR * rng.standard_normal())
        low, high = floor * 1.05, 1 - (len(tasks) - 1) * floor - 0.01
        priors[MIXTURE_PREFIX + task] = {"value": float(np.clip(share, low, high)), "strength": STRENGTH}
    return priors


def moved(knob: Between | Choices, value: Any, rng: np.random.Generator) -> Any:
    """A value near another one, by a tenth of the knob's range."""
    size = BLUR * rng.standard_normal()
    if isinstance(knob, Choices):
        ranked = sorted(knob.choices)  # type: ignore[type-var]
        return ranked[int(np.clip(round(ranked.index(value) + size * len(ranked)), 0, len(ranked) - 1))]
    if knob.log:
        return float(np.clip(value * (knob.high / knob.low) ** size, knob.low, knob.high))
    near = np.clip(value + size * (knob.high - knob.low), knob.low, knob.high)
    return round(float(near)) if knob.whole else float(near)


@cache
def earlier(family: str, number: int, seed: int, workers: int, candidates: int, wrong: bool) -> str:
    """The copy of a study of another surface of the same family."""
    config = config_of(family)
    search = study(sampler="stratified" if wrong else "pathfront", seed=1_000 + seed).search
    stop = config.stop.model_copy(update={"training_flops": None, "candidates": candidates})
    config = config.model_copy(update={"search": search, "stop": stop})
    suite = suite_of(family)
    view = play(config, suite, surface_of(family, number + FURTHER), workers).snapshot
    return copy_of(config, suite, dealt(view, np.random.default_rng(seed)) if wrong else view)


def related(family: str, number: int) -> float:
    """Rank correlation, at equal cost, of the scores on a surface and on that of its earlier study."""
    judge, other = measured(family, number)[0], measured(family, number + FURTHER)[0]
    drawn = judge.random(np.random.default_rng([number, 3]), CANDIDATES)
    pairs = [(found, judge.truth(found), other.truth(found)) for found in drawn]
    trained = [(found, *scores) for found, *scores in pairs if None not in scores]
    columns = by_cost(np.log([found.cost.flops_per_token for found, *_ in trained]))
    scores = np.array([of for _, *of in trained], dtype=float)
    left = scores - columns @ np.linalg.lstsq(columns, scores, rcond=None)[0]
    return float(spearmanr(left).statistic)


def dealt(view: Snapshot, rng: np.random.Generator) -> Snapshot:
    """A study whose scores were dealt anew among the trials of each rung."""
    trials = list(view.trials)
    for rung in view.rungs:
        at = [i for i, trial in enumerate(trials) if trial.rung == rung and trial.state == "done"]
        dealt_from = [view.trials[i] for i in rng.permutation(at)] if at else []
        for i, of in zip(at, dealt_from, strict=True):
            trials[i] = replace(trials[i], score=of.score, stderr=of.stderr, tasks=of.tasks)
    return replace(view, trials=tuple(trials))


def reaching(lines: Sequence[Mapping[str, Any]], at: float) -> list[dict[str, Any]]:
    """Runs with the W at which they reach the level of their surface for good, and whether they do."""
    found = []
    for line in lines:
        pairs = (other for other in lines if other["belief"] == BASE)
        rivals = [o for o in pairs if (o["family"], o["number"]) == (line["family"], line["number"])]
        values = [_value_at(rival["curve"], at * rival["budget"]) for rival in rivals]
        curve = [Point(*point) for point in line["curve"]]
        reached = lasting_reach(curve, float(np.mean(values)), float(np.std(values)))
        spent, hit = within(reached, line["budget"])
        found.append({**line, "reached": spent, "hit": hit})
    return found


def _value_at(curve: Sequence[Sequence[float]], spent: float) -> float:
    return max(((w, value) for w, value in curve if w <= spent), default=(0.0, 0.0))[1]


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Compute with a belief over that without one, by family."""
    rows = ["| belief | all [95%] | by family | reached | W |", "|---|---|---|---|---|"]
    families = list(dict.fromkeys(line["family"] for line in lines))
    for belief in dict.fromkeys(line["belief"] for line in lines):
        of = [line for line in lines if line["belief"] == belief]
        ratios = dict(_ratios(lines, belief))
        cells = []
        for family in families:
            some = [r for (name, _, _), r in ratios.items() if name == family]
            cells.append(f"{family} {interval(some)}" if some else "")
        hits = sum(line["hit"] for line in of)
        spent = float(np.exp(np.mean(np.log([line["reached"] for line in of]))))
        over = interval(list(ratios.values()))
        rows.append(f"| {belief} | {over} | {', '.join(cells)} | {hits}/{len(of)} | {spent:.2f} |")
    return "\n".join(rows)


def _ratios(lines: Sequence[Mapping[str, Any]], belief: str) -> Iterator[tuple[tuple[str, int, int], float]]:
    """Pair -> logarithm of the compute with a belief over that without."""
    base = {_pair(line): line["reached"] for line in lines if line["belief"] == BASE}
    for line in lines:
        if line["belief"] == belief and _pair(line) in base:
            yield _pair(line), float(np.log(line["reached"] / base[_pair(line)]))


def _pair(line: Mapping[str, Any]) -> tuple[str, int, int]:
    return line["family"], line["number"], line["seed"]


def interval(logs: Sequence[float]) -> str:
    """Geometric mean of ratios, by their logarithms, and its 95% bootstrap interval."""
    drawn = np.random.default_rng(0).choice(logs, size=(BOOTSTRAP, len(logs))).mean(axis=1)
    low, high = np.exp(np.quantile(drawn, (0.025, 0.975)))
    return f"{np.exp(np.mean(logs)):.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
