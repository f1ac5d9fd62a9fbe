"""Does a sampler find better models in real training? Paired searches at equal compute.

    python tests/benchmarks/real_search.py --out runs/
    python tests/benchmarks/real_search.py --out runs/ --samplers pathfront stratified --seeds 3 --flops 4T
    python tests/benchmarks/real_search.py --out runs/ --samplers pathfront 'n6=nsga2 {"population_size": 6}'
    python tests/benchmarks/real_search.py --out runs/ --report

Samplers are named as in `peers.methods`, or as NAME=SAMPLER with arguments as JSON.

Every sampler searches a study with every seed until it has spent the same training FLOPs. The candidates of
the front with the best scores are then trained again to the highest rung with a seed that no search has used,
and judged on the report episodes, which no search has seen: a candidate that was lucky counts with what it is
worth. Prints the hypervolume of these candidates over log FLOPs per token, and the differences between
samplers, paired by seed, with bootstrap intervals.

A call that was stopped continues where it was: studies at their checkpoints, trainings at theirs.
"""

import argparse
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from peers.methods import Method, method

from search.commands.options import number, whole
from search.engines.child import python
from search.pareto import hypervolume, pareto
from search.read.results import Reader
from space.recipe import Recipe
from space.study import StudyConfig, read_study
from trainers.exports.load import full_scorecard

SAMPLERS = ("pathfront", "stratified", "nsga2")
FRESH_SEED = 1_000  # added to a study's seed
DRAWS, LEVEL = 10_000, 0.95  # of the bootstrap over seeds
RESULTS = "results.jsonl"
BENCHMARKS = Path(__file__).resolve().parent  # where workers find the peers

Line = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of studies, exports and results")
    parser.add_argument("--study", default="quick", help="a study that ships, or a file")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from --first-seed on")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--flops", type=number, default=8e12, help="training FLOPs of each search (8T)")
    parser.add_argument("--best", type=int, default=3, help="candidates of each front to train again")
    parser.add_argument("--least-score", type=float, nargs="+", default=[0.0, 0.6], help="corners")
    parser.add_argument("--workers", type=whole, default=2)
    parser.add_argument("--report", action="store_true", help="report what there is; train nothing")
    return parser.parse_args()


def run(place: Path, *command: str) -> None:
    """Run the console script in a folder, with its progress on the terminal."""
    peers = os.pathsep.join(filter(None, (str(BENCHMARKS), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": peers}
    subprocess.run(python("-m", "search.cli", *command), cwd=place, env=environment, check=True)


def search(
    place: Path, study: StudyConfig, name: str, of: Method, seed: int, flops: float, workers: int
) -> None:
    """Run a study until it has spent so many training FLOPs."""
    data = study.model_dump(mode="json", exclude_unset=True)
    rules = {"sampler": of.sampler, "sampler_args": of.arguments, "promotion": of.promotion, "seed": seed}
    data |= {
        "study": name,
        "search": {**data.get("search", {}), **rules},
        "stop": {"training_flops": flops},
        "logger": "none",
    }
    (place / f"{name}.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    run(place, "launch", f"{name}.yaml", "--workers", str(workers))


def train_again(place: Path, name: str, trial: int, times: float = 1.0) -> Path:
    """Train a trial's candidate from the first step with a fresh seed; returns the export's folder.

    Args:
        place: folder of the database.
        name: of the study.
        trial: number of the trial.
        times: tokens over those of the trial's rung.
    """
    folder = place / (f"{name}-{trial}" if times == 1 else f"{name}-{trial}-{times:g}x")
    if not folder.exists():
        run(place, "export", name, "--trial", str(trial), "-o", f"{folder.name}/")
    recipe = Recipe.read(folder)
    if recipe.seed < FRESH_SEED:
        recipe = recipe.model_copy(update={"seed": recipe.seed + FRESH_SEED})
        recipe.write(folder)
    run(place, "train", folder.name, "--tokens", str(round(times * recipe.tokens)))
    return folder


def judge(place: Path, name: str, sampler: str, seed: int, best: int) -> Line:
    """Train the best candidates of a study's front again, and note what they are worth."""
    reader = Reader(f"sqlite:///{place / 'pathfront.db'}")
    try:
        status, front = reader.status(name), reader.front(name)
    finally:
        reader.close()
    found = []
    for row in front[:best]:  # best score first
        card = full_scorecard(train_again(place, name, row.trial))
        assert card is not None, "it is trained"
        found.append(
            {
                "trial": row.trial,
                "rung": row.rung,
                "flops_per_token": row.flops_per_token,
                "searched": row.score,
                "score": card.score,
                "stderr": card.stderr,
            }
        )
    return {
        "sampler": sampler,
        "seed": seed,
        "training_flops": status.training_flops,
        "candidates": status.candidates,
        "found": found,
    }


def areas(lines: Sequence[Line], sampler: str, least: float, most: float) -> dict[int, float]:
    """Seed -> hypervolume of the candidates that were trained again."""
    return {
        line["seed"]: hypervolume(
            [(of["score"], of["flops_per_token"]) for of in line["found"]] or [(0.0, most)], least, most
        )
        for line in lines
        if line["sampler"] == sampler
    }


def interval(values: Sequence[float]) -> str:
    """Mean and bootstrap interval."""
    drawn = np.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return f"{np.mean(values):.4f} [{low:.4f}, {high:.4f}]"


def report(lines: Sequence[Line], least: float, most: float) -> None:
    """Print the hypervolume of each sampler, and the differences to the first."""
    samplers = list(dict.fromkeys(line["sampler"] for line in lines))
    of = {sampler: areas(lines, sampler, least, most) for sampler in samplers}
    print(f"\nhypervolume above {least:g}, up to {most:.3g} FLOPs per token [{LEVEL:.0%} over seeds]\n")
    print("| sampler | seeds | hypervolume | first less this | best score | T FLOPs | candidates |")
    print("|---|---|---|---|---|---|---|")
    for sampler in samplers:
        mine = [line for line in lines if line["sampler"] == sampler]
        seeds = sorted(of[sampler].keys() & of[samplers[0]].keys())
        pairs = [of[samplers[0]][seed] - of[sampler][seed] for seed in seeds]
        best = [max((x["score"] for x in line["found"]), default=0.0) for line in mine]
        print(
            f"| {sampler} | {len(mine)} | {interval(list(of[sampler].values()))} |"
            f" {interval(pairs) if sampler != samplers[0] and pairs else ''} | {np.mean(best):.3f} |"
            f" {np.mean([line['training_flops'] for line in mine]) / 1e12:.2f} |"
            f" {np.mean([line['candidates'] for line in mine]):.1f} |"
        )
    for sampler in samplers:
        points = [
            (x["score"], x["flops_per_token"]) for y in lines if y["sampler"] == sampler for x in y["found"]
        ]
        together = ", ".join(f"{points[i][0]:.3f}@{points[i][1]:,.0f}" for i in pareto(points))
        print(f"\nall seeds of {sampler} together: {together}")


def read(path: Path) -> list[Line]:
    """The results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Search, train again, and report."""
    given = arguments()
    study = read_study(given.study)
    given.out.mkdir(parents=True, exist_ok=True)
    place, results = given.out.resolve(), given.out / RESULTS
    known = {(line["sampler"], line["seed"]) for line in read(results)}
    methods = dict(method(named) for named in given.samplers)
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for sampler, of in methods.items():  # seed by seed, so that a part of the results is already paired
            if given.report or (sampler, seed) in known:
                continue
            name = f"{sampler}-{seed}"
            search(place, study, name, of, seed, given.flops, given.workers)
            line = judge(place, name, sampler, seed, given.best)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    most = 1.1 * study.space.feasible(study.suite_record(), study.limits)[-1][1].flops_per_token
    for least in given.least_score:
        report([x for x in read(results) if x["sampler"] in methods], least, most)


if __name__ == "__main__":
    main()
