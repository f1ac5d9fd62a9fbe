"""The tokenizer of an export as `tokenizer.json`, which transformers loads with exactly our ids.

The file has the format of the `tokenizers` library and is written without it. What transformers makes of a
`tokenizer.model` by itself has other ids, so an export and its folder `hf/` both hold this file.

SentencePiece first cuts out the user-defined pieces, the longest at each place, and merges the characters
between them by the pieces' scores. `tokenizers` does the same when a pre-tokenizer isolates those pieces and
its merges stand in the order of the scores.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from space.errors import CheckpointError
from space.files import write_atomically
from space.records import SuiteRecord
from trainers.tokens.pieces import Pieces
from trainers.tokens.vocabulary import Vocabulary

TOKENIZER_JSON = "tokenizer.json"
CONFIG_JSON = "tokenizer_config.json"
SPACE = "\u2581"  # how SentencePiece writes a space
INSIDE_BYTE_NAMES = "(?<=<)(?=0x[0-9A-F]{2}>)"  # between "<" and the rest of what looks like a byte's name
UNKNOWN_TEXT = " \u2047 "  # what SentencePiece decodes the unknown piece to


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
    try:
        pieces = Pieces.of(model)
    except ValueError as error:
        raise CheckpointError(
            "a tokenizer for transformers gives the ids of the export's tokenizer.model, whose pieces are"
            f" merged by score alone; this one has {error}"
        ) from None
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
    prefix = [{"type": "Prepend", "prepend": SPACE}] if pieces.prefixed else []
    stripped = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if pieces.prefixed else []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [*prefix, _replace({"String": " "}, SPACE)],
        },
        "pre_tokenizer": _isolated(pieces),
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                _replace({"String": _named(*pieces.unknown)}, UNKNOWN_TEXT.replace(" ", SPACE)),
                _replace({"Regex": ".* .*"}, ""),
                _replace({"String": SPACE}, " "),
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *stripped,
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
            "ignore_merges": bool(pieces.words),  # a piece that was cut out is its own id
            "vocab": dict(sorted(_vocabulary(pieces, suite).items(), key=lambda item: item[1])),
            "merges": [list(pair) for pair in pieces.merges()],
        },
    }


def _isolated(pieces: Pieces) -> dict[str, Any] | None:
    """The pre-tokenizer that cuts out user-defined pieces; None where there are none.

    What is cut out, and what lies between, is looked up as a whole before anything is merged. So that a text
    which looks like the name of a byte is not taken for the byte, it is cut after its "<".
    """
    if not pieces.words:
        return None
    words = map(re.escape, sorted(pieces.words, key=len, reverse=True))
    names = "<" if pieces.splits_names_of_bytes else INSIDE_BYTE_NAMES
    return {
        "type": "Split",
        "pattern": {"Regex": "|".join([*words, names])},
        "behavior": "Isolated",
        "invert": False,
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
    assert sorted(names.values()) == list(range(vocabulary.size)), "each id has one name"
    return names


def _named(text: str) -> str:
    """The name of a piece that no text becomes."""
    return f"{text} "


def _replace(pattern: Mapping[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": dict(pattern), "content": content}
