"""What does sparsity cost by itself? A layer of experts over a dense layer of as many active FLOPs.

    python tests/benchmarks/moe_layer.py [--rounds 24] [--dtype float32] [--skew even]

Times forward and backward of `SparseNetwork` (router, dispatch, experts) and of `DenseNetwork`, whose hidden
size is top-k times the expert width, on 4,096 tokens and one thread. The two take turns, every round on
tokens and routes of its own as in training: a product of a shape not seen before costs more. Inputs want a
gradient, as within a network. Prints the median of the rounds' ratios of CPU time of each shape, with their
quartiles, for float32 and for bfloat16 autocast, with even and with skewed routing (one expert is visited by
all tokens, under top-1 by half of them; the last quarter of the experts by none).

Expect geometric means of 1.1 in float32 and of 1.7 in bfloat16. In float32 the products take as long as the
dense layer's (seen with `perf`), and the router, sorting and many small calls come on top. The worst are 64
experts of width 64, at 1.5 and 3.9: their products are too small for what each call costs.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from trainers.model.experts import DenseNetwork, SparseNetwork

TOKENS = 4096
SHAPES = (  # width, expert width, experts, top_k
    (64, 128, 4, 1),
    (64, 128, 8, 2),
    (64, 128, 32, 4),
    (128, 256, 8, 2),
    (128, 128, 16, 2),
    (128, 256, 32, 4),
    (256, 512, 8, 2),
    (64, 64, 64, 4),
    (96, 96, 16, 4),
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SKEWS = ("even", "skewed")
WARM_ROUNDS = 6
PUSH = 30.0  # logits by which skewed routing is decided


def make_layers(width: int, hidden: int, experts: int, top_k: int) -> tuple[SparseNetwork, DenseNetwork]:
    """A sparse layer and its dense twin; the router listens to two channels that `make_tokens` sets."""
    sparse = SparseNetwork(width, hidden, experts, top_k, "softmax", shared=False)
    dense = DenseNetwork(width, top_k * hidden)
    for parameter in (*sparse.parameters(), *dense.parameters()):
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    with torch.no_grad():
        sparse.router.weight[:, :2] = 0
        sparse.router.weight[0, 0] = PUSH
        sparse.router.weight[-experts // 4 :, 1] = -PUSH
    return sparse, dense


def make_tokens(width: int, top_k: int, skewed: bool) -> Tensor:
    """Tokens (tokens, width) that are routed at random, or half of whose visits are to the first expert."""
    tokens = torch.randn(TOKENS, width)
    tokens[:, :2] = 0
    if skewed:
        tokens[: TOKENS * min(top_k, 2) // 2, 0] = 1
        tokens[:, 1] = 1
    return tokens.requires_grad_()


def step_seconds(layer: Callable[[Tensor], tuple[Tensor, object]], x: Tensor, dtype: torch.dtype) -> float:
    """CPU seconds of a layer's forward and backward."""
    upstream = torch.randn(x.shape).to(dtype)
    started = time.thread_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        y, _ = layer(x)
    y.backward(upstream.to(y.dtype))
    return time.thread_time() - started


def compare(shape: tuple[int, int, int, int], dtype: torch.dtype, skewed: bool, rounds: int) -> list[float]:
    """Sparse over dense CPU time of each round."""
    torch.manual_seed(0)
    layers = make_layers(*shape)
    ratios = []
    for turn in range(WARM_ROUNDS + rounds):
        seconds = []
        for layer in layers:
            layer.zero_grad(set_to_none=True)
            seconds.append(step_seconds(layer, make_tokens(shape[0], shape[3], skewed), dtype))
        if turn >= WARM_ROUNDS:
            ratios.append(seconds[0] / seconds[1])
    return ratios


def main() -> None:
    """Compare every shape in every way and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--dtype", choices=DTYPES, action="append")
    parser.add_argument("--skew", choices=SKEWS, action="append")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for dtype in options.dtype or DTYPES:
        for skew in options.skew or SKEWS:
            medians = []
            for shape in SHAPES:
                ratios = compare(shape, DTYPES[dtype], skew == "skewed", options.rounds)
                low, median, high = statistics.quantiles(ratios, n=4)
                medians.append(median)
                print(f"{dtype:9}{skew:7} {shape!s:19} {median:.2f}  ({low:.2f} to {high:.2f})", flush=True)
            mean = statistics.geometric_mean(medians)
            print(f"{dtype:9}{skew:7} geometric mean {mean:.2f}, worst {max(medians):.2f}", flush=True)


if __name__ == "__main__":
    main()
