"""Documents, how they are scored, and the n-gram that is their floor and expert."""

import numpy as np
import pytest

from space.errors import TaskError
from trainers.tasks.families import text as documents
from trainers.tasks.families.text import EXCERPT, PythonDocs, overlapping
from trainers.tasks.ngram import NGramPolicy
from trainers.tokens import sequence
from trainers.tokens.text import BOS


@pytest.mark.parametrize("length", [1, 2, 9, 10, 17, 100])
def test_each_token_is_fresh_once(length):
    spans = list(overlapping(length, context=8))
    fresh = [i for start, stop, new in spans for i in range(stop - new, stop)]
    assert fresh == list(range(1, length))
    assert all(stop - start <= 9 for start, stop, _ in spans)
    assert all(start == 0 or stop - new - start >= 4 for start, stop, new in spans)


def test_splits_share_no_paragraph():
    said = {
        split: {" ".join(p.split()) for text in documents.texts(split) for p in documents.paragraphs(text)}
        for split in ("train", "select", "report")
    }
    for one, other in (("train", "select"), ("train", "report"), ("select", "report")):
        assert max(map(len, said[one] & said[other])) < documents.REPEATABLE
    assert sum(len(text) for text in documents.texts("train")) > 1_000_000
    assert all(len(excerpt) <= EXCERPT for excerpt in documents.excerpts("select"))


class UniformPolicy:
    """Every token is as likely as any other."""

    def nats(self, chunks):
        return [np.full(len(chunk) - 1, np.log(512)) for chunk in chunks]


def test_bits_per_byte_count_every_token_once(quick, tokenizer):
    task = PythonDocs(quick, tokenizer)
    values = task.score(UniformPolicy(), "select", 3)
    for value, excerpt in zip(values, documents.excerpts("select"), strict=False):
        assert value == pytest.approx(9 * len(tokenizer.encode(excerpt)) / len(excerpt.encode()))


def test_more_excerpts_than_there_are_is_an_error(quick, tokenizer):
    with pytest.raises(TaskError, match="got a request for 100000"):
        PythonDocs(quick, tokenizer).score(UniformPolicy(), "select", 100_000)


def test_training_text_comes_back_from_its_tokens(quick, tokenizer):
    chunk = PythonDocs(quick, tokenizer, 3).episodes()[2]
    assert chunk.tokens[0] == BOS
    assert tokenizer.decode(chunk.tokens[1:]) == documents.texts("train")[2]
    assert chunk.starts.all()
    assert np.array_equal(chunk.scored, chunk.tokens != BOS)


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    return [np.r_[1, rng.integers(2, 8, 200)] for _ in range(5)]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_an_ngrams_probabilities_sum_to_one(corpus, order):
    model = NGramPolicy(corpus, order, size=8)
    for context in ([3], [3, 4], [2, 2, 5]):
        chunks = [sequence.text([*context, token], scored=True) for token in range(8)]
        last = [np.exp(-nats[-1]) for nats in model.nats(chunks)]
        assert sum(last) == pytest.approx(1.0)


def test_a_longer_ngram_knows_a_pattern(corpus):
    pattern = [np.r_[1, np.tile([2, 3, 4, 2, 5, 6], 40)]]
    chunk = [sequence.text(pattern[0], scored=True)]
    losses = [NGramPolicy(pattern + corpus, order, 8).nats(chunk)[0].mean() for order in (1, 2, 3)]
    assert losses[0] > losses[1] > losses[2]


def test_an_ngram_does_not_act(corpus):
    with pytest.raises(TypeError, match="does not act"):
        NGramPolicy(corpus, 1, 8).act([], [], [])
