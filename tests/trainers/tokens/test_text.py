"""SentencePiece: the same bytes each time, and any text comes back."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.tokens.text import BOS, STOP, Tokenizer, train_tokenizer

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
