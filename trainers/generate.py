"""Text from a trained decoder, token by token over a cache of keys and values."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from trainers.model.attention import Cache, Slots
from trainers.model.decoder import Decoder
from trainers.tokens.text import BOS, STOP

UNKNOWN = 0  # the piece that stands for no text


@torch.inference_mode()
def generate(
    decoder: Decoder,
    prompt: Int[np.ndarray, " pieces"],
    most: int,
    temperature: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Int[np.ndarray, " new"]:
    """Continue a text.

    When the context is full, its last half is encoded again.

    Args:
        decoder: it runs on its current device.
        prompt: ids of text pieces; the last ones are used if the context is shorter.
        most: pieces to generate at most; fewer if the decoder ends the text.
        temperature: 0 takes the likeliest piece; above 0, a piece is drawn from the softmax of the logits
            divided by it.
        rng: draws the pieces; needed above temperature 0.

    Returns:
        Ids of the new pieces, without the prompt.
    """
    context = decoder.suite.context
    text = [BOS, *(int(piece) for piece in prompt)][-context:]
    made: list[int] = []
    cache, fed = Cache(decoder.arch, 1, like=decoder.embedding.table.weight), 0
    while len(made) < most:
        if len(text) > context:
            text, fed = text[-(context // 2) :], 0
        hidden = _extend(decoder, text[fed:], fed, cache)
        fed = len(text)
        piece = _choose(decoder, hidden, temperature, rng)
        if piece in (BOS, STOP):
            break
        text.append(piece)
        made.append(piece)
    return np.array(made, dtype=np.int32)


def _extend(decoder: Decoder, pieces: list[int], done: int, cache: Cache) -> Tensor:
    """The hidden state of the last of some pieces, (1, width)."""
    device = decoder.device
    tokens = torch.tensor(pieces, dtype=torch.int64, device=device)
    slots = Slots.of(np.array([done]), np.array([len(pieces)]), device)
    return decoder.extend(tokens, torch.zeros_like(tokens), {}, slots, cache)


def _choose(decoder: Decoder, hidden: Tensor, temperature: float, rng: np.random.Generator | None) -> int:
    """The next piece."""
    logits = F.linear(hidden, decoder.head.weight[: decoder.suite.text_vocab])[0].float()
    logits[UNKNOWN] = -torch.inf
    if temperature == 0:
        return int(logits.argmax())
    assert rng is not None, "a draw needs random numbers"
    chances = (logits.double() / temperature).softmax(dim=0).cpu().numpy()
    return int(rng.choice(len(chances), p=chances))
