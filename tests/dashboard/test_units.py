from datetime import UTC, datetime, timedelta, timezone

import pytest

from dashboard import units


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (12, "12"),
        (999.6, "1k"),
        (1_234_567, "1.23M"),
        (225_000, "225k"),
        (3.4e15, "3.4P"),
        (None, units.UNKNOWN),
    ],
)
def test_short(value, words):
    assert units.short(value) == words


def test_flops_carry_their_unit():
    assert units.flops(2.5e12) == "2.5 TFLOPs"
    assert units.flops(12) == "12 FLOPs"


@pytest.mark.parametrize(
    ("seconds", "words"), [(8.4, "8 s"), (200, "3 min 20 s"), (7505, "2 h 05 min"), (200_000, "2 d 7 h")]
)
def test_duration(seconds, words):
    assert units.duration(seconds) == words


def test_moments_are_utc():
    east = timezone(timedelta(hours=2))
    assert units.moment(datetime(2026, 1, 2, 1, 30, tzinfo=east)) == "2026-01-01 23:30"
    assert units.moment(datetime(2026, 1, 2, 1, 30, tzinfo=UTC)) == "2026-01-02 01:30"


def test_scores_carry_their_error():
    assert units.signed(0.41234, 0.01) == "0.412 ± 0.020"
    assert units.signed(None) == units.UNKNOWN
