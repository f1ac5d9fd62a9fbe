"""What sparsity saves: training FLOPs of a dense and of a sparse family at equal score.

    python tests/benchmarks/sparse_against_dense.py --log runs.jsonl

Both families train the suite's tasks at several widths, each for several budgets that are rungs of one run
(trunk, decay branch, score: the trainer of the search). The dense family has a network of `--channels` times
the width in each layer; the sparse one spreads as many channels over experts and visits `--top-k` of them,
so that both have the same parameters but for the router. The suite's context is cut short, so that the
networks are 0.8 of the dense model's FLOPs and more: sparsity saves FLOPs there and nowhere else, and one
over the rest is the ceiling. A third family, dense with narrow networks, shows what a dense model of the
sparse one's FLOPs reaches.

For each seed and each of three scores: the FLOPs at which the family's best size first reaches the score, by
interpolation over the logarithm of FLOPs along its best runs so far. The ratio is dense over sparse, paired
by seed, as a geometric mean with a 95% interval (Student's t over seeds). Runs are noted in the log and are
not trained again.

Expect on two idle CPU cores: about half an hour.
"""

import argparse
import json
import math
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from search.commands.options import whole
from space.candidate import Architecture, CandidateConfig
from space.catalog import load_catalog
from space.contract import Budget, CheckpointKind
from space.cost import price
from space.mixture import TaskMixture
from space.records import SuiteRecord
from trainers.train import train_candidate

CONTEXT = 64
DEPTH = 4
DECAY = 0.2
LEARNING_RATE = 3e-3  # of every size and family: it is scaled by shape
FAMILIES = ("dense", "sparse", "narrow")


def architecture(family: str, width: int, options: argparse.Namespace) -> Architecture:
    ratio = options.channels / options.experts
    if family == "sparse":
        return Architecture(
            depth=DEPTH, width=width, experts=options.experts, top_k=options.top_k, expert_ratio=ratio
        )
    channels = options.channels if family == "dense" else options.top_k * ratio
    return Architecture(depth=DEPTH, width=width, expert_ratio=channels)


class Keeper:
    """Keeps the trunk from one rung to the next."""

    stopping = False

    def __init__(self, folder: Path) -> None:
        self.trunk = folder / "trunk.ckpt"

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Nobody asks."""

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Keep the trunk."""
        if kind == "trunk":
            save(self.trunk)


def climb(job: dict) -> list[dict]:
    """Train one candidate up all budgets and score it at each."""
    torch.set_num_threads(1)
    suite = SuiteRecord.model_validate_json(job["suite"])
    arch = Architecture.model_validate(job["architecture"])
    candidate = CandidateConfig(
        architecture=arch, mixture=TaskMixture.uniform(suite.tasks), learning_rate=LEARNING_RATE
    )
    rows, spent, start, trunk_flops = [], 0.0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        keeper = Keeper(Path(folder))
        for tokens in job["tokens"]:
            trunk = round(tokens * (1 - DECAY))
            budget = Budget(
                start_tokens=start,
                tokens=trunk,
                decay_tokens=tokens - trunk,
                seed=job["seed"],
                checkpoint_seconds=1e9,
                device="cpu",
            )
            card = train_candidate(candidate, suite, budget, keeper.trunk if start else None, keeper)
            # what a run to these tokens alone costs: the trunk so far, and this decay branch
            per_token = card.spent.training_flops / card.spent.tokens
            spent = trunk_flops + card.spent.training_flops
            trunk_flops += per_token * (trunk - start)
            start = trunk
            rows.append(
                {key: job[key] for key in ("family", "width", "seed")}
                | {"tokens": tokens, "flops": spent, "score": card.score}
            )
    return rows


def flops_to_reach(rows: list[dict], score: float) -> float:
    """FLOPs at which the best runs so far first reach a score; infinite if none does."""
    best, before = -math.inf, 0.0
    for row in sorted(rows, key=lambda row: row["flops"]):
        if row["score"] >= score:
            if best == -math.inf:
                return row["flops"]
            share = (score - best) / (row["score"] - best)
            return math.exp(math.log(before) + share * math.log(row["flops"] / before))
        if row["score"] > best:
            best, before = row["score"], row["flops"]
    return math.inf


def ratio(rows: list[dict], other: str, score: float, seeds: int) -> str:
    """FLOPs of another family over those of the sparse one, paired by seed."""
    logs = []
    for seed in range(seeds):
        needed = [
            flops_to_reach([r for r in rows if r["family"] == family and r["seed"] == seed], score)
            for family in (other, "sparse")
        ]
        if all(map(math.isfinite, needed)):
            logs.append(math.log(needed[0] / needed[1]))
    if len(logs) < 2:
        return f"reached by both in {len(logs)} seeds"
    half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / len(logs) ** 0.5
    mean = statistics.mean(logs)
    low, middle, high = (math.exp(value) for value in (mean - half, mean, mean + half))
    return f"{middle:5.2f} [{low:.2f}, {high:.2f}] over {len(logs)} seeds"


def network_share(arch: Architecture, suite: SuiteRecord) -> float:
    """Share of the networks in a dense model's FLOPs per token."""
    return arch.depth * 6 * arch.width * arch.dense_width / price(arch, suite).flops_per_token


def report(rows: list[dict], suite: SuiteRecord, options: argparse.Namespace) -> None:
    """Print what each family reaches, the shares, and the ratios at three scores."""
    for family in FAMILIES:
        for width in options.widths:
            arch = architecture(family, width, options)
            cost = price(arch, suite)
            told = []
            for tokens in options.tokens:
                scores = [
                    r["score"]
                    for r in rows
                    if (r["family"], r["width"], r["tokens"]) == (family, width, tokens)
                ]
                told.append(f"{statistics.mean(scores):.3f} ± {statistics.stdev(scores):.3f}")
            share = f", networks {network_share(arch, suite):.0%}" if family != "sparse" else ""
            print(
                f"{family:6} width {width:3d}: {cost.flops_per_token:>11,.0f} FLOPs a token,"
                f" {cost.total_params:>9,} parameters{share}; score {'  '.join(told)}"
            )
    shares = [network_share(architecture("dense", width, options), suite) for width in options.widths]
    print(f"ceiling of dense over sparse: {1 / (1 - max(shares)):.1f} (networks {max(shares):.0%} of dense)")
    reached = [
        max(r["score"] for r in rows if r["family"] == family and r["seed"] == seed)
        for family in ("dense", "sparse")
        for seed in range(options.seeds)
    ]
    top = math.floor(min(reached) * 100) / 100
    for score in options.scores or [round(top * part, 2) for part in (0.8, 0.9, 1.0)]:
        print(
            f"at a score of {score:.2f}: dense over sparse {ratio(rows, 'dense', score, options.seeds)};"
            f" narrow dense over sparse {ratio(rows, 'narrow', score, options.seeds)}"
        )


def main() -> None:
    """Train what the log does not hold, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--widths", type=lambda text: [int(w) for w in text.split(",")], default=[48, 64])
    parser.add_argument(
        "--tokens", type=lambda text: [whole(t) for t in text.split(",")], default=[200_000, 400_000]
    )
    parser.add_argument("--channels", type=float, default=16, help="of a dense layer, times the width")
    parser.add_argument("--experts", type=int, default=16)
    parser.add_argument("--top-k", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scores", type=lambda text: [float(s) for s in text.split(",")])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path, default=Path("sparse_against_dense.jsonl"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    suite = load_catalog().suite(options.suite).model_copy(update={"context": CONTEXT})
    rows = [json.loads(line) for line in options.log.read_text().splitlines()] if options.log.exists() else []
    rows = [r for r in rows if r["width"] in options.widths and r["tokens"] in options.tokens]
    done = {(r["family"], r["width"], r["seed"]) for r in rows}
    jobs = [
        {
            "suite": suite.model_dump_json(),
            "architecture": architecture(family, width, options).model_dump(mode="json"),
            "family": family,
            "width": width,
            "seed": seed,
            "tokens": options.tokens,
        }
        for seed in range(options.seeds)
        for width in options.widths
        for family in FAMILIES
        if (family, width, seed) not in done
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context) as pool, options.log.open("a") as log:
        for index, future in enumerate(as_completed([pool.submit(climb, job) for job in jobs])):
            found = future.result()
            rows += found
            log.write("".join(json.dumps(row) + "\n" for row in found))
            log.flush()
            print(f"{index + 1} of {len(jobs)} runs: {found[-1]}", flush=True)
    report(rows, suite, options)


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
