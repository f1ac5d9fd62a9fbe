import math

import pytest

from dashboard import units
from search.commands import output
from space import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999.4, "999"),
        (999.6, "1k"),
        (-1234, "-1.23k"),
        (999_900, "1M"),
        (2e21, "2000E"),
        (0.01234, "0.0123"),
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_numbers_have_three_digits_and_a_prefix(value, text):
    assert words.short(value) == text


def test_a_unit_follows_the_prefix():
    assert words.short(2.5e12, "FLOPs") == "2.5 TFLOPs"
    assert words.short(12, "B") == "12 B"
    assert words.short(None, "B", unknown="none") == "none"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.4, "59 s"), (59.6, "1 min 00 s"), (7505, "2 h 05 min"), (2 * 86400, "2 d 0 h"), (None, "-")],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert words.duration(seconds) == text


def test_the_terminal_and_the_page_say_numbers_alike():
    for value in (0, 0.5, 12, 999.6, 1234, 123_456_789, 3.4e15):
        assert output.short(value) == units.short(value)
        assert output.duration(value) == units.duration(value)


def test_intervals_are_95_percent_ones():
    assert words.plus_minus(0.41234, 0.01) == "0.412 ± 0.020"
    assert words.plus_minus(0.41234, 0.01, digits=2) == "0.41 ± 0.02"
    assert words.interval(0.41234, 0.01) == "0.412 [0.393, 0.432]"


def test_a_noun_follows_its_number():
    assert words.counted(1, "worker") == "1 worker"
    assert words.counted(1200, "trial") == "1,200 trials"
    assert words.counted(2, "box", "boxes") == "2 boxes"
