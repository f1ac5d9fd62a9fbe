"""The key `tokenizer`: what it may hold, and what it makes of the suite and of the costs."""

import pytest

from space.cost import price
from space.errors import StudyFileError
from space.parsing import parse
from space.study import StudyConfig
from space.tokenizer import UNTRAINED, is_own, with_placed_file

SHA256 = "0123456789abcdef" * 4


def config(**tokenizer):
    data = {"study": "mine", "rungs": {"tokens": [16_384]}, "stop": {"candidates": 1}}
    return parse(StudyConfig, data | {"tokenizer": tokenizer}, StudyFileError)


def test_the_suite_has_its_pieces_and_everything_else_of_its_own():
    own, shipped = config(vocab=32_000).suite_record(), config(vocab=512).suite_record()
    assert (own.text_vocab, own.tokenizer) == (32_000, UNTRAINED)
    assert own.vocab_size - shipped.vocab_size == 32_000 - 512
    assert own.model_copy(update={"text_vocab": 512}) == shipped
    assert config(vocab=32_000, sha256=SHA256).suite_record().tokenizer == SHA256


def test_costs_follow_the_number_of_pieces():
    study = config(vocab=32_000)
    larger, smaller = study.suite_record(), config(vocab=512).suite_record()
    architecture, _ = study.space.feasible(smaller, study.limits)[0]
    extra = (32_000 - 512) * architecture.width
    costs = price(architecture, larger), price(architecture, smaller)
    assert costs[0].total_params - costs[1].total_params == 2 * extra  # embedding and head
    assert costs[0].flops_per_token - costs[1].flops_per_token == 2 * extra  # of the head


def test_a_study_that_was_stored_without_the_key_has_the_suites():
    stored = config(vocab=300).model_dump(mode="json")
    del stored["tokenizer"]
    assert StudyConfig.model_validate(stored).suite_record().tokenizer == "python-docs-512"


@pytest.mark.parametrize(
    ("tokenizer", "why"),
    [
        ({}, "tokenizer: vocab, a number of pieces, or file, a SentencePiece model; got neither"),
        ({"vocab": 12}, "tokenizer.vocab: .* 280, got 12"),
        ({"vocab": 2**21}, "tokenizer.vocab: .* 1048576, got 2097152"),
        ({"vocab": 400.5}, "tokenizer.vocab: .*400.5"),
        ({"vocb": 400}, "tokenizer.vocb: unknown key; did you mean 'vocab'"),
        ({"file": "my.model"}, "tokenizer: file is read when a study is launched or priced, and was not"),
        ({"vocab": 400, "sha256": "abc"}, "tokenizer.sha256"),
    ],
)
def test_other_content_is_refused_in_one_line(tokenizer, why):
    with pytest.raises(StudyFileError, match=why) as refused:
        config(**tokenizer)
    assert "\n" not in str(refused.value)


def test_a_file_is_beside_the_study_file(tmp_path):
    placed = with_placed_file({"tokenizer": {"file": "models/my.model"}}, tmp_path)
    assert placed == {"tokenizer": {"file": str(tmp_path / "models/my.model")}}
    assert with_placed_file({"study": "mine"}, tmp_path) == {"study": "mine"}


def test_only_a_sha256_is_the_name_of_a_tokenizer_of_ones_own():
    assert is_own(SHA256)
    assert not any(map(is_own, (UNTRAINED, "python-docs-512", SHA256[1:], SHA256.upper())))
