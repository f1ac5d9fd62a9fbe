"""A candidate of the search: an architecture, a mixture, a learning rate and an optimizer, with a stable id.

Each knob is declared here, with the field that it sets, and nowhere else.
"""

import hashlib
import json
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from space.knobs import Between, Choices, Knob, in_words, knobs_of, only
from space.mixture import TaskMixture
from space.records import Frozen

EXPERTS = "Experts"  # title of the line that describes how layers route
DEEPEST, WIDEST = 256, 65536  # layers and channels of the largest architecture
CHANNELS = 8  # an expert's width is a multiple of it


class Architecture(Frozen):
    """One sparse decoder: pre-norm RMSNorm, RoPE, grouped-query attention, SwiGLU experts, dropless top-k.

    Each field declares a knob; `space.knobs.Knob` explains what a declaration holds.
    """

    depth: Annotated[
        int,
        Field(ge=1, le=DEEPEST),
        Knob(
            Between(low=1, high=4),
            "number of layers",
            title="Depth, width",
            said="{0.depth}",
            unit="layers",
        ),
    ]
    width: Annotated[
        int,
        Field(ge=8, le=WIDEST),
        Knob(
            Choices(choices=(48, 64, 96, 128)),
            "size of the residual stream",
            title="Depth, width",
            said="{0.width}",
            unit="channels",
            rule="a multiple of head_dim",
        ),
    ]
    experts: Annotated[
        int,
        Field(ge=1, le=4096),
        Knob(
            Choices(choices=(1, 2, 4, 8, 16)),
            "routed experts of each sparse layer; 1 is a dense model without a router",
            title=EXPERTS,
            said="{0.experts} experts",
            unit="experts",
            routing=True,
        ),
    ] = 1
    top_k: Annotated[
        int,
        Field(ge=1, le=4096),
        Knob(
            Choices(choices=(1, 2, 4)),
            "routed experts that process each token",
            title=EXPERTS,
            said="top-{0.top_k}",
            unit="experts",
            rule="at most experts",
            routing=True,
        ),
    ] = 1
    expert_ratio: Annotated[
        float,
        Field(gt=0, le=65536),
        Knob(
            Choices(choices=(0.5, 1, 2, 4)),
            "hidden size of one expert divided by width; the hidden size is rounded to a multiple of"
            f" {CHANNELS}",
            title="Expert width",
            said="{0.expert_width} ({0.expert_ratio:g} times the width)",
            unit="of width",
            most=16,
        ),
    ] = 2.0
    shared_experts: Annotated[
        int,
        Field(ge=0, le=1),
        Knob(
            only(0),
            "experts that process every token in addition to its top-k",
            title=EXPERTS,
            said="{0.shared_experts} shared",
            unit="experts",
            plain=0,
            routing=True,
        ),
    ] = 0
    dense_layers: Annotated[
        int,
        Field(ge=0, le=DEEPEST),
        Knob(
            only(0),
            "leading layers that are dense",
            title=EXPERTS,
            said="first {0.dense_layers} of {0.depth} layers dense",
            place=1,
            unit="layers",
            rule="at most depth",
            plain=0,
            routing=True,
        ),
    ] = 0
    router: Annotated[
        Literal["softmax", "sigmoid"],
        Knob(
            only("softmax"),
            "how tokens choose experts: softmax, balanced by losses, or sigmoid, balanced by a bias on the"
            " choice of experts",
            title=EXPERTS,
            said="{0.router} router",
            plain="softmax",
            routing=True,
        ),
    ] = "softmax"
    head_dim: Annotated[
        int,
        Field(ge=4, le=65536),
        Knob(
            only(16),
            "size of an attention head",
            title="Attention",
            said="{0.num_heads} heads of {0.head_dim}",
            unit="channels",
            rule="even",
        ),
    ] = 16
    kv_groups: Annotated[
        int,
        Field(ge=1, le=16384),
        Knob(
            only(1),
            "query heads that share one key/value head",
            title="Attention",
            said="{0.num_kv_heads} for keys and values",
            unit="heads",
            rule="a divisor of width / head_dim",
        ),
    ] = 1
    qk_norm: Annotated[
        bool,
        Knob(
            only(True),
            "RMSNorm on the queries and keys of each head",
            title="Attention",
            said="QK-norm",
            plain=False,
        ),
    ] = True
    window: Annotated[
        int,
        Field(ge=0, le=65536),
        Knob(
            only(0),
            "sliding-window attention: a position attends to itself and to the window - 1 before it; 0 is"
            " full attention. It saves no products, but memory of the cache of keys and values",
            title="Attention",
            said="window of {0.window}",
            unit="positions",
            plain=0,
        ),
    ] = 0

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.top_k > self.experts:
            raise ValueError(f"top_k is at most experts, got {self.top_k} of {self.experts}")
        if self.width % self.head_dim or self.head_dim % 2:
            raise ValueError(
                f"width is a multiple of an even head_dim, got width {self.width}, head_dim {self.head_dim}"
            )
        if self.num_heads % self.kv_groups:
            raise ValueError(f"kv_groups divides the {self.num_heads} heads, got {self.kv_groups}")
        if self.dense_layers > self.depth:
            raise ValueError(f"dense_layers is at most depth, got {self.dense_layers} of {self.depth}")
        return self

    @property
    def num_heads(self) -> int:
        """Query heads."""
        return self.width // self.head_dim

    @property
    def num_kv_heads(self) -> int:
        """Key/value heads."""
        return self.num_heads // self.kv_groups

    @property
    def expert_width(self) -> int:
        """Hidden size of one expert: a multiple of `CHANNELS`, and not 0."""
        return max(CHANNELS, round(self.width * self.expert_ratio / CHANNELS) * CHANNELS)

    @property
    def dense_width(self) -> int:
        """Hidden size of a dense layer: as many active channels as a sparse layer of this architecture."""
        return self.expert_width * (self.top_k + self.shared_experts)

    @property
    def sparse(self) -> bool:
        """Whether any layer routes."""
        return self.experts > 1 and self.dense_layers < self.depth

    @property
    def experts_in_words(self) -> str:
        """How its layers route, such as "8 experts, top-2, sigmoid router"; "dense" if no layer routes."""
        return ", ".join(self.in_words[EXPERTS]) or "dense"

    @property
    def features(self) -> str:
        """`experts_in_words`, followed by the words of other knobs that are off by default."""
        fields = type(self).model_fields
        extra = [
            knob.said.format(self)
            for name, knob in knobs_of(type(self)).items()
            if knob.title not in ("", EXPERTS)
            and knob.plain is not None
            and fields[name].default == knob.plain != getattr(self, name)
        ]
        return ", ".join([self.experts_in_words, *extra])

    @property
    def in_words(self) -> dict[str, list[str]]:
        """Title -> words of the knobs with this title that have an effect; no words where none has."""
        return in_words(self, silent=() if self.sparse else _routing_defaults())

    @property
    def canonical(self) -> "Architecture":
        """The same network in its one spelling, from which the id of a new candidate is taken.

        If no layer routes, the router has no effect, and top-k, the shared expert and the expert ratio only
        set the width of the dense networks. Otherwise the ratio is the one that it is rounded to.
        """
        changes: dict[str, Any] = {} if self.sparse else dict(_routing_defaults())
        hidden = self.expert_width if self.sparse else self.dense_width
        if abs(self.expert_ratio * self.width - hidden) > 1e-9 * hidden:
            changes["expert_ratio"] = hidden / self.width
        return Architecture.model_validate(self.model_dump() | changes) if changes else self

    def canonical_for(self, context: int) -> "Architecture":
        """`canonical`, for sequences of at most `context` positions: no window that holds them all."""
        full = self.model_copy(update={"window": 0}) if self.window >= context else self
        return full.canonical

    def is_sparse_layer(self, layer: int) -> bool:
        """Whether the layer with this index (from 0) routes."""
        return self.experts > 1 and layer >= self.dense_layers


@cache
def _routing_defaults() -> dict[str, Any]:
    """Defaults of the knobs that have no effect in a model without sparse layers."""
    fields = Architecture.model_fields
    return {name: fields[name].default for name, knob in knobs_of(Architecture).items() if knob.routing}


class CandidateConfig(Frozen):
    """A point of the search space: all that training needs apart from the suite and the budget.

    Attributes:
        mixture: each task's share of the input tokens.
    """

    architecture: Architecture
    mixture: TaskMixture
    learning_rate: Annotated[
        float,
        Field(gt=0, le=10),
        Knob(
            Between(low=3e-4, high=1e-2, log=True),
            "learning rate of a matrix of a model of width 64 and depth 2; the rates of other shapes follow"
            " from it",
            title="Learning rate",
            said="{0.learning_rate:.3g}",
        ),
    ]
    optimizer: Annotated[
        Literal["adamw", "muon"],
        Knob(
            only("adamw"),
            "`adamw`, or `muon` for the matrices of the layers and `adamw` for the rest",
            title="Optimizer",
            said="{0.optimizer}",
        ),
    ] = "adamw"

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the canonical JSON.

        Fields at their defaults are left out, so adding a knob changes no id.
        """
        data = self.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
