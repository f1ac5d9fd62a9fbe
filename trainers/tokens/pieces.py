"""The pieces of a SentencePiece model file, and whether the model is one that Pathfront can use.

A usable model takes any text and gives it back, and its ids can be reproduced by the `tokenizers` library:
byte-pair merges with byte fallback, without normalisation.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from trainers.tokens.text import BOS, STOP

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # kinds of pieces in a model file


class Pieces(NamedTuple):
    """The pieces of a SentencePiece model, each with its id.

    Attributes:
        normal: by falling score.
        words: user-defined ones, which are cut out before anything is merged.
        byte_pieces: of characters that no piece holds.
        unknown: the piece of what cannot be encoded.
        controls: pieces that no text becomes.
        prefixed: whether a text is encoded as if it began with a space.
    """

    normal: dict[str, int]
    words: dict[str, int]
    byte_pieces: dict[str, int]
    unknown: dict[str, int]
    controls: dict[str, int]
    prefixed: bool

    @classmethod
    def of(cls, model: bytes) -> "Pieces":
        """Read a model file.

        Raises:
            ValueError: it is no model, or has settings under which the ids of `tokenizers` would differ; the
                message names what it has.
        """
        proto: Any = sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]
        try:
            proto.ParseFromString(model)
        except DecodeError:
            raise ValueError("no pieces") from None
        _require(bool(proto.pieces), "no pieces")
        _check_settings(proto)
        kinds: dict[int, list[tuple[float, str, int]]] = {}
        for index, piece in enumerate(proto.pieces):
            kinds.setdefault(piece.type, []).append((-piece.score, piece.piece, index))
        parts = [
            {text: index for _, text, index in sorted(kinds.pop(kind, []), key=lambda found: found[0])}
            for kind in (NORMAL, USER_DEFINED, BYTE, UNKNOWN, CONTROL)
        ]
        _require(not kinds, f"pieces of kind {sorted(kinds)}")
        pieces = cls(*parts, prefixed=bool(proto.normalizer_spec.add_dummy_prefix))
        pieces._check()
        return pieces

    @property
    def size(self) -> int:
        """Number of pieces."""
        return sum(map(len, self.parts))

    @property
    def parts(self) -> tuple[dict[str, int], ...]:
        """The pieces of each kind."""
        return self.normal, self.words, self.byte_pieces, self.unknown, self.controls

    @property
    def splits_names_of_bytes(self) -> bool:
        """Whether "<" is part of no longer piece, so that no text can look like the name of a byte."""
        return not any("<" in text and len(text) > 1 for text in self.normal)

    def merges(self) -> Iterator[tuple[str, str]]:
        """Pairs of pieces that become one, those with the highest score first."""
        for text in self.normal:
            for place in range(1, len(text)):
                left, right = text[:place], text[place:]
                if left in self.normal and right in self.normal:
                    yield left, right

    def _check(self) -> None:
        _require(len(self.byte_pieces) == 256, f"{len(self.byte_pieces)} pieces of bytes")
        ends = {index for index in self.controls.values() if index in (BOS, STOP)}
        _require(len(ends) == 2, f"no begin and end of a text as the pieces {BOS} and {STOP}")
        strange = [text for text in self.normal if not set(text) <= self.normal.keys() or " " in text]
        if self.words and not self.splits_names_of_bytes:
            strange += [text for text in self.normal if "<0" in text]
        _require(not strange, f"the piece '{(strange or [''])[0]}'")


def _check_settings(proto: Any) -> None:
    normalizer, trainer = proto.normalizer_spec, proto.trainer_spec
    _require(trainer.model_type == trainer.BPE, "another algorithm than byte-pair merges")
    _require(trainer.byte_fallback, "no byte fallback")
    _require(normalizer.name == "identity" and not normalizer.precompiled_charsmap, "a normalisation")
    _require(not normalizer.remove_extra_whitespaces, "other white space")
    _require(normalizer.escape_whitespaces and not trainer.treat_whitespace_as_suffix, "other white space")


def _require(condition: bool, found: str) -> None:
    if not condition:
        raise ValueError(found)
