"""Text becomes SentencePiece pieces: byte-pair merges with byte fallback, trained deterministically."""

import io
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
        """Text -> ids of pieces, (length,) int32."""
        return np.asarray(self._pieces.encode(text), dtype=np.int32)

    def decode(self, ids: Int[np.ndarray, " length"] | list[int]) -> str:
        """Ids of pieces -> text; ids beyond the vocabulary of text are left out."""
        return self._pieces.decode([int(i) for i in ids if 0 <= i < self.size])

    def pieces(self) -> list[str]:
        """All pieces in the order of their ids."""
        return [self._pieces.id_to_piece(i) for i in range(self.size)]


def train_tokenizer(lines: Iterable[str], size: int, words: Iterable[str] = ()) -> Tokenizer:
    """Train on lines of text; the same lines give the same bytes.

    White space is kept unchanged, including line breaks.

    Args:
        lines: texts, each shorter than 64 kB.
        size: number of pieces, 256 bytes and three controls among them.
        words: strings that are always one piece.
    """
    buffer = io.BytesIO()
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
    return Tokenizer(buffer.getvalue())
