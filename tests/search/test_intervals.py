"""Whatever follows a ± on the terminal says what it is: one standard error, or a 95% interval."""

import re

import pytest
from factories import make_study, suite

from search.commands.scores import print_scorecard
from space.scores import Scorecard


@pytest.mark.parametrize("command", [["front", "quick"], ["status", "quick"], ["show", "quick", "3"]])
def test_readers_print_one_standard_error_and_say_so(pathfront, tmp_path, command):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(url, trials=12)
    out = pathfront(*command, "--storage", url)[1]
    assert "±" in out
    assert re.findall(r"± \S+(?! s\.e\.)(?=\s)", out) == []


def test_a_scorecard_prints_95_percent_intervals_and_says_so(capsys):
    tasks = suite()
    values = {name: [record.references["select"].floor.mean] * 4 for name, record in tasks.records.items()}
    print_scorecard(Scorecard.of(tasks, values), tasks)
    out = capsys.readouterr().out
    assert "95% intervals" in out.splitlines()[0]
    assert re.search(r"^score \S+ ± \S+ \(95%\), above half", out, re.MULTILINE)
