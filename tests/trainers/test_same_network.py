"""No two candidates of one space are one network: the same tensors never compute the same."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from toys import toy_suite

from space.ranges import SearchSpace
from trainers.model.decoder import Decoder

SPACE = {
    "depth": {"low": 1, "high": 2},
    "width": {"choices": [32, 48]},
    "experts": {"choices": [1, 2, 3]},
    "top_k": {"choices": [1, 2]},
    "expert_ratio": {"low": 0.5, "high": 1.5},
    "shared_experts": {"choices": [0, 1]},
    "dense_layers": {"low": 0, "high": 2},
    "router": {"choices": ["softmax", "sigmoid"]},
    "head_dim": {"choices": [8, 16]},
    "kv_groups": {"choices": [1, 2]},
    "qk_norm": {"choices": [True, False]},
    "window": {"choices": [0, 3, 24, 30]},
    "learning_rate": 1e-3,
    "mixture": {"fixed": True},
}


def computed(architecture, suite):
    """What a network of this architecture makes of some tokens, with weights that its shapes alone decide."""
    decoder = Decoder(architecture, suite).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in decoder.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        tokens = torch.randint(suite.text_vocab, (1, suite.context), generator=generator)
        return decoder(tokens, torch.zeros_like(tokens), {})[0]


@pytest.mark.slow
def test_no_two_ids_of_a_space_build_one_network():
    suite, rng = toy_suite(), np.random.default_rng(0)
    space = SearchSpace.model_validate(SPACE)
    drawn = (space.candidate(space.sample(suite, rng), suite) for _ in range(900))
    architectures = {c.id: c.architecture for c in drawn if c is not None}
    assert len(architectures) > 300
    groups = defaultdict(list)
    for architecture in architectures.values():
        with torch.device("meta"):
            tensors = Decoder(architecture, suite).state_dict()
        groups[tuple((name, tuple(tensor.shape)) for name, tensor in tensors.items())].append(architecture)
    alike = [group for group in groups.values() if len(group) > 1]
    assert len(alike) > 20  # top-k, router and size of heads change no tensor
    for group in alike:
        outputs = [computed(architecture, suite) for architecture in group]
        for index, output in enumerate(outputs):
            for other, architecture in zip(outputs[:index], group, strict=False):
                assert not torch.allclose(output, other, atol=1e-4), (group[index], architecture)
