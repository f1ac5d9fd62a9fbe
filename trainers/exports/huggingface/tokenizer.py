"""The tokenizer of an export as `tokenizer.json`, which transformers loads with exactly our ids.

The file has the format of the `tokenizers` library and is written without it. What transformers makes of a
`tokenizer.model` by itself has other ids, so an export and its folder `hf/` both hold this file.

SentencePiece first cuts out the user-defined pieces, the longest at each place, and merges the characters
between them by the pieces' scores. `tokenizers` does the same when a pre-tokenizer isolates those pieces and
its merges stand in the order of the scores.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sentencepiece import sentencepiece_model_pb2

from space.errors import CheckpointError
from space.files import write_atomically
from space.records import SuiteRecord
from trainers.tokens.vocabulary import Vocabulary

TOKENIZER_JSON = "tokenizer.json"
CONFIG_JSON = "tokenizer_config.json"
SPACE = "\u2581"  # how SentencePiece writes a space
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # kinds of pieces in a model file
UNKNOWN_TEXT = " \u2047 "  # what SentencePiece decodes the unknown piece to


class Pieces(NamedTuple):
    """The pieces of a SentencePiece model, each with its id.

    Attributes:
        normal: by falling score.
        words: user-defined ones, which are cut out before anything is merged.
        byte_pieces: of characters that no piece holds.
        unknown: the piece of what cannot be encoded.
        controls: pieces that no text becomes.
    """

    normal: dict[str, int]
    words: dict[str, int]
    byte_pieces: dict[str, int]
    unknown: dict[str, int]
    controls: dict[str, int]

    @classmethod
    def of(cls, model: bytes) -> "Pieces":
        """Read a model file.

        Raises:
            CheckpointError: it has settings under which `tokenizer.json` would give other ids.
        """
        proto: Any = sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]
        proto.ParseFromString(model)
        _check_settings(proto)
        kinds: dict[int, list[tuple[float, str, int]]] = {}
        for index, piece in enumerate(proto.pieces):
            kinds.setdefault(piece.type, []).append((-piece.score, piece.piece, index))
        parts = [
            {text: index for _, text, index in sorted(kinds.pop(kind, []), key=lambda found: found[0])}
            for kind in (NORMAL, USER_DEFINED, BYTE, UNKNOWN, CONTROL)
        ]
        _require(not kinds, f"pieces of kind {sorted(kinds)}")
        pieces = cls(*parts)
        _require(len(pieces.byte_pieces) == 256, f"{len(pieces.byte_pieces)} pieces of bytes")
        long = [text for text in pieces.normal if "<" in text and len(text) > 1]
        _require(not long, f"the piece '{(long or [''])[0]}'")
        strange = [text for text in pieces.normal if not set(text) <= pieces.normal.keys()]
        _require(not strange, f"the piece '{(strange or [''])[0]}'")
        return pieces

    @property
    def size(self) -> int:
        """Number of pieces."""
        return sum(map(len, self))

    def merges(self) -> Iterator[tuple[str, str]]:
        """Pairs of pieces that become one, those with the highest score first."""
        for text in self.normal:
            for place in range(1, len(text)):
                left, right = text[:place], text[place:]
                if left in self.normal and right in self.normal:
                    yield left, right


def write_tokenizer(folder: Path, model: bytes, suite: SuiteRecord) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into a folder.

    Where the suite's text ids are not those of the model, `tokenizer.json` says so and is no JSON: loading it
    fails. Without the file transformers would make up other ids.

    Args:
        folder: an export, or its folder for transformers.
        model: the suite's SentencePiece model.
        suite: says which ids follow those of text.

    Raises:
        CheckpointError: the model has settings under which the ids would be others.
    """
    pieces = Pieces.of(model)
    if pieces.size == suite.text_vocab:
        text = json.dumps(tokenizer_json(pieces, suite), ensure_ascii=False, indent=1)
    else:
        text = (
            f"suite {suite.name} has {suite.text_vocab} ids of text, and its tokenizer {pieces.size} pieces"
        )
    write_atomically(folder / TOKENIZER_JSON, text + "\n")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": suite.context,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    write_atomically(folder / CONFIG_JSON, json.dumps(config, indent=2) + "\n")


def tokenizer_json(pieces: Pieces, suite: SuiteRecord) -> dict[str, Any]:
    """What `tokenizer.json` says of the pieces of a model and of the suite's other ids.

    A name with a space in it can stand in no text, in which spaces are written as U+2581: so are called the
    ids that no text becomes. They decode to nothing.
    """
    # "<" is a piece of its own and no part of another, so no text can look like the name of a byte
    alone = [*sorted(pieces.words, key=len, reverse=True), "<"]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": SPACE}, _replace({"String": " "}, SPACE)],
        },
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "|".join(map(re.escape, alone))},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                _replace({"String": _named(*pieces.unknown)}, UNKNOWN_TEXT.replace(" ", SPACE)),
                _replace({"Regex": ".* .*"}, ""),
                _replace({"String": SPACE}, " "),
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": True,
            "ignore_merges": True,  # a piece that was cut out is its own id
            "vocab": dict(sorted(_vocabulary(pieces, suite).items(), key=lambda item: item[1])),
            "merges": [list(pair) for pair in pieces.merges()],
        },
    }


def _vocabulary(pieces: Pieces, suite: SuiteRecord) -> dict[str, int]:
    """A name for each id of a suite."""
    vocabulary = Vocabulary.of(suite)
    names = pieces.normal | pieces.words | pieces.byte_pieces
    names |= {_named(text): index for text, index in (pieces.unknown | pieces.controls).items()}
    for what, (low, high) in (
        ("bin", vocabulary.continuous_range),
        ("value", vocabulary.discrete_range),
    ):
        names |= {f"<{what} {index - low}>": index for index in range(low, high)}
    names["<the separator>"] = vocabulary.separator
    names |= {f"<patch {encoder}>": vocabulary.placeholder(encoder) for encoder in suite.encoders}
    _require(sorted(names.values()) == list(range(vocabulary.size)), "pieces beside those of the suite")
    return names


def _named(text: str) -> str:
    """The name of a piece that no text becomes."""
    return f"{text} "


def _replace(pattern: Mapping[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": dict(pattern), "content": content}


def _check_settings(proto: Any) -> None:
    normalizer, trainer = proto.normalizer_spec, proto.trainer_spec
    _require(trainer.model_type == trainer.BPE, "another algorithm than byte-pair merges")
    _require(normalizer.name == "identity" and not normalizer.precompiled_charsmap, "a normalisation")
    _require(normalizer.add_dummy_prefix and not normalizer.remove_extra_whitespaces, "other white space")
    _require(normalizer.escape_whitespaces and not trainer.treat_whitespace_as_suffix, "other white space")


def _require(condition: bool, found: str) -> None:
    if not condition:
        raise CheckpointError(
            "a tokenizer for transformers gives the ids of the export's tokenizer.model, whose pieces are"
            f" merged by score alone; this one has {found}"
        )
