"""What a candidate costs, exactly and before anything is trained.

FLOPs count matrix products only (two for each multiply-add), the full attention square, the output head at
every position, the router and the patch encoders; a table lookup is free. They equal what
`torch.utils.flop_counter.FlopCounterMode` counts on the model itself, which a test checks.
"""

from dataclasses import dataclass

from space.candidate import Architecture
from space.catalog import SuiteRecord

LOCAL_POSITIONS = 64  # learned positions within a timestep or an image (Gato section 2.2)
ENCODER_RATIO = 2  # hidden size of a patch encoder's residual block over the model's width
TRAINING_FACTOR = 3  # forward, and two products of the same size backward for each of its products
MUON_ITERATIONS = 5  # of Newton-Schulz a step
ADAMW_BYTES = 16  # fp32 weight, gradient and two moments


@dataclass(frozen=True)
class Cost:
    """Counted costs of an architecture on a suite.

    Attributes:
        flops_per_token: forward, at the suite's context, under the uniform mixture.
        body_flops_per_token: the same without head and patch encoders.
        head_flops_per_token: the output head at one position.
        encoder_flops_per_patch: patch encoder -> FLOPs of one patch.
        active_params: parameters that one token passes through, tables and encoders included.
        total_params: all parameters.
        muon_flops_per_step: what Muon's own matrix products take at each step, whatever the batch.
        training_bytes: AdamW in fp32 and the activations of one batch.
        cache_bytes_per_sequence: keys and values of one full context in fp32.
    """

    flops_per_token: float
    body_flops_per_token: int
    head_flops_per_token: int
    encoder_flops_per_patch: dict[str, int]
    active_params: int
    total_params: int
    muon_flops_per_step: int
    training_bytes: int
    cache_bytes_per_sequence: int

    def training_flops(
        self, tokens: int, scored_tokens: int, patches: dict[str, int], muon_steps: int = 0
    ) -> int:
        """FLOPs that training executes: the head runs only where the loss looks.

        Args:
            tokens: input tokens.
            scored_tokens: those that the loss looks at.
            patches: encoder -> patches among the input.
            muon_steps: steps of Muon.
        """
        forward = tokens * self.body_flops_per_token + scored_tokens * self.head_flops_per_token
        forward += sum(n * self.encoder_flops_per_patch[name] for name, n in patches.items())
        return TRAINING_FACTOR * forward + muon_steps * self.muon_flops_per_step


def price(arch: Architecture, suite: SuiteRecord) -> Cost:
    """Count everything about an architecture on a suite."""
    body = sum(_layer_flops(arch, layer, suite.context) for layer in range(arch.depth))
    head = 2 * arch.width * suite.vocab_size
    encoders = {name: encoder_flops(arch.width, size) for name, size in suite.encoders.items()}
    patches = sum(suite.patch_mean(name) * flops for name, flops in encoders.items())
    total, active = _params(arch, suite)
    return Cost(
        flops_per_token=body + head + patches,
        body_flops_per_token=body,
        head_flops_per_token=head,
        encoder_flops_per_patch=encoders,
        active_params=active,
        total_params=total,
        muon_flops_per_step=_muon_flops(arch),
        training_bytes=ADAMW_BYTES * total + _activation_bytes(arch, suite),
        cache_bytes_per_sequence=2 * 4 * arch.depth * arch.num_kv_heads * arch.head_dim * suite.context,
    )


def encoder_flops(width: int, patch_size: int) -> int:
    """FLOPs of one patch: a projection and one residual block."""
    return 2 * width * patch_size + 2 * 2 * width * ENCODER_RATIO * width


def _layer_flops(arch: Architecture, layer: int, context: int) -> int:
    d, h = arch.width, arch.head_dim
    heads, kv = arch.num_heads, arch.num_kv_heads
    attention = 2 * d * h * (heads + 2 * kv) + 2 * heads * h * d + 4 * context * heads * h
    if not arch.is_sparse_layer(layer):
        return attention + 6 * d * arch.dense_width
    routed = 2 * d * arch.experts + 6 * d * arch.expert_width * arch.top_k
    return attention + routed + 6 * d * arch.expert_width * arch.shared_experts


def _muon_flops(arch: Architecture) -> int:
    """FLOPs of a step's Newton-Schulz iterations over every matrix of the layers, all experts included."""
    d, heads, key_values = arch.width, arch.num_heads * arch.head_dim, arch.num_kv_heads * arch.head_dim
    flops = arch.depth * sum(_orthogonal_flops(rows, d) for rows in (heads, key_values, key_values, d))
    for layer in range(arch.depth):
        if arch.is_sparse_layer(layer):
            flops += (arch.experts + arch.shared_experts) * 3 * _orthogonal_flops(arch.expert_width, d)
        else:
            flops += 3 * _orthogonal_flops(arch.dense_width, d)
    return flops


def _orthogonal_flops(rows: int, columns: int) -> int:
    """FLOPs of making one matrix orthogonal: two products with it and one of its Gram matrix an iteration."""
    small, large = sorted((rows, columns))
    return MUON_ITERATIONS * (4 * small * small * large + 2 * small**3)


def _params(arch: Architecture, suite: SuiteRecord) -> tuple[int, int]:
    """Total and active parameters."""
    d, h = arch.width, arch.head_dim
    tables = 2 * suite.vocab_size * d + LOCAL_POSITIONS * d + d  # embedding, head, positions, final norm
    encoders = sum(
        size * d + d + d + 2 * ENCODER_RATIO * d * d + ENCODER_RATIO * d + d
        for size in suite.encoders.values()
    )
    total = active = tables + encoders
    for layer in range(arch.depth):
        attention = 2 * d * h * arch.num_heads + 2 * d * h * arch.num_kv_heads + 2 * d
        attention += 2 * h if arch.qk_norm else 0
        total += attention
        active += attention
        if not arch.is_sparse_layer(layer):
            total += 3 * d * arch.dense_width
            active += 3 * d * arch.dense_width
            continue
        expert = 3 * d * arch.expert_width
        total += d * arch.experts + expert * (arch.experts + arch.shared_experts)
        active += d * arch.experts + expert * (arch.top_k + arch.shared_experts)
    return total, active


def _activation_bytes(arch: Architecture, suite: SuiteRecord) -> int:
    """What a batch keeps for its backward pass, in fp32: residuals, projections, hidden channels, logits."""
    visits = arch.top_k + arch.shared_experts
    layer = (
        8 * arch.width + 2 * arch.num_kv_heads * arch.head_dim + visits * (4 * arch.expert_width + arch.width)
    )
    return 4 * suite.batch_tokens * (arch.depth * layer + 2 * suite.vocab_size)
