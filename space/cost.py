"""Exact costs of a candidate, counted part by part before anything is trained.

FLOPs count matrix products only (two for each multiply-add): the full attention square, the output head at
every position, the router and the patch encoders. A table lookup is free. The counts equal those of
`torch.utils.flop_counter.FlopCounterMode` on the model itself, which a test checks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from operator import add

from space.candidate import Architecture
from space.records import SuiteRecord

LOCAL_POSITIONS = 64  # learned positions within a timestep or an image (Gato section 2.2)
ENCODER_RATIO = 2  # hidden size of a patch encoder's residual block over the model's width
TRAINING_FACTOR = 3  # forward, and two products of the same size backward for each of its products
MUON_ITERATIONS = 5  # of Newton-Schulz, per step
FLOAT_BYTES = 4
TENSORS, TENSORS_OF_LAYER, TENSORS_OF_ENCODER = 4, 8, 7  # in a file of weights
HEADER_BYTES, TENSOR_BYTES = 1_500, 100  # of such a file
STATE_BYTES = 1_000  # of a tensor's optimizer state, in addition to its numbers


@dataclass(frozen=True)
class Cost:
    """Counted costs of an architecture on a suite.

    Attributes:
        flops_per_token: forward, at the suite's context, under the uniform mixture.
        body_flops_per_token: the same without the head and the patch encoders.
        network_flops_per_token: the share of the SwiGLU networks of all layers, dense or routed.
        head_flops_per_token: the output head at one position.
        recomputed_flops_per_token: what a backward pass that computes the layers again adds.
        recomputes: whether it does.
        encoder_flops_per_patch: patch encoder -> FLOPs of one patch.
        active_params: parameters that one token passes through, tables and encoders included.
        total_params: all parameters.
        muon_flops_per_step: FLOPs of Muon's own matrix products at each step, for any batch size.
        training_bytes: peak memory of a training step on each device, with AdamW in fp32.
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
    recomputed_flops_per_token: int = 0
    recomputes: bool = False

    def planned_flops_per_token(self, optimizer: str, batch_tokens: int) -> float:
        """Planned training FLOPs: the head at every position, patches as in the uniform mixture.

        Layers that are computed again for the backward pass count twice forward. The FLOPs of the optimizer's
        own products are divided among the tokens of the batch.
        """
        own = self.muon_flops_per_step / batch_tokens if optimizer == "muon" else 0.0
        own += self.recomputed_flops_per_token if self.recomputes else 0
        return TRAINING_FACTOR * self.flops_per_token + own

    def training_flops(
        self,
        tokens: int,
        scored_tokens: int,
        patches: dict[str, int],
        muon_steps: int = 0,
        recomputed_tokens: int = 0,
    ) -> int:
        """FLOPs that training executes: the head runs only at scored positions.

        Args:
            tokens: input tokens.
            scored_tokens: tokens that enter the loss.
            patches: encoder -> patches among the input.
            muon_steps: steps of Muon.
            recomputed_tokens: those whose layers were computed again for the backward pass.
        """
        forward = tokens * self.body_flops_per_token + scored_tokens * self.head_flops_per_token
        forward += sum(n * self.encoder_flops_per_patch[name] for name, n in patches.items())
        again = recomputed_tokens * self.recomputed_flops_per_token
        return TRAINING_FACTOR * forward + again + muon_steps * self.muon_flops_per_step


@dataclass(frozen=True)
class Part:
    """Costs of one part of the network.

    Attributes:
        flops: forward FLOPs of one token; of an encoder, of one patch.
        params: all parameters.
        active_params: parameters that one token passes through.
        matrices: (number, rows, columns) of the matrices that Muon updates.
        kept_bytes: activations that one token keeps for the backward pass.
        work_bytes: what the backward pass allocates for one token in addition.
        cache_bytes: keys and values of one context.
    """

    flops: int = 0
    params: int = 0
    active_params: int = 0
    matrices: tuple[tuple[int, int, int], ...] = ()
    kept_bytes: int = 0
    work_bytes: int = 0
    cache_bytes: int = 0

    def __add__(self, other: "Part") -> "Part":
        """Both parts together."""
        return Part(
            self.flops + other.flops,
            self.params + other.params,
            self.active_params + other.active_params,
            self.matrices + other.matrices,
            self.kept_bytes + other.kept_bytes,
            self.work_bytes + other.work_bytes,
            self.cache_bytes + other.cache_bytes,
        )

    def __mul__(self, number: int) -> "Part":
        """So many of this part."""
        return Part(
            self.flops * number,
            self.params * number,
            self.active_params * number,
            tuple((many * number, rows, columns) for many, rows, columns in self.matrices),
            self.kept_bytes * number,
            self.work_bytes * number,
            self.cache_bytes * number,
        )

    @property
    def matrix_params(self) -> int:
        """Parameters of the matrices that Muon updates."""
        return sum(number * rows * columns for number, rows, columns in self.matrices)

    @property
    def muon_flops(self) -> int:
        """FLOPs of a step's Newton-Schulz iterations over the matrices."""
        return sum(number * _orthogonal_flops(rows, columns) for number, rows, columns in self.matrices)


def attention(arch: Architecture, context: int) -> Part:
    """Attention of one layer with the norm before it; a window masks products, it does not save any."""
    d, inner, kv = arch.width, arch.num_heads * arch.head_dim, arch.num_kv_heads * arch.head_dim
    matrices = ((1, inner, d), (2, kv, d), (1, d, inner))
    products = sum(number * rows * columns for number, rows, columns in matrices)
    scales = 2 * arch.head_dim if arch.qk_norm else 0
    return Part(
        flops=2 * products + 4 * context * inner,
        params=products + d + scales,
        active_params=products + d + scales,
        matrices=matrices,
        kept_bytes=FLOAT_BYTES * (4 * d + 3 * inner + 3 * kv),
        cache_bytes=2 * FLOAT_BYTES * kv * min(context, arch.window or context),
    )


def network(arch: Architecture, sparse: bool) -> Part:
    """The SwiGLU networks of one layer with the norm before them; the router is apart."""
    d, expert, dense = arch.width, arch.expert_width, arch.dense_width
    every = arch.experts + arch.shared_experts if sparse else 1  # networks
    hidden = expert if sparse else dense
    work = (2 * arch.top_k + 2) * d if sparse else 3 * dense + 2 * d
    gathered = 2 * d * arch.top_k if sparse else 0  # inputs and outputs of the visits
    return Part(
        flops=6 * d * dense,
        params=3 * d * hidden * every + d,
        active_params=3 * d * dense + d,
        matrices=((3 * every, hidden, d),),
        kept_bytes=FLOAT_BYTES * (4 * dense + gathered),
        work_bytes=FLOAT_BYTES * work,
    )


def router(arch: Architecture) -> Part:
    """The router of one sparse layer."""
    size = arch.width * arch.experts
    return Part(flops=2 * size, params=size, active_params=size, kept_bytes=2 * FLOAT_BYTES * arch.experts)


def encoder(width: int, patch_size: int) -> Part:
    """A patch encoder: a projection, a norm and one residual block."""
    project, block = width * patch_size, 2 * ENCODER_RATIO * width * width
    params = project + width + width + block + ENCODER_RATIO * width + width
    return Part(flops=2 * (project + block), params=params, active_params=params)


def head(width: int, vocab_size: int) -> Part:
    """The output head at one position."""
    size = width * vocab_size
    work = FLOAT_BYTES * 2 * (vocab_size + width)
    return Part(flops=2 * size, params=size, active_params=size, work_bytes=work)


def tables(width: int, vocab_size: int) -> Part:
    """Embedding, local positions and the last norm: lookups are free."""
    size = width * (vocab_size + LOCAL_POSITIONS + 1)
    return Part(params=size, active_params=size)


def price(arch: Architecture, suite: SuiteRecord) -> Cost:
    """Count all costs of an architecture on a suite."""
    layers, encoders = _layers(arch, suite), _encoders(arch, suite)
    body = total(layers)
    whole = total([body, *encoders.values(), *_ends(arch, suite)])
    top = head(arch.width, suite.vocab_size)
    patches = sum(suite.patch_mean(name) * part.flops for name, part in encoders.items())
    return Cost(
        flops_per_token=body.flops + top.flops + patches,
        body_flops_per_token=body.flops,
        network_flops_per_token=arch.depth * network(arch, sparse=False).flops,  # the same in sparse layers
        head_flops_per_token=top.flops,
        encoder_flops_per_patch={name: part.flops for name, part in encoders.items()},
        active_params=whole.active_params,
        total_params=whole.params,
        muon_flops_per_step=body.muon_flops,
        training_bytes=_training_bytes(layers, top, whole.params, arch, suite),
        cache_bytes_per_sequence=body.cache_bytes,
        recomputed_flops_per_token=body.flops - _last_products(arch),
        recomputes=suite.checkpoint_activations,
    )


def checkpoint_bytes(
    arch: Architecture, suite: SuiteRecord, optimizer: str, number_bytes: int = FLOAT_BYTES
) -> tuple[int, int]:
    """Bytes of a checkpoint of the trunk, which holds the optimizer's state, and of the weights alone.

    AdamW keeps two numbers per parameter, Muon one for each of the matrices of the layers. Encoders whose
    patches occur in no task are never trained and have no state.

    Args:
        arch: the network.
        suite: what it is trained on.
        optimizer: "adamw" or "muon".
        number_bytes: of a weight: 4, or 2 for bfloat16 weights.
    """
    body, encoders = total(_layers(arch, suite)), _encoders(arch, suite)
    params = total([body, *encoders.values(), *_ends(arch, suite)]).params
    trained = params - sum(part.params for name, part in encoders.items() if not suite.patch_mean(name))
    muon = body.matrix_params if optimizer == "muon" else 0
    tensors = TENSORS + TENSORS_OF_LAYER * arch.depth + TENSORS_OF_ENCODER * len(encoders)
    weights = number_bytes * params + HEADER_BYTES + TENSOR_BYTES * tensors
    return weights + number_bytes * (2 * trained - muon) + STATE_BYTES * tensors, weights


def total(parts: Sequence[Part]) -> Part:
    """All parts together; of equal layers, which are one object, one is multiplied."""
    runs = [list(run) for _, run in groupby(parts, key=id)]
    return reduce(add, [run[0] * len(run) for run in runs], Part())


def _layers(arch: Architecture, suite: SuiteRecord) -> list[Part]:
    """Every layer; they differ only in whether they route."""
    first = attention(arch, suite.context)
    dense, sparse = first + network(arch, sparse=False), first + router(arch) + network(arch, sparse=True)
    return [sparse if arch.is_sparse_layer(layer) else dense for layer in range(arch.depth)]


def _last_products(arch: Architecture) -> int:
    """FLOPs of one token in the last product of each layer if nothing of its result is kept.

    torch computes a layer again until it has all that was kept: routed experts keep their outputs, which the
    router weighs; dense and shared networks do not. (Compiled layers are computed again in whole.)
    """
    sparse = sum(arch.is_sparse_layer(layer) for layer in range(arch.depth))
    shared = arch.expert_width if arch.shared_experts else 0
    return 2 * arch.width * (sparse * shared + (arch.depth - sparse) * arch.dense_width)


def _encoders(arch: Architecture, suite: SuiteRecord) -> dict[str, Part]:
    return {name: encoder(arch.width, size) for name, size in suite.encoders.items()}


def _ends(arch: Architecture, suite: SuiteRecord) -> list[Part]:
    return [tables(arch.width, suite.vocab_size), head(arch.width, suite.vocab_size)]


def _orthogonal_flops(rows: int, columns: int) -> int:
    """FLOPs of making a matrix orthogonal: two products with it and one of its Gram matrix per iteration."""
    small, large = (rows, columns) if rows < columns else (columns, rows)
    return MUON_ITERATIONS * (4 * small * small * large + 2 * small**3)


def _training_bytes(
    layers: list[Part], top: Part, params: int, arch: Architecture, suite: SuiteRecord
) -> int:
    """The largest memory of a training step on one device, found by walking through the backward pass.

    Weights and both moments are always there, or the device's share of them. The backward pass begins with
    the activations of all layers, or with their inputs where layers are computed again. From the head down,
    each layer adds its gradients, the memory that its backward pass works with, and its activations if they
    are computed again, then frees its activations. At the end there are all gradients and no activations.
    Where a batch is processed in parts, the gradients of earlier ones are there all the time. Devices that
    hold whole weights add up gradients in a copy of them. Those that hold shares gather a layer and the one
    before it, still send the gradients of the one after it, and keep a share of all gradients.
    """
    tokens = suite.batch_tokens // (suite.devices * suite.accumulate)
    shares, in_parts = suite.devices if suite.sharded else 1, suite.accumulate > 1
    weights = FLOAT_BYTES * params // shares
    again = suite.checkpoint_activations
    kept_by = [
        tokens * (_input_bytes(arch, index) if again else layer.kept_bytes)
        for index, layer in enumerate(layers)
    ]
    kept = FLOAT_BYTES * tokens * suite.context + sum(kept_by)  # with the mask
    head = FLOAT_BYTES * top.params
    done = weights if in_parts else head // shares  # gradients
    peak = kept + tokens * top.work_bytes + (head if suite.sharded else 0)
    for index in reversed(range(len(layers))):
        size = FLOAT_BYTES * layers[index].params
        work = tokens * (layers[index].work_bytes + (layers[index].kept_bytes if again else 0))
        if suite.sharded:
            beside = layers[max(index - 1, 0) : index] + layers[index + 1 : index + 2]
            work += 2 * size + FLOAT_BYTES * sum(layer.params for layer in beside)
        elif not in_parts:
            done += size
        peak = max(peak, kept + done + work)
        kept -= kept_by[index]
        done += size // shares if suite.sharded and not in_parts else 0
    copies = weights if suite.devices > 1 and not suite.sharded else 0
    return 3 * weights + copies + max(peak, weights)


def _input_bytes(arch: Architecture, layer: int) -> int:
    """Bytes that a token keeps of a layer that is computed again: its input, and logits for the router."""
    return FLOAT_BYTES * (arch.width + (2 * arch.experts if arch.is_sparse_layer(layer) else 0))
