"""The class of transformers that computes what our decoder does, for each set of options, and its settings.

A class is in the table because its logits equal ours, which tests check. Its configuration overrides the
defaults that differ from ours: the base of the rotation, the epsilon of the norms, renormalised top-k
weights, no biases, the window, and which layers are dense. An architecture with a field that is not in
`HANDLED` is refused, unless the field's value has no effect.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

from space.candidate import Architecture
from space.errors import NotFoundError, StudyFileError
from space.knob_index import unhandled
from space.records import SuiteRecord
from trainers.model.attention import ROPE_BASE
from trainers.model.norm import NORM_EPS

ANY = None
HANDLED = frozenset(  # fields of an architecture that the table and the settings take into account
    {
        "depth",
        "width",
        "experts",
        "top_k",
        "expert_ratio",
        "shared_experts",
        "dense_layers",
        "router",
        "head_dim",
        "kv_groups",
        "qk_norm",
        "window",
    }
)
NO_SHARED_WIDTH = 8  # of the shared expert of zeros, for a class that requires one


@dataclass(frozen=True)
class PeerClass:
    """A class of transformers.

    Attributes:
        model_type: its name in a `config.json`.
        settings: what its configuration needs in addition to what all classes share.
        shared: name of the shared expert in a sparse layer; empty if the class has none. If the class has one
            and our decoder does not, its weights are zeros, so it adds nothing.
        shared_gate: whether it scales its shared expert by a learned sigmoid, which our decoder does not. A
            gate of zeros halves the output, and doubled weights undo that without rounding.
    """

    model_type: str
    settings: Callable[[Architecture], dict[str, Any]]
    shared: str = ""
    shared_gate: bool = False


class Options(NamedTuple):
    """The options that determine the class; `ANY` matches both values."""

    router: Literal["none", "softmax", "sigmoid"]
    qk_norm: bool | None
    shared_expert: bool | None
    dense_layers: bool | None
    window: bool | None = ANY

    @classmethod
    def of(cls, arch: Architecture) -> "Options":
        """The options of an architecture."""
        router = arch.router if arch.sparse else "none"
        return cls(router, arch.qk_norm, arch.shared_experts > 0, arch.dense_layers > 0, arch.window > 0)

    def fit(self, options: "Options") -> bool:
        """Whether the options of an architecture match these, where `ANY` matches both values."""
        return all(mine in (ANY, given) for mine, given in zip(self, options, strict=True))


def _llama(arch: Architecture) -> dict[str, Any]:
    return {"attention_bias": False, "mlp_bias": False}


def _mistral(arch: Architecture) -> dict[str, Any]:
    return {"sliding_window": arch.window}


def _qwen3(arch: Architecture) -> dict[str, Any]:
    return {"attention_bias": False, **_sliding(arch)}


def _sliding(arch: Architecture) -> dict[str, Any]:
    """The window of the Qwen classes, in every layer."""
    if not arch.window:
        return {"use_sliding_window": False}
    layers = ["sliding_attention"] * arch.depth
    return {"use_sliding_window": True, "sliding_window": arch.window, "layer_types": layers}


def _mixtral(arch: Architecture) -> dict[str, Any]:
    return {
        "intermediate_size": arch.expert_width,
        "num_local_experts": arch.experts,
        "num_experts_per_tok": arch.top_k,
        "sliding_window": arch.window or None,
    }


def _qwen_moe(arch: Architecture) -> dict[str, Any]:
    return {
        "num_experts": arch.experts,
        "num_experts_per_tok": arch.top_k,
        "moe_intermediate_size": arch.expert_width,
        "norm_topk_prob": True,
        "mlp_only_layers": list(range(arch.dense_layers)),
        "decoder_sparse_step": 1,
        **_sliding(arch),
    }


def _qwen2_moe(arch: Architecture) -> dict[str, Any]:
    shared = arch.shared_experts * arch.expert_width or NO_SHARED_WIDTH
    return _qwen_moe(arch) | {"shared_expert_intermediate_size": shared, "qkv_bias": False}


def _qwen3_moe(arch: Architecture) -> dict[str, Any]:
    return _qwen_moe(arch) | {"attention_bias": False}


def _glm4_moe(arch: Architecture) -> dict[str, Any]:
    return {
        "n_routed_experts": arch.experts,
        "num_experts_per_tok": arch.top_k,
        "moe_intermediate_size": arch.expert_width,
        "n_shared_experts": 1,
        "first_k_dense_replace": arch.dense_layers,
        "use_qk_norm": arch.qk_norm,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "attention_bias": False,
        "num_nextn_predict_layers": 0,
        "rope_parameters": _rope(partial_rotary_factor=1.0),
    }


LLAMA = PeerClass("llama", _llama)
MISTRAL = PeerClass("mistral", _mistral)
QWEN3 = PeerClass("qwen3", _qwen3)
MIXTRAL = PeerClass("mixtral", _mixtral)
QWEN2_MOE = PeerClass("qwen2_moe", _qwen2_moe, shared="shared_expert", shared_gate=True)
QWEN3_MOE = PeerClass("qwen3_moe", _qwen3_moe)
GLM4_MOE = PeerClass("glm4_moe", _glm4_moe, shared="shared_experts")

EXACT: tuple[tuple[Options, PeerClass], ...] = (  # the first that fits
    # router, QK-norm, shared expert, leading dense layers, window
    (Options("none", False, ANY, ANY, False), LLAMA),
    (Options("none", False, ANY, ANY, True), MISTRAL),
    (Options("none", True, ANY, ANY), QWEN3),
    (Options("softmax", False, False, False), MIXTRAL),
    (Options("softmax", False, ANY, ANY), QWEN2_MOE),
    (Options("softmax", True, False, ANY), QWEN3_MOE),
    (Options("sigmoid", ANY, ANY, ANY, False), GLM4_MOE),
)


def exact_class(arch: Architecture) -> PeerClass:
    """The class of transformers that computes what this architecture does.

    Raises:
        NotFoundError: transformers is not installed.
        StudyFileError: there is no such class, or the architecture has a field that is not handled here.
    """
    if find_spec("transformers") is None:
        raise NotFoundError("an export in the format hf needs transformers: pip install 'pathfront[hf]'")
    unknown = unhandled(arch, HANDLED)
    if unknown:
        named = ", ".join(f"{name} {value}" for name, value in unknown.items())
        raise StudyFileError(f"an export in the format hf knows every knob that the model uses, got {named}")
    for options, peer in EXACT:
        if options.fit(Options.of(arch)):
            return peer
    if arch.router == "sigmoid":
        raise StudyFileError(
            "a sigmoid router has an exact class in transformers only with full attention, got window"
            f" {arch.window}; choose a candidate with window 0 or with a softmax router"
        )
    sigmoid = ", or with a sigmoid router" if not arch.window else ""
    raise StudyFileError(
        "a softmax router with a shared expert has an exact class in transformers only without QK-norm, got"
        f" shared_experts {arch.shared_experts} and qk_norm true; choose a candidate with qk_norm false"
        f"{' or' if arch.window else ','} without a shared expert{sigmoid}"
    )


def configuration(arch: Architecture, suite: SuiteRecord) -> Mapping[str, Any]:
    """The settings of an architecture in the class's `config.json`, including `model_type`.

    Raises:
        NotFoundError: transformers is not installed.
        StudyFileError: no class is exact.
    """
    peer = exact_class(arch)
    return {
        "model_type": peer.model_type,
        "vocab_size": suite.vocab_size,
        "hidden_size": arch.width,
        "intermediate_size": arch.dense_width,
        "num_hidden_layers": arch.depth,
        "num_attention_heads": arch.num_heads,
        "num_key_value_heads": arch.num_kv_heads,
        "head_dim": arch.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPS,
        "max_position_embeddings": suite.context,
        "tie_word_embeddings": False,
        "rope_parameters": _rope(),
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    } | peer.settings(arch)


def _rope(**more: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": ROPE_BASE, **more}
