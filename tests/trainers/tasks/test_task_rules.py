"""Each rule holds, fails or says why it cannot apply: on text, and on tasks of the bare protocol."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from space.errors import TaskError
from trainers.tasks import contract, held_out, rules
from trainers.tasks.contract import ALL_RULES, RULES, verdicts
from trainers.tasks.families.text import TextTask
from trainers.tasks.families.toy_text.tasks import Taxi
from trainers.tasks.rules import Checked
from trainers.tokens import sequence

PATHFRONT = Path(sys.executable).with_name("pathfront")


def results(make, vocabulary, context):
    found = verdicts(make, vocabulary, context)
    assert [verdict.rule for verdict in found] == list(ALL_RULES)
    return {verdict.rule: (verdict.result, verdict.reason) for verdict in found}


class Bare:
    """A task of the protocol alone that plays another one, without its methods beyond the protocol."""

    def __init__(self, task):
        self.inner = task
        for name in ("name", "family", "domain", "modality", "metric", "unit", "packages"):
            setattr(self, name, getattr(task, name))
        self.variant = self.memorisable = False
        self.lower_is_better = task.lower_is_better
        self.eval_episodes = 8
        self.reference_episodes = min(32, task.reference_episodes)

    def episodes(self):
        return list(self.inner.episodes())

    def score(self, policy, split, count):
        return self.inner.score(policy, split, count)

    def floor_policies(self):
        return self.inner.floor_policies()

    def expert_policy(self):
        return self.inner.expert_policy()


class SmallTaxi(Taxi):
    eval_episodes = 4
    reference_episodes = 32


class Overlapping(Bare):
    """Evaluates on the episodes that it was trained on."""

    def episodes(self):
        return [self.inner._demonstrate(index) for index in range(40)]

    def score(self, policy, split, count):
        return self.inner.score(policy, "train", count)


class Dependent(Bare):
    """An episode's value depends on how many are asked for at once."""

    def score(self, policy, split, count):
        return self.inner.score(policy, split, count) + (count == 1)


def test_a_task_of_the_bare_protocol_is_held_to_all_rules(quick, tokenizer, vocabulary):
    found = results(lambda: Bare(SmallTaxi(quick, tokenizer, 60)), vocabulary, quick.context)
    assert found.pop("disjoint")[0] in ("passed", "failed")  # a taxi has few places to start from
    assert {result for result, _ in found.values()} == {"passed"}


def test_a_bare_task_that_evaluates_where_it_was_trained_is_noticed(quick, tokenizer, vocabulary):
    found = results(lambda: Overlapping(SmallTaxi(quick, tokenizer, 60)), vocabulary, quick.context)
    assert found["disjoint"] == (
        "failed",
        "task 'taxi': splits are disjoint, train and select share an episode",
    )


def test_a_bare_task_whose_episodes_depend_on_each_other_is_noticed(quick, tokenizer, vocabulary):
    found = results(lambda: Dependent(SmallTaxi(quick, tokenizer, 60)), vocabulary, quick.context)
    assert found["sessions"] == ("failed", "task 'taxi': an episode does not depend on those beside it")


def prose(seed, words=4000):
    rng = np.random.default_rng(seed)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    text = ["".join(rng.choice(syllables, 3)) for _ in range(words)]
    return ["\n\n".join(" ".join(text[i : i + 40]) for i in range(0, words, 40))]


class Novel(TextTask):
    """Made-up words of which the splits share none."""

    name = "novel"
    eval_episodes = reference_episodes = 8
    written: ClassVar = {"train": prose(0, 20_000), "select": prose(1), "report": prose(2)}

    def texts(self, split):
        return self.written[split]

    def excerpts(self, split):
        return [text[i : i + 1000] for text in self.texts(split) for i in range(0, 12_000, 1000)]


class Repeating(Novel):
    """Evaluates on text that training reads."""

    written = Novel.written | {"select": ["\n\n".join(Novel.written["train"][0].split("\n\n")[:70])]}


class Quoting(Novel):
    """Evaluates on text that training reads, cut into other paragraphs."""

    written = Novel.written | {"report": [Novel.written["train"][0].replace("\n\n", " ")[:12_000]]}


@pytest.mark.parametrize("wrap", [lambda task: task, Bare], ids=["text", "bare"])
def test_text_is_held_to_disjointness_and_leakage(wrap, quick, tokenizer, vocabulary):
    found = results(lambda: wrap(Novel(quick, tokenizer)), vocabulary, quick.context)
    assert found["sessions"] == ("inapplicable", rules.NO_SESSIONS)
    assert found["disjoint"] == found["no-leak"] == ("passed", "")
    failed = {name for name, (result, _) in found.items() if result == "failed"}
    assert failed <= {"expert"}  # words of syllables are no language


@pytest.mark.parametrize("wrap", [lambda task: task, Bare], ids=["text", "bare"])
def test_text_that_training_reads_is_noticed(wrap, quick, tokenizer, vocabulary):
    checked = Checked(lambda: wrap(Repeating(quick, tokenizer)), vocabulary, quick.context)
    with pytest.raises(TaskError, match="splits are disjoint, train and select share"):
        rules.check_disjoint(checked)
    with pytest.raises(TaskError, match="of select text are in training text, got"):
        rules.check_leakage(checked)


def test_the_rules_read_and_record_the_text_of_a_task_once(quick, tokenizer, vocabulary):
    asked = []

    class Counted(Bare):
        def episodes(self):
            asked.append("train")
            return super().episodes()

        def score(self, policy, split, count):
            asked.append(f"{split} {count}")
            return super().score(policy, split, count)

    checked = Checked(lambda: Counted(Novel(quick, tokenizer)), vocabulary, quick.context)
    rules.check_disjoint(checked)
    rules.check_leakage(checked)
    shown = asked.pop(0)  # whether it has sessions
    assert shown == f"select {rules.EPISODES}"
    assert sorted(asked) == ["report 8", "select 8", "train"]


def test_passages_are_noticed_where_no_paragraph_is_repeated(quick, tokenizer, vocabulary):
    checked = Checked(lambda: Quoting(quick, tokenizer), vocabulary, quick.context)
    rules.check_disjoint(checked)
    with pytest.raises(TaskError, match="of report text are in training text"):
        rules.check_leakage(checked)


class Exempt(SmallTaxi):
    inapplicable: ClassVar = {"no-leak": "all states are observed, and one is as good as another"}


class Misspelt(SmallTaxi):
    inapplicable: ClassVar = {"no-leek": "all states are observed"}


class Wordless(SmallTaxi):
    inapplicable: ClassVar = {"no-leak": "no"}


def test_a_task_says_itself_why_a_rule_cannot_apply(quick, tokenizer, vocabulary):
    found = results(lambda: Exempt(quick, tokenizer, 20), vocabulary, quick.context)
    assert found["no-leak"] == ("inapplicable", Exempt.inapplicable["no-leak"])
    for broken, words in (
        (Misspelt, "no rule is called 'no-leek'; did you mean 'no-leak'"),
        (Wordless, "gives a reason in words"),
    ):
        with pytest.raises(TaskError, match=words):
            verdicts(lambda task=broken: task(quick, tokenizer, 20), vocabulary, quick.context)


def test_all_broken_rules_are_found_not_only_the_first(quick, tokenizer, vocabulary):
    class Broken(SmallTaxi):
        def session(self, split, index):
            print("driving")
            return super().session("train", index)

    found = results(lambda: Broken(quick, tokenizer, 20), vocabulary, quick.context)
    assert {name for name, (result, _) in found.items() if result == "failed"} == {"disjoint", "silent"}


def test_passages_are_found_wherever_they_stand():
    rng = np.random.default_rng(0)
    text = rng.integers(0, 500, 400)
    known = held_out.Passages([text, rng.integers(0, 500, 5)])
    assert known.found(text[7:300]).all()
    assert not known.found(rng.integers(0, 500, 300)).any()
    assert not held_out.Passages([]).found(text).any()
    shifted = np.r_[rng.integers(0, 500, 31), text[40:80], rng.integers(0, 500, 31)]
    assert known.found(shifted).sum() == 40 - held_out.WINDOW + 1


def test_an_episode_begins_with_an_observation_and_its_patches(vocabulary):
    patches = np.random.default_rng(0).uniform(-1, 1, (2, 192)).astype(np.float32)
    seen = sequence.observation(vocabulary, patches={"image": patches}, ids=[600])
    episode = sequence.Chunk.concat([seen, sequence.action([601], np.array([4]))])
    stored = sequence.observation(vocabulary, patches={"image": patches + 0.004}, ids=[600])
    assert held_out.begins_with(episode, stored)
    other = sequence.observation(vocabulary, patches={"image": patches + 0.1}, ids=[600])
    assert not held_out.begins_with(episode, other)
    assert not held_out.begins_with(episode, sequence.observation(vocabulary, ids=[600]))
    assert not held_out.begins_with(seen.slice(0, 2), seen)


MINE = """
from trainers.tasks.answers import AnswerTask, Example, exact_match

class Parity(AnswerTask):
    name, family, domain, modality = "parity", "own", "text", "text"
    metric, unit, expert_name = "accuracy", "rate", "arithmetic"
    num_train_episodes = 200
    first = {"train": 0, "select": 1000, "report": 2000}
    inapplicable = {"no-leak": "the last digit is the answer, and it is meant to be seen"}

    def example(self, split, index):
        answer = self.answer(split, index)
        return Example(answer, lambda: answer, prompt=f"even or odd: {self.first[split] + index}")

    def answer(self, split, index):
        return ("even", "odd")[(self.first[split] + index) % 2]

    def answer_score(self, answer, right):
        return exact_match(answer, right)

class Leaking(Parity):
    first = {"train": 0, "select": 0, "report": 0}
"""


def typed(folder, *words):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [PATHFRONT, "tasks", "check", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_command_prints_each_rule_and_why_one_cannot_apply(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    kept = typed(tmp_path, "mine:Parity")
    assert kept.returncode == 0, kept.stderr
    lines = [line.split() for line in kept.stdout.splitlines()]
    head, row = (next(line for line in lines if line[:1] == [first]) for first in ("task", "mine:Parity"))
    assert head == ["task", *ALL_RULES]
    assert dict(zip(head, row, strict=True))["no-leak"] == "-"
    assert "'no-leak' cannot apply to mine:Parity: the last digit is the answer" in kept.stdout
    broken = typed(tmp_path, "mine:Parity", "mine:Leaking", "--json")
    assert broken.returncode == 1
    assert "1 of 2 tasks failed" in broken.stderr
    found = {row["task"]: {rule["rule"]: rule for rule in row["rules"]} for row in json.loads(broken.stdout)}
    assert found["mine:Leaking"]["disjoint"]["result"] == "failed"
    assert "share an episode" in found["mine:Leaking"]["disjoint"]["reason"]
    assert found["mine:Parity"]["disjoint"] == {"rule": "disjoint", "result": "passed", "reason": ""}


RAISING = """
from mine import Parity

class InScore(Parity):
    def score(self, policy, split, count):
        raise ValueError("no score")

class InInit(Parity):
    def __init__(self, *args, **kwargs):
        raise ValueError("no task")
"""


@pytest.mark.slow
def test_a_task_that_raises_has_a_row_with_the_rule_and_the_error(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "raising.py").write_text(RAISING)
    names = ["raising:InScore", "mine:Parity", "raising:InInit"]
    done = typed(tmp_path, *names, "--json")
    assert done.returncode == 1
    errors = {
        "raising:InScore": "task 'raising:InScore' raises ValueError: no score (raising.py:6)",
        "raising:InInit": "task 'raising:InInit' raises ValueError: no task (raising.py:10)",
    }
    assert all(error in done.stderr for error in errors.values())
    assert "2 of 3 tasks failed" in done.stderr
    rows = {row["task"]: row["rules"] for row in json.loads(done.stdout)}
    assert list(rows) == names
    for name, place in (("raising:InScore", 1), ("raising:InInit", 0)):
        assert [rule["rule"] for rule in rows[name]] == list(ALL_RULES)
        before, failed, after = rows[name][:place], rows[name][place], rows[name][place + 1 :]
        assert {rule["result"] for rule in before} <= {"passed"}
        assert (failed["result"], failed["reason"]) == ("failed", errors[name])
        assert {(rule["result"], rule["reason"]) for rule in after} == {("inapplicable", contract.NOT_RUN)}
    table = typed(tmp_path, *names)
    assert table.returncode == 1
    for name in names:
        (row,) = [line for line in table.stdout.splitlines() if line.split()[:1] == [name]]
        assert ("FAILED" in row) == (name in errors)
    assert f"raising:InScore: {contract.NOT_RUN}: 'sessions', " in table.stdout
    assert "cannot apply to raising" not in table.stdout


def test_every_rule_has_a_name_and_a_sentence():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(sentence.endswith(".") and len(sentence.split()) > 3 for sentence in ALL_RULES.values())
    assert contract.SILENT in ALL_RULES
