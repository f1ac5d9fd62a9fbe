"""Which SentencePiece models Pathfront can use, and why it refuses the others."""

import io

import pytest
import sentencepiece

from trainers.tokens.pieces import Pieces

LINES = [
    "the quick brown fox jumps over the lazy dog",
    "<p>one</p> and <div>two</div> <0x41 <0x41 <0x41",
] * 30
GOOD = {
    "model_type": "bpe",
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "vocab_size": 320,
}


def made(**changes):
    """The bytes of a model that SentencePiece trains with some settings."""
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=buffer, minloglevel=2, **(GOOD | changes)
    )
    return buffer.getvalue()


@pytest.mark.parametrize("changes", [{}, {"add_dummy_prefix": False}, {"user_defined_symbols": ["\n", "<"]}])
def test_a_model_that_gives_back_any_text_is_taken(changes):
    pieces = Pieces.of(made(**changes))
    assert pieces.size == 320
    assert len(pieces.byte_pieces) == 256
    assert pieces.prefixed == changes.get("add_dummy_prefix", True)
    assert set(pieces.words) == set(changes.get("user_defined_symbols", ()))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"model_type": "unigram", "vocab_size": 292, "hard_vocab_limit": False},
            "another algorithm than byte-pair merges",
        ),
        ({"byte_fallback": False, "vocab_size": 60}, "no byte fallback"),
        ({"normalization_rule_name": "nmt_nfkc"}, "a normalisation"),
        ({"remove_extra_whitespaces": True}, "other white space"),
        ({"treat_whitespace_as_suffix": True}, "other white space"),
        ({"bos_id": -1}, "no begin and end of a text as the pieces 1 and 2"),
        ({"user_defined_symbols": ["\n"]}, "the piece '▁<0'"),
    ],
)
def test_any_other_is_refused_with_what_it_has(changes, found):
    with pytest.raises(ValueError, match=found):
        Pieces.of(made(**changes))


@pytest.mark.parametrize("content", [b"", b"no model", b"\0" * 40])
def test_another_file_is_refused(content):
    with pytest.raises(ValueError, match="no pieces"):
        Pieces.of(content)
