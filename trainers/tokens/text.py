"""Text becomes SentencePiece pieces: byte-pair merges with byte fallback, trained deterministically."""

import io
import re
from collections.abc import Iterable

import numpy as np
import sentencepiece
from jaxtyping import Int, Int32

BOS = 1
STOP = 2  # ends a text answer


class Tokenizer:
    """A trained SentencePiece model.

    Attributes:
        model: its bytes, the content of a `tokenizer.model` file.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)

    @property
    def size(self) -> int:
        """Number of pieces."""
        return self._pieces.get_piece_size()

    def encode(self, text: str) -> Int32[np.ndarray, " length"]:
        """Text -> ids of pieces, (length,) int32; half a surrogate is read as U+FFFD."""
        return np.asarray(self._pieces.encode(well_formed(text)), dtype=np.int32)

    def decode(self, ids: Int[np.ndarray, " length"] | list[int]) -> str:
        """Ids of pieces -> text; ids beyond the vocabulary of text are left out."""
        return self._pieces.decode([int(i) for i in ids if 0 <= i < self.size])

    def pieces(self) -> list[str]:
        """All pieces in the order of their ids."""
        return [self._pieces.id_to_piece(i) for i in range(self.size)]


def well_formed(text: str) -> str:
    """A text that UTF-8 can hold: two halves of a surrogate pair become their character, others U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def train_tokenizer(lines: Iterable[str], size: int, words: Iterable[str] = ()) -> Tokenizer:
    """Train on lines of text; the same lines give the same bytes.

    White space is kept unchanged, including line breaks.

    Args:
        lines: texts, each shorter than 64 kB.
        size: number of pieces, 256 bytes and three controls among them.
        words: strings that are always one piece.

    Raises:
        ValueError: the texts do not give that many pieces, or have more characters; the message says which
            number is possible.
    """
    buffer = io.BytesIO()
    try:
        _train(lines, size, words, buffer)
    except RuntimeError as error:
        raise ValueError(_impossible(str(error), size)) from None
    return Tokenizer(buffer.getvalue())


def _train(lines: Iterable[str], size: int, words: Iterable[str], buffer: io.BytesIO) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=buffer,
        vocab_size=size,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.9995,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=["\n", *words],
        split_digits=True,
        max_sentence_length=1 << 16,
        num_threads=1,
        bos_id=BOS,
        eos_id=STOP,
        minloglevel=2,
    )


def _impossible(reason: str, size: int) -> str:
    """What SentencePiece says about a number of pieces, in our words."""
    if found := re.search(r"set it to a value <= (\d+)", reason):
        return f"the training text is enough for {int(found[1]):,} pieces, got {size:,}"
    if found := re.search(r"required_chars\. \d+ vs (\d+)", reason):
        return f"bytes and single characters of the training text are {int(found[1]):,} pieces, got {size:,}"
    if "sentences_.empty()" in reason:
        return "there is no training text"
    return reason
