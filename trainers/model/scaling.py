"""Initial scale and learning rate of each parameter by its shape, so that one learning rate fits all sizes.

The maximal update parametrisation (Yang 2022, https://arxiv.org/abs/2203.03466) without multipliers in the
forward pass, so that the weights are those of a plain decoder. With Adam, a matrix that sums over n inputs
begins with a standard deviation that falls with the square root of n, and learns at a rate that falls with
the width; tables, projections of patches, biases and norms, which sum over nothing that grows, keep the rate.
What writes to the residual stream learns at a rate that falls with the depth as well (Dey 2025,
https://arxiv.org/abs/2505.01618). Experts are matrices as any other, and so is the router (Malasnicki 2025,
https://arxiv.org/abs/2508.09752). `tests/benchmarks/learning_rates.py` measures how well it holds.
"""

from typing import NamedTuple

from torch import Tensor

from space.candidate import Architecture

BASE_WIDTH = 64  # here and at the base depth every matrix learns at the candidate's own rate
BASE_DEPTH = 2
INIT_STD = 0.02  # of tables, and of matrices that sum over as many inputs as the base width
TABLE_RATE = 3.0  # of tables and the head, which are looked at less often than matrices; measured on `quick`
TABLES = ("table", "local", "project")


class ParameterScale(NamedTuple):
    """Initial scale and learning rate of one parameter.

    Attributes:
        std: initial standard deviation.
        width: factor of its learning rate that follows from the width.
        depth: factor that follows from the depth.
        parts: rows of the matrices that lie below each other in it; None where it is no matrix of a layer.
    """

    std: float
    width: float
    depth: float
    parts: tuple[int, ...] | None

    @property
    def rate(self) -> float:
        """Its learning rate under Adam over the candidate's."""
        return self.width * self.depth


def scale_of(name: str, parameter: Tensor, arch: Architecture) -> ParameterScale:
    """Scale of a decoder's table or matrix.

    Args:
        name: in the decoder.
        parameter: (..., rows, columns).
        arch: the decoder's architecture.
    """
    kind = name.removesuffix(".weight").rpartition(".")[2]
    if kind in TABLES:
        return ParameterScale(INIT_STD, TABLE_RATE, 1.0, None)
    rows, columns = parameter.shape[-2:]
    std, width = INIT_STD * (BASE_WIDTH / columns) ** 0.5, BASE_WIDTH / arch.width
    if kind == "head":
        return ParameterScale(std, TABLE_RATE * width, 1.0, None)
    if not name.startswith("layers."):
        return ParameterScale(std, width, 1.0, None)
    if kind in ("out", "down"):
        return ParameterScale(std / (2 * arch.depth) ** 0.5, width, BASE_DEPTH / arch.depth, (rows,))
    heads = arch.num_heads, arch.num_kv_heads, arch.num_kv_heads
    parts = {"qkv": tuple(n * arch.head_dim for n in heads), "gate_up": (rows // 2, rows // 2)}
    return ParameterScale(std, width, 1.0, parts.get(kind))
