"""What a candidate costs, exactly and before anything is trained.

FLOPs count matrix products only (two for each multiply-add), the full attention square, the output head at
every position, the router and the patch encoders; a table lookup is free. They equal what
`torch.utils.flop_counter.FlopCounterMode` counts on the model itself, which a test checks.
"""

from dataclasses import dataclass

from space.candidate import Architecture
from space.records import SuiteRecord

LOCAL_POSITIONS = 64  # learned positions within a timestep or an image (Gato section 2.2)
ENCODER_RATIO = 2  # hidden size of a patch encoder's residual block over the model's width
TRAINING_FACTOR = 3  # forward, and two products of the same size backward for each of its products
MUON_ITERATIONS = 5  # of Newton-Schulz a step
FLOAT_BYTES = 4
TENSORS, TENSORS_OF_LAYER, TENSORS_OF_ENCODER = 4, 8, 7  # in a file of weights
HEADER_BYTES, TENSOR_BYTES = 1_500, 100  # of such a file
STATE_BYTES = 1_000  # beside the numbers of a tensor's optimizer state


@dataclass(frozen=True)
class Cost:
    """Counted costs of an architecture on a suite.

    Attributes:
        flops_per_token: forward, at the suite's context, under the uniform mixture.
        body_flops_per_token: the same without head and patch encoders.
        network_flops_per_token: of these, the SwiGLU networks of all layers, dense or routed.
        head_flops_per_token: the output head at one position.
        encoder_flops_per_patch: patch encoder -> FLOPs of one patch.
        active_params: parameters that one token passes through, tables and encoders included.
        total_params: all parameters.
        muon_flops_per_step: what Muon's own matrix products take at each step, whatever the batch.
        training_bytes: the most that a step holds, with AdamW in fp32.
        cache_bytes_per_sequence: keys and values of one full context in fp32.
    """

    flops_per_token: float
    body_flops_per_token: int
    network_flops_per_token: int
    head_flops_per_token: int
    encoder_flops_per_patch: dict[str, int]
    active_params: int
    total_params: int
    muon_flops_per_step: int
    training_bytes: int
    cache_bytes_per_sequence: int

    def planned_flops_per_token(self, optimizer: str, batch_tokens: int) -> float:
        """Training FLOPs as they are planned: the head at every position, patches as in the uniform mixture.

        What the optimizer's own products take at a step is shared by the tokens of its batch.
        """
        own = self.muon_flops_per_step / batch_tokens if optimizer == "muon" else 0.0
        return TRAINING_FACTOR * self.flops_per_token + own

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
        network_flops_per_token=arch.depth * _network_flops(arch),
        head_flops_per_token=head,
        encoder_flops_per_patch=encoders,
        active_params=active,
        total_params=total,
        muon_flops_per_step=_muon_flops(arch),
        training_bytes=_training_bytes(arch, suite),
        cache_bytes_per_sequence=2
        * FLOAT_BYTES
        * arch.depth
        * arch.num_kv_heads
        * arch.head_dim
        * suite.context,
    )


def checkpoint_bytes(
    arch: Architecture, suite: SuiteRecord, optimizer: str, number_bytes: int = FLOAT_BYTES
) -> tuple[int, int]:
    """Bytes of a checkpoint of the trunk, which holds the optimizer's state, and of the weights alone.

    AdamW keeps two numbers a parameter, Muon one for each of the matrices of the layers. Encoders whose
    patches no task has are never trained, so they have no state.

    Args:
        arch: the network.
        suite: what it is trained on.
        optimizer: "adamw" or "muon".
        number_bytes: of a weight: 4, or 2 where the weights are bfloat16.
    """
    total, _ = _params(arch, suite)
    unused = (size for name, size in suite.encoders.items() if not suite.patch_mean(name))
    trained = total - sum(_encoder_params(arch.width, size) for size in unused)
    momenta = 2 * trained - (_matrix_params(arch) if optimizer == "muon" else 0)
    tensors = TENSORS + TENSORS_OF_LAYER * arch.depth + TENSORS_OF_ENCODER * len(suite.encoders)
    weights = number_bytes * total + HEADER_BYTES + TENSOR_BYTES * tensors
    return weights + number_bytes * momenta + STATE_BYTES * tensors, weights


def encoder_flops(width: int, patch_size: int) -> int:
    """FLOPs of one patch: a projection and one residual block."""
    return 2 * width * patch_size + 2 * 2 * width * ENCODER_RATIO * width


def _layer_flops(arch: Architecture, layer: int, context: int) -> int:
    d, h = arch.width, arch.head_dim
    heads, kv = arch.num_heads, arch.num_kv_heads
    attention = 2 * d * h * (heads + 2 * kv) + 2 * heads * h * d + 4 * context * heads * h
    router = 2 * d * arch.experts if arch.is_sparse_layer(layer) else 0
    return attention + router + _network_flops(arch)


def _network_flops(arch: Architecture) -> int:
    """FLOPs of any layer's networks: a dense one has as many channels as a token's experts have together."""
    return 6 * arch.width * arch.dense_width


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
    d = arch.width
    tables = 2 * suite.vocab_size * d + LOCAL_POSITIONS * d + d  # embedding, head, positions, final norm
    encoders = sum(_encoder_params(d, size) for size in suite.encoders.values())
    layers = [_layer_params(arch, layer) for layer in range(arch.depth)]
    total, active = (tables + encoders + sum(counts) for counts in zip(*layers, strict=True))
    return total, active


def _encoder_params(width: int, patch_size: int) -> int:
    """A projection, a norm and one residual block."""
    d = width
    return patch_size * d + d + d + 2 * ENCODER_RATIO * d * d + ENCODER_RATIO * d + d


def _matrix_params(arch: Architecture) -> int:
    """Parameters of the matrices that Muon moves: attention and networks of all layers, routers apart."""
    attention = 2 * arch.width * arch.head_dim * (arch.num_heads + arch.num_kv_heads)
    networks = (
        (arch.experts + arch.shared_experts) * arch.expert_width
        if arch.is_sparse_layer(layer)
        else arch.dense_width
        for layer in range(arch.depth)
    )
    return arch.depth * attention + 3 * arch.width * sum(networks)


def _layer_params(arch: Architecture, layer: int) -> tuple[int, int]:
    """Total and active parameters of a layer."""
    d, h = arch.width, arch.head_dim
    attention = 2 * d * h * arch.num_heads + 2 * d * h * arch.num_kv_heads + 2 * d
    attention += 2 * h if arch.qk_norm else 0
    if not arch.is_sparse_layer(layer):
        dense = attention + 3 * d * arch.dense_width
        return dense, dense
    expert, router = 3 * d * arch.expert_width, d * arch.experts
    total = attention + router + expert * (arch.experts + arch.shared_experts)
    return total, attention + router + expert * (arch.top_k + arch.shared_experts)


def _training_bytes(arch: Architecture, suite: SuiteRecord) -> int:
    """The most memory that a step holds, walked through as the backward pass walks.

    Weights and both moments stay. The activations of all layers are there when the backward pass begins; from
    the head down each layer adds its gradients and what its own backward pass works with, then frees its
    activations. At the end there are all gradients and no activations.
    """
    total, _ = _params(arch, suite)
    head = suite.vocab_size * arch.width
    activations = [_layer_activations(arch, layer, suite) for layer in range(arch.depth)]
    mask = suite.batch_tokens * suite.context
    kept, gradients = sum(activations) + mask, head
    peak = kept + suite.batch_tokens * (2 * suite.vocab_size + 2 * arch.width)
    for layer in reversed(range(arch.depth)):
        gradients += _layer_params(arch, layer)[0]
        peak = max(peak, kept + gradients + _layer_work(arch, layer, suite))
        kept -= activations[layer]
    return FLOAT_BYTES * (3 * total + max(peak, total))


def _layer_activations(arch: Architecture, layer: int, suite: SuiteRecord) -> int:
    """Numbers that a layer keeps for its backward pass: norms, attention, hidden channels."""
    d, heads, kv = arch.width, arch.num_heads * arch.head_dim, arch.num_kv_heads * arch.head_dim
    attention = 4 * d + (heads + 2 * kv) + (heads + kv) + heads
    channels = 4 * (arch.expert_width * arch.shared_experts)
    if arch.is_sparse_layer(layer):
        channels += arch.top_k * (4 * arch.expert_width + 2 * d) + 2 * arch.experts
    else:
        channels = 4 * arch.dense_width
    return suite.batch_tokens * (attention + channels)


def _layer_work(arch: Architecture, layer: int, suite: SuiteRecord) -> int:
    """Numbers that the backward pass of a layer's network works with beside what was kept."""
    if arch.is_sparse_layer(layer):
        return suite.batch_tokens * (2 * arch.top_k + 2) * arch.width
    return suite.batch_tokens * (3 * arch.dense_width + 2 * arch.width)
