"""An architecture as argument sheets for trainers of large models: torchtitan and Megatron-LM.

Both name the shape of the decoder, how it routes and how its experts are balanced; neither has patch encoders
or local positions, which the sheets say at their top. Names: torchtitan's `Config` classes and builders
(torchtitan/models/common), which are Python, so its sheet is read by a person or by a few lines around it;
Megatron-LM's command line (megatron/training/arguments.py).
"""

from dataclasses import dataclass

from space.candidate import Architecture
from space.records import SuiteRecord

TORCHTITAN_FILE = "torchtitan.toml"
MEGATRON_FILE = "megatron.args"

Value = bool | int | float | str


@dataclass(frozen=True)
class Constants:
    """What every decoder of ours shares and a sheet has to say.

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
    """The sheet for torchtitan: a table for each Config, its arguments by their names."""
    lines = _header(suite, "torchtitan describes models in Python: one table for each Config or builder.")
    tables: dict[str, dict[str, Value]] = {
        "model": {
            "vocab_size": suite.vocab_size,
            "dim": arch.width,
            "n_layers": arch.depth,
            "enable_weight_tying": False,
        },
        "norm": {"normalized_shape": arch.width, "eps": constants.norm_eps},
        "rope": {
            "dim": arch.head_dim,
            "max_seq_len": suite.context,
            "theta": constants.rope_base,
            "backend": "cos_sin",
        },
        "attention": {
            "dim": arch.width,
            "n_heads": arch.num_heads,
            "n_kv_heads": arch.num_kv_heads,
            "head_dim": arch.head_dim,
        },
    }
    if arch.qk_norm:
        tables["attention.qk_norm"] = {"normalized_shape": arch.head_dim, "eps": constants.norm_eps}
    if _num_dense(arch):
        tables["feed_forward"] = {"n_dense_layers": _num_dense(arch), "hidden_dim": arch.dense_width}
    if arch.sparse:
        tables |= _torchtitan_moe(arch, constants)
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    if arch.sparse and arch.router == "softmax":
        lines += [
            "# coeff: torchtitan adds up the losses of the sparse layers, and ours is their mean.",
            "# moe.load_balance_coeff = None in Python: no bias balances these experts.",
            f"# Without a counterpart: the z-loss, {constants.z_coefficient:g} of the mean over the layers.",
        ]
    return "\n".join([*lines, ""])


def _torchtitan_moe(arch: Architecture, constants: Constants) -> dict[str, dict[str, Value]]:
    tables: dict[str, dict[str, Value]] = {
        "moe": {"num_experts": arch.experts},
        "moe.router": {
            "num_experts": arch.experts,
            "top_k": arch.top_k,
            "score_func": arch.router,
            "route_norm": True,
            "route_scale": 1.0,
        },
        "moe.experts": {
            "num_experts": arch.experts,
            "hidden_dim": arch.expert_width,
            "score_before_experts": False,
        },
    }
    if arch.router == "sigmoid":
        tables["moe"]["load_balance_coeff"] = constants.bias_step
    if arch.shared_experts:
        tables["moe.shared_experts"] = {"hidden_dim": arch.shared_experts * arch.expert_width}
    if arch.router == "softmax":
        coefficient = constants.balance_coefficient / _num_sparse(arch)
        tables["moe.aux_loss"] = {"type": "batch_wise", "coeff": coefficient, "top_k": arch.top_k}
    return tables


def megatron(arch: Architecture, suite: SuiteRecord, constants: Constants) -> str:
    """The sheet for Megatron-LM: one flag a line, with its value where it takes one."""
    flags: dict[str, Value] = {
        "num-layers": arch.depth,
        "hidden-size": arch.width,
        "ffn-hidden-size": arch.dense_width,
        "num-attention-heads": arch.num_heads,
        "kv-channels": arch.head_dim,
        "group-query-attention": True,
        "num-query-groups": arch.num_kv_heads,
        "qk-layernorm": arch.qk_norm,
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
    if arch.sparse:
        flags |= _megatron_moe(arch, constants)
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


def _megatron_moe(arch: Architecture, constants: Constants) -> dict[str, Value]:
    flags: dict[str, Value] = {
        "num-experts": arch.experts,
        "moe-ffn-hidden-size": arch.expert_width,
        "moe-layer-freq": f"([0]*{arch.dense_layers}+[1]*{_num_sparse(arch)})",
        "moe-router-topk": arch.top_k,
        "moe-router-score-function": arch.router,
        "moe-router-dtype": "fp32",
    }
    if arch.shared_experts:
        flags["moe-shared-expert-intermediate-size"] = arch.shared_experts * arch.expert_width
    if arch.router == "sigmoid":
        return flags | {
            "moe-router-enable-expert-bias": True,
            "moe-router-bias-update-rate": constants.bias_step,
            "moe-router-load-balancing-type": "none",
        }
    return flags | {
        "moe-router-load-balancing-type": "global_aux_loss",
        "moe-aux-loss-coeff": constants.balance_coefficient / _num_sparse(arch),
        "moe-z-loss-coeff": constants.z_coefficient / _num_sparse(arch),
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
