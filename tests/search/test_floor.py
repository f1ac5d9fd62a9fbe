"""Candidates that cannot be told from their floor are on no front, and every reader says so."""

import json

import pytest
from factories import make_study
from sqlalchemy import create_engine, text

from search.read.results import Reader
from space.scores import at_floor

RUNGS = (225_000, 450_000, 900_000)


@pytest.fixture
def floored(tmp_path):
    """A study all of whose candidates ended at their floor."""
    url = f"sqlite:///{tmp_path / 'floored.db'}"
    make_study(url, trials=12, floored=True, artifacts=tmp_path / "artifacts")
    return url


@pytest.fixture
def mixed(tmp_path):
    """A study whose cheapest candidate scores at its floor; returns its URL and that trial's number."""
    url = f"sqlite:///{tmp_path / 'mixed.db'}"
    make_study(url, trials=24)
    rows = Reader(url).finalists("quick")
    cheapest = min(rows, key=lambda row: row.flops_per_token).number
    engine = create_engine(url)
    with engine.begin() as connection:
        statement = text("update pf_trials set score = 0.01, stderr = 0.012 where number = :number")
        connection.execute(statement, {"number": cheapest})
    engine.dispose()
    return url, cheapest


@pytest.mark.parametrize(
    ("score", "stderr", "expected"),
    [(None, None, True), (-0.1, 0.01, True), (0.0, None, True), (0.01, 0.01, True), (0.011, 0.01, False)],
)
def test_above_the_floor_is_above_it_by_one_standard_error(score, stderr, expected):
    assert at_floor(score, stderr) == expected


def test_the_cheapest_candidate_at_its_floor_is_not_on_the_front(mixed):
    url, cheapest = mixed
    reader = Reader(url)
    assert cheapest in [row.number for row in reader.finalists("quick")]
    assert reader.front("quick")
    assert cheapest not in [row.trial for row in reader.front("quick")]
    assert not reader.trial("quick", cheapest).on_front


def test_export_never_picks_a_candidate_at_its_floor(mixed, pathfront):
    url, cheapest = mixed
    limit = Reader(url).trial("quick", cheapest).row.flops_per_token
    code, _, err = pathfront("export", "quick", "--max-flops", limit, "-o", "small", "--storage", url)
    assert code == 3
    assert "none of the 1 scored candidates" in err
    assert "above its floor" in err


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["front", "quick"], 0),
        (["export", "quick", "-o", "best"], 3),
        (["export", "quick", "--pick", "knee", "-o", "best"], 3),
        (["export", "quick", "--scale", "4x", "-o", "big"], 3),
    ],
)
def test_where_all_are_at_their_floor_every_reader_says_why_and_what_to_do(floored, pathfront, command, code):
    result, out, err = pathfront(*command, "--storage", floored)
    assert (result, out) == (code, "")
    assert err.count("\n") == 1
    for words in ("none of the 12 scored candidates", "above its floor", "larger rungs.tokens", "225,000"):
        assert words in err


def test_the_empty_front_is_an_empty_list_and_a_message(floored, pathfront):
    code, out, err = pathfront("front", "quick", "--json", "--storage", floored)
    assert (code, json.loads(out)) == (0, [])
    assert "above its floor" in err


def test_the_card_of_a_trial_at_its_floor_says_so(floored, pathfront, tmp_path):
    code, _, err = pathfront("export", "quick", "--trial", 3, "-o", "three", "--storage", floored)
    assert code == 0, err
    assert "its score is not above the floor" in (tmp_path / "three" / "README.md").read_text()
