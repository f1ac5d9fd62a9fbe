"""What is searched: an architecture, a mixture and a learning rate, with an id that never changes."""

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from space.mixture import TaskMixture
from space.records import Frozen


class Architecture(Frozen):
    """One sparse decoder: pre-norm RMSNorm, RoPE, grouped-query attention, SwiGLU experts, dropless top-k.

    Attributes:
        depth: layers.
        width: size of the residual stream.
        experts: routed experts a layer; 1 is a dense layer without a router.
        top_k: experts that each token visits.
        expert_ratio: hidden size of one expert over `width`.
        shared_experts: experts that every token visits beside its top-k.
        dense_layers: leading layers that are dense whatever `experts` says.
        router: "softmax", balanced by a loss, or "sigmoid", balanced by a bias on the choice of experts.
        head_dim: size of an attention head.
        kv_groups: query heads that share a key/value head.
        qk_norm: RMSNorm on queries and keys of each head.
    """

    depth: int = Field(ge=1, le=256)
    width: int = Field(ge=8, le=65536)
    experts: int = Field(default=1, ge=1, le=4096)
    top_k: int = Field(default=1, ge=1, le=4096)
    expert_ratio: float = Field(default=2.0, gt=0, le=65536)
    shared_experts: int = Field(default=0, ge=0, le=1)
    dense_layers: int = Field(default=0, ge=0, le=256)
    router: Literal["softmax", "sigmoid"] = "softmax"
    head_dim: int = Field(default=16, ge=4, le=65536)
    kv_groups: int = Field(default=1, ge=1, le=16384)
    qk_norm: bool = True

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
        """Hidden size of one expert: a multiple of 8, at least 8."""
        return max(8, round(self.width * self.expert_ratio / 8) * 8)

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
        """How its layers route, such as "8 experts, top-2, sigmoid router"; "dense" if none does."""
        if not self.sparse:
            return "dense"
        words = [f"{self.experts} experts", f"top-{self.top_k}"]
        words += [f"{self.shared_experts} shared"] if self.shared_experts else []
        words += [f"{self.router} router"] if self.router != "softmax" else []
        words += [f"first {self.dense_layers} of {self.depth} layers dense"] if self.dense_layers else []
        return ", ".join(words)

    @property
    def canonical(self) -> "Architecture":
        """The one of all architectures with this very network that a new candidate's id is taken of.

        Where no layer routes, neither the experts nor the router exist, and top-k, the shared expert and the
        expert ratio only say how wide the dense network is; elsewhere a ratio says what it is rounded to.
        """
        dense = {"experts": 1, "top_k": 1, "shared_experts": 0, "dense_layers": 0, "router": "softmax"}
        changes: dict[str, Any] = {} if self.sparse else dense
        hidden = self.expert_width if self.sparse else self.dense_width
        if abs(self.expert_ratio * self.width - hidden) > 1e-9 * hidden:
            changes = {**changes, "expert_ratio": hidden / self.width}
        return Architecture.model_validate(self.model_dump() | changes) if changes else self

    def is_sparse_layer(self, layer: int) -> bool:
        """Whether the layer with this index (from 0) routes."""
        return self.experts > 1 and layer >= self.dense_layers


class CandidateConfig(Frozen):
    """A point of the search space: all that training needs beside the suite and the budget.

    Attributes:
        architecture: the network.
        mixture: each task's share of the input tokens.
        learning_rate: of the matrices of a network of the base width; the rate of each parameter follows from
            its shape (`trainers.model.scaling`), so that the best one hardly depends on width and depth.
        optimizer: "adamw", or "muon" for the matrices of the layers and AdamW for the rest.
    """

    architecture: Architecture
    mixture: TaskMixture
    learning_rate: float = Field(gt=0, le=10)
    optimizer: Literal["adamw", "muon"] = "adamw"

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the canonical JSON.

        Fields at their defaults are left out, so a knob that is added later changes no id.
        """
        data = self.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
