"""SentencePiece: the same bytes each time, and any text comes back."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.tokens.text import BOS, STOP, Tokenizer, train_tokenizer, well_formed

LINES = ["the quick brown fox jumps over the lazy dog", "    indented, twice  and spaced", "0123456789"] * 20
WORDS = ("▁7", "▁red", "▁circle")


@cache
def tokenizer():
    return train_tokenizer(LINES, 320, WORDS)


def test_training_twice_gives_the_same_bytes():
    assert train_tokenizer(LINES, 320, WORDS).model == tokenizer().model
    assert tokenizer().size == 320


def test_a_model_is_all_that_a_tokenizer_is():
    again = Tokenizer(tokenizer().model)
    assert again.pieces() == tokenizer().pieces()
    assert (again.pieces()[BOS], again.pieces()[STOP]) == ("<s>", "</s>")


def test_words_are_one_piece():
    assert len(tokenizer().encode("7")) == 1
    assert len(tokenizer().encode("red circle")) == 2


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁\0"), max_size=60))
def test_any_text_comes_back(text):
    assert tokenizer().decode(tokenizer().encode(text)) == text


@pytest.mark.parametrize("text", ["a\n    b\n\n  c  ", "\ttab", "naïve ∑ 漢字"])
def test_white_space_and_other_scripts_come_back(text):
    assert tokenizer().decode(tokenizer().encode(text)) == text


def test_ids_beyond_the_text_are_left_out():
    ids = [*tokenizer().encode("red").tolist(), 5000]
    assert tokenizer().decode(ids) == "red"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("\0", "\0"),
        ("a\0\0b", "a\0\0b"),
        ("한국어 \u1112\u1161\u11ab 🙂🏽\u200d🚀", "한국어 \u1112\u1161\u11ab 🙂🏽\u200d🚀"),
        ("half \ud83d of it", "half \ufffd of it"),
        ("\ude42\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ude42", "🙂"),
    ],
)
def test_no_text_makes_it_fail(text, read):
    assert well_formed(text) == read
    assert tokenizer().encode(text).tolist() == tokenizer().encode(read).tolist()
    assert tokenizer().decode(tokenizer().encode(text)) == read


@given(st.text(max_size=40))
def test_any_string_has_ids(text):
    back = tokenizer().decode(tokenizer().encode(text))
    assert back == well_formed(text).replace("▁", " ")


@pytest.mark.parametrize(
    ("lines", "size", "why"),
    [
        (LINES, 5000, r"the training text is enough for \d+ pieces, got 5,000"),
        (LINES, 270, r"bytes and single characters of the training text are \d{3} pieces, got 270"),
        ([], 320, "there is no training text"),
    ],
)
def test_a_number_of_pieces_that_texts_do_not_give_is_refused(lines, size, why):
    with pytest.raises(ValueError, match=why):
        train_tokenizer(lines, size, WORDS)
