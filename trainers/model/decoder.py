"""The network that is searched: a pre-norm decoder whose layers are dense or sparse."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from space.candidate import Architecture
from space.records import SuiteRecord
from trainers.model.attention import Attention, Cache, Past, Slots, rotary_table
from trainers.model.embedding import Embedding, Patches, waves
from trainers.model.experts import DenseNetwork, SparseNetwork
from trainers.model.norm import RMSNorm
from trainers.model.packed import Seen, within
from trainers.model.routing import Routing
from trainers.model.scaling import INIT_STD, scale_of


class Layer(nn.Module):
    """Attention and a network, each behind an RMSNorm and added to the stream."""

    def __init__(self, arch: Architecture, index: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(arch.width)
        self.attention = Attention(arch)
        self.network_norm = RMSNorm(arch.width)
        self.network: DenseNetwork | SparseNetwork
        if arch.is_sparse_layer(index):
            self.network = SparseNetwork(
                arch.width,
                arch.expert_width,
                arch.experts,
                arch.top_k,
                arch.router,
                shared=arch.shared_experts > 0,
            )
        else:
            self.network = DenseNetwork(arch.width, arch.dense_width)
        self.recomputed = False  # whether its activations are computed again for the backward pass
        self.training_map: Map = _map

    def forward(
        self,
        x: Float[Tensor, "*tokens width"],
        rotation: Float[Tensor, "positions half 2"],
        seen: Seen = None,
        past: Past | None = None,
    ) -> tuple[Float[Tensor, "*tokens width"], Routing | None]:
        """Map the stream and return the routing of its tokens; arguments as in `Attention`."""
        if past is not None or not torch.is_grad_enabled():
            return _map(self, x, rotation, seen, past)
        if not self.recomputed:
            return self.training_map(self, x, rotation, seen)
        # nothing in a layer is random
        return checkpoint(
            self.training_map, self, x, rotation, seen, use_reentrant=False, preserve_rng_state=False
        )


Map = Callable[[Layer, Tensor, Tensor, Seen], tuple[Tensor, Routing | None]]


def _map(
    layer: Layer, x: Tensor, rotation: Tensor, seen: Seen, past: Past | None = None
) -> tuple[Tensor, Routing | None]:
    """What a layer computes: a function, so that all layers of a kind share one compiled graph."""
    x = x + layer.attention(layer.attention_norm(x), rotation, seen, past)
    y, routing = layer.network(layer.network_norm(x).flatten(0, -2))
    return x + y.view(x.shape), routing


class Decoder(nn.Module):
    """Maps a stream of tokens to hidden states; `logits` applies the head where it is needed.

    Args:
        arch: the architecture.
        suite: vocabulary, context and patch encoders.
    """

    rotation: Tensor

    def __init__(self, arch: Architecture, suite: SuiteRecord) -> None:
        super().__init__()
        self.arch = arch
        self.suite = suite
        self.embedding = Embedding(arch.width, suite)
        self._layers = tuple(Layer(arch, index) for index in range(arch.depth))  # the same, with their type
        self.layers = nn.ModuleList(self._layers)
        self.norm = RMSNorm(arch.width)
        self.head = nn.Linear(arch.width, suite.vocab_size, bias=False)
        self.register_buffer("rotation", rotary_table(arch.head_dim, suite.context), persistent=False)
        networks = [layer.network for layer in self._layers]
        self._sparse = [network for network in networks if isinstance(network, SparseNetwork)]
        self._initialise()

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.norm.weight.device

    def forward(
        self,
        tokens: Int[Tensor, "sequences positions"],
        local: Int[Tensor, "sequences positions"],
        patches: Mapping[str, Patches],
        segment: Int[Tensor, "sequences positions"] | None = None,
    ) -> tuple[Float[Tensor, "sequences positions width"], list[Routing]]:
        """Decode whole sequences.

        Args:
            tokens: ids.
            local: positions within the timestep.
            patches: encoder -> patches of the batch.
            segment: attention stays within a segment; None is one segment per sequence.

        Returns:
            Hidden states, normalised, ready for `logits`; the routing of each sparse layer.
        """
        x = self.embedding(tokens, local, patches)
        rotation = self.rotation[: tokens.shape[1]]
        seen = within(x, self.arch.head_dim, self.arch.window, segment)
        routings = []
        for layer in self._layers:
            x, routing = layer(x, rotation, seen)
            if routing is not None:
                routings.append(routing)
        return self.norm(x), routings

    def compile_layers(self) -> None:
        """Compile the layers for training on whole sequences: one graph, which all layers of a kind share.

        The first step takes the time that it costs: seconds on a GPU, minutes on a CPU.
        """
        compiled = torch.compile(_map)
        for layer in self._layers:
            layer.training_map = compiled

    def recompute_layers(self) -> None:
        """Keep only the input of each layer for the backward pass, which computes the layer again.

        Chen 2016, https://arxiv.org/abs/1604.06174. Weights and biases may not change in between.
        """
        for layer in self._layers:
            layer.recomputed = True

    def extend(
        self,
        tokens: Int[Tensor, " tokens"],
        local: Int[Tensor, " tokens"],
        patches: Mapping[str, Patches],
        slots: Slots,
        cache: Cache,
    ) -> Float[Tensor, "rows width"]:
        """Decode new tokens of many rows after those in the cache, and add them to it.

        Returns:
            Hidden state of each row's last token.
        """
        x = self.embedding(tokens, local, patches)
        rotation = self.rotation[slots.position]
        for layer, past in zip(self.layers, cache.layers(slots), strict=True):
            x, _ = layer(x, rotation, past=past)
        return self.norm(x[slots.last])

    def logits(self, hidden: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens vocabulary"]:
        """Scores of every token of the vocabulary for hidden states."""
        return self.head(hidden)

    def router_loss(self, routings: Sequence[Routing]) -> Float[Tensor, ""]:
        """The routers' loss of a step: the mean over the sparse layers."""
        pairs = zip(self._sparse, routings, strict=True)
        losses = [network.router.loss(routing) for network, routing in pairs]
        return torch.stack(losses).mean() if losses else torch.zeros((), device=self.device)

    def rebalance(self, routings: Sequence[Routing], share: float = 1) -> None:
        """Update the biases of routers that are balanced by a bias, by a share of a training step."""
        for network, routing in zip(self._sparse, routings, strict=True):
            network.router.rebalance(routing, share)

    def _initialise(self) -> None:
        """Draw normal weights scaled by shape; embeddings of bins are smooth functions of their value."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim > 1:
                nn.init.normal_(parameter, std=scale_of(name, parameter, self.arch).std)
        first = self.suite.text_vocab
        with torch.no_grad():
            smooth = INIT_STD * waves(self.suite.bins, self.arch.width)
            self.embedding.table.weight[first : first + self.suite.bins] = smooth
