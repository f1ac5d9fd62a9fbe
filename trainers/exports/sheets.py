"""An architecture as argument sheets for trainers of large models: torchtitan and Megatron-LM.

Each sheet has one row for each knob of the architecture and is refused if a knob has none. Neither trainer
has patch encoders or local positions; each sheet says so at its top. Names are those of torchtitan's `Config`
classes and builders (torchtitan/models/common), which are Python, so a person reads that sheet or wraps it in
a few lines, and those of Megatron-LM's command line (megatron/training/arguments.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from space.candidate import Architecture
from space.errors import StudyFileError
from space.knob_index import unhandled
from space.records import SuiteRecord

TORCHTITAN_FILE = "torchtitan.toml"
MEGATRON_FILE = "megatron.args"

Value = bool | int | float | str
Table = dict[str, Value]
Tables = Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True)
class Constants:
    """Settings that all our decoders share and that a sheet states.

    Attributes:
        rope_base: base of the rotation.
        norm_eps: epsilon of every RMSNorm.
        balance_coefficient: of the balance loss of a softmax router, on the mean over the sparse layers.
        z_coefficient: of its z-loss, likewise.
        bias_step: step of the bias that balances a sigmoid router.
    """

    rope_base: float
    norm_eps: float
    balance_coefficient: float
    z_coefficient: float
    bias_step: float


def torchtitan(arch: Architecture, suite: SuiteRecord, constants: Constants) -> str:
    """The sheet for torchtitan: one table for each Config, with its arguments by name.

    Raises:
        StudyFileError: the sheet has no row for a knob of the architecture.
    """
    check_described(arch)
    tables: dict[str, Table] = {
        "model": {"vocab_size": suite.vocab_size, "enable_weight_tying": False},
        "norm": {"normalized_shape": arch.width, "eps": constants.norm_eps},
        "rope": {"max_seq_len": suite.context, "theta": constants.rope_base, "backend": "cos_sin"},
    }
    for rows in _rows(arch, constants, TORCHTITAN, TORCHTITAN_MOE):
        for name, table in rows.items():
            tables.setdefault(name, {}).update(table)
    lines = _header(suite, "torchtitan describes models in Python: one table for each Config or builder.")
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    if arch.sparse and arch.router == "softmax":
        lines += [
            "# coeff: torchtitan adds up the losses of the sparse layers, and ours is their mean.",
            "# moe.load_balance_coeff = None in Python: no bias balances these experts.",
            f"# Without a counterpart: the z-loss, {constants.z_coefficient:g} of the mean over the layers.",
        ]
    return "\n".join([*lines, ""])


def megatron(arch: Architecture, suite: SuiteRecord, constants: Constants) -> str:
    """The sheet for Megatron-LM: one flag per line, with its value if it takes one.

    Raises:
        StudyFileError: the sheet has no row for a knob of the architecture.
    """
    check_described(arch)
    flags: Table = {
        "normalization": "RMSNorm",
        "norm-epsilon": constants.norm_eps,
        "position-embedding-type": "rope",
        "rotary-base": int(constants.rope_base),
        "rotary-percent": 1.0,
        "swiglu": True,
        "disable-bias-linear": True,
        "untie-embeddings-and-output-weights": True,
        "attention-dropout": 0.0,
        "hidden-dropout": 0.0,
        "vocab-size": suite.vocab_size,
        "make-vocab-size-divisible-by": 1,
        "seq-length": suite.context,
        "max-position-embeddings": suite.context,
    }
    for row in _rows(arch, constants, MEGATRON, MEGATRON_MOE):
        flags |= row
    lines = _header(suite, "Use it as: torchrun pretrain_gpt.py $(grep -v '^#' megatron.args) ...")
    if arch.sparse and arch.router == "softmax":
        lines.append(
            "# Coefficients: Megatron-LM adds up the losses of the sparse layers, and ours is their mean."
        )
    if arch.sparse and arch.router == "sigmoid" and arch.top_k == 1:
        lines.append("# Not the same: Megatron-LM weighs a single expert by its sigmoid, ours by 1.")
    for flag, value in flags.items():
        if value is not False:
            lines.append(f"--{flag}" if value is True else f"--{flag} {value}")
    return "\n".join([*lines, ""])


def check_described(arch: Architecture) -> None:
    """Check that both sheets have a row for each knob of an architecture.

    Raises:
        StudyFileError: a knob has none.
    """
    for trainer, rows in (
        ("torchtitan", TORCHTITAN | TORCHTITAN_MOE),
        ("Megatron-LM", MEGATRON | MEGATRON_MOE),
    ):
        missing = unhandled(arch, rows)
        if missing:
            named = ", ".join(f"{name} {value}" for name, value in missing.items())
            raise StudyFileError(
                f"the argument sheet of {trainer} has a row for each knob, got {named} without"
            )


Row = Callable[[Architecture, Constants], Mapping[str, Any]]


def _rows(
    arch: Architecture, constants: Constants, rows: dict[str, Row], of_experts: dict[str, Row]
) -> list[Mapping[str, Any]]:
    """The entries of a sheet's rows for an architecture."""
    used = rows | (of_experts if arch.sparse else {})
    return [row(arch, constants) for row in used.values()]


def _torchtitan_dense(arch: Architecture) -> Tables:
    dense = _num_dense(arch)
    return {"feed_forward": {"n_dense_layers": dense, "hidden_dim": arch.dense_width}} if dense else {}


def _torchtitan_balance(arch: Architecture, constants: Constants) -> Tables:
    router: dict[str, Table] = {
        "moe.router": {"score_func": arch.router, "route_norm": True, "route_scale": 1.0},
        "moe.experts": {"score_before_experts": False},
    }
    if arch.router == "sigmoid":
        return router | {"moe": {"load_balance_coeff": constants.bias_step}}
    coefficient = constants.balance_coefficient / _num_sparse(arch)
    return router | {"moe.aux_loss": {"type": "batch_wise", "coeff": coefficient, "top_k": arch.top_k}}


def _megatron_balance(arch: Architecture, constants: Constants) -> Table:
    router: Table = {"moe-router-score-function": arch.router, "moe-router-dtype": "fp32"}
    if arch.router == "sigmoid":
        return router | {
            "moe-router-enable-expert-bias": True,
            "moe-router-bias-update-rate": constants.bias_step,
            "moe-router-load-balancing-type": "none",
        }
    return router | {
        "moe-router-load-balancing-type": "global_aux_loss",
        "moe-aux-loss-coeff": constants.balance_coefficient / _num_sparse(arch),
        "moe-z-loss-coeff": constants.z_coefficient / _num_sparse(arch),
    }


# knob -> the entries that it decides; the second dict of each sheet is used if any layer routes
TORCHTITAN: dict[str, Row] = {
    "depth": lambda arch, _: {"model": {"n_layers": arch.depth}},
    "width": lambda arch, _: {"model": {"dim": arch.width}, "attention": {"dim": arch.width}},
    "head_dim": lambda arch, _: {
        "attention": {"n_heads": arch.num_heads, "head_dim": arch.head_dim},
        "rope": {"dim": arch.head_dim},
    },
    "kv_groups": lambda arch, _: {"attention": {"n_kv_heads": arch.num_kv_heads}},
    "qk_norm": lambda arch, constants: (
        {"attention.qk_norm": {"normalized_shape": arch.head_dim, "eps": constants.norm_eps}}
        if arch.qk_norm
        else {}
    ),
    "window": lambda arch, _: (
        {"attention.inner_attention": {"type": "SlidingWindowFlexInnerAttention", "window_size": arch.window}}
        if arch.window
        else {}
    ),
    "dense_layers": lambda arch, _: _torchtitan_dense(arch),
}
TORCHTITAN_MOE: dict[str, Row] = {
    "experts": lambda arch, _: {
        table: {"num_experts": arch.experts} for table in ("moe", "moe.router", "moe.experts")
    },
    "top_k": lambda arch, _: {"moe.router": {"top_k": arch.top_k}},
    "expert_ratio": lambda arch, _: {"moe.experts": {"hidden_dim": arch.expert_width}},
    "shared_experts": lambda arch, _: (
        {"moe.shared_experts": {"hidden_dim": arch.shared_experts * arch.expert_width}}
        if arch.shared_experts
        else {}
    ),
    "router": _torchtitan_balance,
}
MEGATRON: dict[str, Row] = {
    "depth": lambda arch, _: {"num-layers": arch.depth},
    "width": lambda arch, _: {"hidden-size": arch.width, "ffn-hidden-size": arch.dense_width},
    "head_dim": lambda arch, _: {"num-attention-heads": arch.num_heads, "kv-channels": arch.head_dim},
    "kv_groups": lambda arch, _: {"group-query-attention": True, "num-query-groups": arch.num_kv_heads},
    "qk_norm": lambda arch, _: {"qk-layernorm": arch.qk_norm},
    "window": lambda arch, _: {"window-size": f"{arch.window - 1},0"} if arch.window else {},
}
MEGATRON_MOE: dict[str, Row] = {
    "experts": lambda arch, _: {"num-experts": arch.experts},
    "top_k": lambda arch, _: {"moe-router-topk": arch.top_k},
    "expert_ratio": lambda arch, _: {"moe-ffn-hidden-size": arch.expert_width},
    "shared_experts": lambda arch, _: (
        {"moe-shared-expert-intermediate-size": arch.shared_experts * arch.expert_width}
        if arch.shared_experts
        else {}
    ),
    "dense_layers": lambda arch, _: {"moe-layer-freq": f"([0]*{arch.dense_layers}+[1]*{_num_sparse(arch)})"},
    "router": _megatron_balance,
}


def _header(suite: SuiteRecord, use: str) -> list[str]:
    encoders = ", ".join(f"{name} ({size} numbers a patch)" for name, size in suite.encoders.items())
    return [
        f"# {use}",
        "# Without a counterpart there:",
        "# - local positions, a learned vector for each place in a timestep",
        *([f"# - patch encoders: {encoders}"] if encoders else []),
    ]


def _num_sparse(arch: Architecture) -> int:
    return arch.depth - arch.dense_layers if arch.sparse else 0


def _num_dense(arch: Architecture) -> int:
    return arch.depth - _num_sparse(arch)


def _toml(value: Value) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
