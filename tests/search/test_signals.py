"""Signals: the first asks, a second one of the same kind insists, others count apart."""

import os
import signal
import threading

import pytest

from search.signals import stop_signals, stop_with_message
from space.errors import Interrupted, Terminated


def send(which):
    os.kill(os.getpid(), which)


def test_the_first_signal_asks_and_a_second_of_its_kind_insists():
    asked = []
    with stop_signals(lambda: asked.append(1)) as request:
        assert not request.asked
        send(signal.SIGINT)
        assert request.asked
        assert asked == [1]
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert asked == [1]


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)]
)
def test_signals_of_two_kinds_are_one_request(first, second):
    asked, insisted = [], []
    with stop_signals(lambda: asked.append(1), insisted.append) as request:
        send(first)
        send(second)
        assert (asked, insisted, request.first) == ([1], [], first)
        send(second)
        assert insisted == [second]


def test_sigterm_ends_with_143_and_the_others_with_130():
    for which, kind, code in ((signal.SIGTERM, Terminated, 143), (signal.SIGINT, Interrupted, 130)):
        with stop_signals() as request:
            send(which)
        error = request.error("stopped")
        assert type(error) is kind
        assert error.exit_code == code


def test_a_process_under_nohup_goes_on_when_its_terminal_closes():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as request:
            send(signal.SIGHUP)
        assert not request.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_restored_and_other_threads_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    seen = []

    def run():
        with stop_signals() as request:
            seen.append((request.asked, signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, True)]


def end():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("ended_by", "which", "message", "code"),
    [
        (None, signal.SIGINT, "at once", 130),
        (None, signal.SIGTERM, "at once", 143),
        (Interrupted("its own"), signal.SIGTERM, "at a checkpoint", 143),
    ],
)
def test_an_interruption_ends_in_the_line_for_where_it_stopped(ended_by, which, message, code):
    def stopped():
        with stop_with_message(end if ended_by is None else lambda: None, "at once", "at a checkpoint"):
            send(which)
            raise ended_by

    with pytest.raises(Interrupted, match=message) as error:
        stopped()
    assert error.value.exit_code == code


@pytest.mark.parametrize("error", [Interrupted("its own"), KeyboardInterrupt("its own")])
def test_an_interruption_without_a_signal_keeps_its_message(error):
    def stopped():
        with stop_with_message(end, "at once", "at a checkpoint"):
            raise error

    with pytest.raises(type(error), match="its own"):
        stopped()
