"""The dry run says when its study exists already: how far it is, and whether the specification agrees."""

import json

import pytest

from search.commands.price import print_price
from search.worker import run_worker


@pytest.fixture
def priced(url, capsys):
    """The price of a study -> as JSON, and the lines that are printed."""

    def price(config):
        found = []
        for as_json in (True, False):
            print_price(config, 2, url, "artifacts", as_json)
            found.append(capsys.readouterr().out)
        return json.loads(found[0]), found[1]

    return price


def test_a_study_that_is_not_there_is_not_mentioned(launch, priced):
    config = launch()
    data, text = priced(config.model_copy(update={"study": "another"}))
    assert data["existing"] is None
    assert "is there already" not in text


def test_a_study_that_was_begun_says_how_far_it_is(launch, priced):
    data, text = priced(launch())
    assert (data["existing"]["trials"], data["existing"]["differs"]) == (0, None)
    assert "study 'toy' is there already, 0% done: 0 trials of 0 candidates done" in text
    assert "its specification agrees, so launching it resumes it" in text


@pytest.mark.slow
def test_a_finished_study_says_so_and_what_another_specification_meets(launch, priced, url):
    config = launch(stop={"candidates": 4})
    run_worker(url, "toy", "artifacts")
    data, text = priced(config)
    assert data["existing"]["finished"]
    assert data["existing"]["trials"] == 7
    assert "study 'toy' is finished: 7 trials of 4 candidates done, 7G training FLOPs spent" in text
    assert "a larger `stop` takes it further" in text
    other = config.model_copy(update={"search": config.search.model_copy(update={"seed": 5})})
    data, text = priced(other)
    assert data["existing"]["differs"].startswith("search.seed: a study keeps its specification")
    assert "this specification is refused: search.seed" in text


def test_expectation_bound_and_disk_are_printed_beside_each_other(launch, priced):
    data, text = priced(launch())
    assert data["training_flops"] < data["training_flops_most"]
    assert data["training_tokens"] <= data["training_tokens_most"]
    assert 0 < data["disk_bytes"]["final"] < data["disk_bytes"]["peak"] < data["disk_bytes"]["most"]
    for words in ("expected: 21 trials of 12 candidates", "at most, if no attempt crashes", "expected disk"):
        assert words in text
