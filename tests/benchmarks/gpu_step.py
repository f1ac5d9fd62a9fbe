"""How quick is a large sparse candidate in bfloat16 on a GPU? Our experts, the plain loop, and transformers'.

    python tests/benchmarks/gpu_step.py [--rounds 24] [--experts 32] [--tokens 65536] [--context 1024]
    python tests/benchmarks/gpu_step.py --device cpu --depth 2 --width 64 --experts 8 --tokens 1024  # a try

A decoder of 12 layers and width 768 whose layers hold 32 experts, two for each token, takes whole training
steps (loss, backward, clipping, AdamW) on batches of the suite `quick`: with our dispatch, with our layers
compiled, with one expert after another as anyone would write it, and as transformers' Mixtral with its
grouped products. They take turns on the same batches; data is on the device before the clock starts, which
stops when the device is idle.

Prints tokens a second (median), their ratio to ours with its quartiles, and the use of the device: exact
training FLOPs a second over those of a large square product in the same precision.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torch.nn import functional as F
from training_step import Ours, Theirs, step

import trainers.model.experts
from space.candidate import Architecture
from space.catalog import load_catalog
from space.cost import price
from space.mixture import TaskMixture
from trainers.batch import Batch
from trainers.data import Mixer, load_corpora
from trainers.model.dispatch import dispatch
from trainers.model.routing import Routing
from trainers.module import Work

WARM_ROUNDS = 4
SIDE = {"cuda": 16_384, "cpu": 2048}  # of the square product
THEIR_EXPERTS = "grouped_mm"
PRECISION = torch.bfloat16


def looped(x: Tensor, routing: Routing, gate_up: Tensor, down: Tensor) -> Tensor:
    """`dispatch` as a loop over the experts, each of which picks its tokens."""
    y = torch.zeros_like(x)
    for expert in range(len(gate_up)):
        token, rank = torch.where(routing.experts == expert)
        gate, up = F.linear(x[token], gate_up[expert]).chunk(2, dim=-1)
        said = F.linear(F.silu(gate) * up, down[expert])
        y.index_add_(0, token, (said * routing.weights[token, rank].unsqueeze(-1)).to(y.dtype))
    return y


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """What work takes until the device is idle again."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def ceiling(device: torch.device) -> float:
    """FLOPs a second of a large square product."""
    side = SIDE[device.type]
    one, other = (torch.randn(side, side, device=device, dtype=PRECISION) for _ in range(2))
    turns = [seconds(lambda: torch.mm(one, other), device) for _ in range(2 * WARM_ROUNDS)]
    return 2 * side**3 / statistics.median(turns[WARM_ROUNDS:])


def main() -> None:
    """Time the three in turns and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--experts", type=int, default=32)
    parser.add_argument("--ratio", type=float, default=1, help="of an expert's hidden size to the width")
    parser.add_argument("--tokens", type=int, default=65_536, help="of a batch")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=24)
    options = parser.parse_args()
    device = torch.device(options.device)
    arch = Architecture(
        depth=options.depth, width=options.width, experts=options.experts, top_k=2,
        expert_ratio=options.ratio, head_dim=min(64, options.width // 2), qk_norm=False,
    )  # fmt: skip
    shape = {"batch_tokens": options.tokens, "context": options.context}
    suite = load_catalog().suite("quick").model_copy(update=shape)
    mixer = Mixer(load_corpora(suite), TaskMixture.uniform(suite.tasks), suite, seed=0)
    ours, compiled, theirs = Ours(arch, suite), Ours(arch, suite), Theirs(arch, suite, THEIR_EXPERTS)
    compiled.module.decoder.compile_layers()
    for model in (ours, compiled, theirs):
        model.module.to(device)
    contenders = {
        "ours": (ours, dispatch),
        "ours, compiled": (compiled, dispatch),
        "the plain loop": (ours, looped),
        f"Mixtral, {THEIR_EXPERTS}": (theirs, dispatch),
    }
    work, taken = Work(), {name: [] for name in contenders}
    for turn in range(WARM_ROUNDS + options.rounds):
        batch: Batch = move_data_to_device(mixer.batch(turn), device)
        for name, (model, way) in contenders.items():
            trainers.model.experts.dispatch = way
            taken[name].append(seconds(lambda: step(model, batch, PRECISION), device))  # noqa: B023
        if turn >= WARM_ROUNDS:
            work.add(batch)
    taken = {name: turns[WARM_ROUNDS:] for name, turns in taken.items()}
    cost, most = price(arch, suite), ceiling(device)
    size = f"depth {arch.depth}, width {arch.width}, {arch.experts_in_words}"
    print(f"{device}: {size}, {cost.total_params:,} parameters")
    for name, turns in taken.items():
        ratios = (one / other for one, other in zip(turns, taken["ours"], strict=True))
        low, ratio, high = statistics.quantiles(ratios, n=4)
        rate = options.tokens / statistics.median(turns)
        mfu = work.flops(cost, "adamw") / sum(turns) / most
        print(f"  {name:20} {rate:12,.0f} tokens/s, use {mfu:.2f}, time over ours {ratio:.2f}", end="  ")
        print(f"({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
