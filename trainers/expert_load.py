"""Load of the experts by domain, measured on batches that were not trained on."""

import torch

from space.records import SuiteRecord
from trainers.data import Mixer
from trainers.lightning import move_data_to_device
from trainers.model.decoder import Decoder

BATCHES = 4


@torch.inference_mode()
def measure_load(
    decoder: Decoder, suite: SuiteRecord, mixer: Mixer, step: int
) -> dict[str, list[list[float]]]:
    """Share of a domain's visits that each expert gets, on the batches from a step on.

    Returns:
        Domain -> one list a layer with one share an expert, empty where the layer is dense. Nothing for a
        candidate without experts.
    """
    arch = decoder.arch
    if not arch.sparse:
        return {}
    domains = [suite.records[name].domain for name in suite.tasks]
    load = {domain: torch.zeros(arch.depth, arch.experts) for domain in sorted(set(domains))}
    sparse = [layer for layer in range(arch.depth) if arch.is_sparse_layer(layer)]
    for batch in (mixer.batch(index) for index in range(step, step + BATCHES)):
        moved = move_data_to_device(batch, decoder.device)
        _, routings = decoder(moved.tokens, moved.local, moved.patches, moved.segment)
        for layer, routing in zip(sparse, routings, strict=True):
            visits = routing.experts.view(len(batch.tokens), -1).cpu()
            for sequence, task in zip(visits, batch.sequence_task.tolist(), strict=True):
                load[domains[task]][layer] += sequence.bincount(minlength=arch.experts)
    return {
        domain: [(row / row.sum()).tolist() if row.any() else [] for row in visits]
        for domain, visits in load.items()
        if visits.any()
    }
