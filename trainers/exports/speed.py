"""Relative speed of two decoders, measured in turn in one process on the same machine."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from space.records import Frozen
from trainers.batch import Batch
from trainers.lightning import move_data_to_device
from trainers.model.decoder import Decoder

ROUNDS = 15


class Speed(Frozen):
    """Two decoders on the same batch.

    Attributes:
        parent: tokens per second, median of the rounds.
        child: the same.
        ratio: speed of the child over that of the parent, median over the rounds.
        low: first quartile of that ratio.
        high: third quartile.
    """

    parent: float
    child: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        """The ratio with its quartiles."""
        return f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Speeds(Frozen):
    """Speed of a forward pass, and of the forward and backward pass of training, on a training batch."""

    forward: Speed
    training: Speed


def measure_speeds(parent: Decoder, child: Decoder, batch: Batch, rounds: int = ROUNDS) -> Speeds:
    """Time both decoders on a batch, each once per round, after a warm-up round."""
    moved = move_data_to_device(batch, parent.device)
    return Speeds(
        forward=_compare(parent, child, moved, _forward, rounds),
        training=_compare(parent, child, moved, train_once, rounds),
    )


def _compare(
    parent: Decoder, child: Decoder, batch: Batch, work: Callable[[Decoder, Batch], None], rounds: int
) -> Speed:
    seconds = [(_timed(work, parent, batch), _timed(work, child, batch)) for _ in range(rounds + 1)][1:]
    low, ratio, high = statistics.quantiles((theirs / ours for theirs, ours in seconds), n=4)
    speeds = [batch.tokens.numel() / statistics.median(column) for column in zip(*seconds, strict=True)]
    return Speed(parent=speeds[0], child=speeds[1], ratio=ratio, low=low, high=high)


def _timed(work: Callable[[Decoder, Batch], None], decoder: Decoder, batch: Batch) -> float:
    started = time.perf_counter()
    work(decoder, batch)
    if decoder.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _loss(decoder: Decoder, batch: Batch) -> Tensor:
    hidden, routings = decoder(batch.tokens, batch.local, batch.patches, batch.segment)
    logits = decoder.logits(hidden.flatten(0, 1)[batch.at])
    losses = F.cross_entropy(logits.float(), batch.targets, reduction="none")
    return (losses * batch.weights).sum() + decoder.router_loss(routings)


def _forward(decoder: Decoder, batch: Batch) -> None:
    with torch.no_grad():
        _loss(decoder, batch)


def train_once(decoder: Decoder, batch: Batch) -> None:
    """Run a batch forward and backward, without a step of an optimizer."""
    _loss(decoder, batch).backward()
    decoder.zero_grad()
