"""What commands print while they work: lines, bars, numbers, and what Ctrl-C does."""

import os
import signal

import pytest
from factories import make_study
from rich.console import Console

from search.commands import output
from search.commands.phases import ending_at_a_checkpoint
from search.operations.live import LaunchDisplay, draw, line
from search.read.results import Reader
from space.errors import Interrupted


@pytest.fixture
def reader(tmp_path):
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    make_study(url, trials=24, running=2, failed=1, finished=False)
    reader = Reader(url)
    yield reader
    reader.close()


def test_a_line_says_trials_rungs_best_compute_and_time(reader):
    text = line(reader.status("quick"))
    best = reader.front("quick")[0].score
    for words in ("24 of 29 trials (rungs 14/17 7/8 3/4)", "2 running", "1 failed", "FLOPs"):
        assert words in text
    assert f"best {best:.3f}" in text
    assert text.endswith("left")


def test_the_display_shows_every_running_trial_with_a_bar(reader):
    status = reader.status("quick")
    console = Console(width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(draw(status, reader.url))
    text = console.export_text()
    console.file.close()
    assert "rung 2" in text
    assert "14 of 17 done" in text
    for trial in status.running:
        row = next(row for row in text.splitlines() if f"trial {trial.number}" in row)
        assert "112k of 270k" in row
        assert "━" in row
        assert trial.description.label in row


def test_where_there_is_no_terminal_lines_are_rare(reader, capsys):
    with LaunchDisplay(reader, "quick") as display:
        for _ in range(5):
            display.tick()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 2  # the first, and the last one


def test_a_meter_without_a_terminal_speaks_at_the_start_and_at_the_end(capsys):
    with output.Meter("data", 8) as meter:
        for done in range(1, 9):
            meter.update(done, f"task {done}")
    assert capsys.readouterr().err == "data:  12%  task 1\ndata: 100%  task 8\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12, "12"), (0.5, "0.5"), (999, "999"), (1234, "1.23k"), (999_900, "1M"), (2.5e7, "25M")],
)
def test_numbers_have_three_digits(value, text):
    assert output.short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.4, "0 s"), (200, "3 min 20 s"), (3600, "1 h 00 min"), (1e6, "11 d 13 h")],
)
def test_durations(seconds, text):
    assert output.duration(seconds) == text


def test_the_first_ctrl_c_asks_and_the_second_stops(capfd):
    before = signal.getsignal(signal.SIGINT)

    def interrupted_twice():
        with ending_at_a_checkpoint("pathfront again") as stopping:
            assert not stopping()
            signal.raise_signal(signal.SIGINT)
            assert stopping()
            assert "stopping at a checkpoint" in capfd.readouterr().err
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match=r"stopped at once.*resume with: pathfront again") as error:
        interrupted_twice()
    assert error.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
