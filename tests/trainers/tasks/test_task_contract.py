"""Tasks that ship keep to the contract of tasks; and the contract notices one that does not.

Here tasks of the quicker families are checked, and most of the quick suite; `-m slow` checks them all, as
`pathfront tasks check --all` does.
"""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from space.catalog import OWN_SETTINGS, load_catalog
from space.errors import TaskError
from space.machine import cpu_count
from space.suites import generalist_tasks
from trainers.tasks import contract, rules
from trainers.tasks.answers import AnswerTask, Example, exact_match
from trainers.tasks.base import ActionSpec
from trainers.tasks.families.toy_text.tasks import Taxi
from trainers.tasks.measure import record_of
from trainers.tasks.policies import ExpertPolicy
from trainers.tasks.processes import in_processes
from trainers.tasks.registry import FAMILIES, family_tasks, load_task, shipped_tasks, task_factory
from trainers.tasks.rules import check_reference

FEW = {"python-docs": 6}
LONG = {"metaworld-reach", "babyai-goto-redball-grey", "cartpole"}  # ten seconds to half a minute
LONG_FAMILIES = {"box2d", "dm-control", "minigrid", "mujoco"}
QUICK = load_catalog().suite("quick").tasks
SENSES = {"text", "image", "audio", "discrete", "continuous"}


@pytest.fixture(scope="session")
def whole():
    return load_catalog().suite(OWN_SETTINGS)


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in QUICK])
def make(request, quick, tokenizer):
    return lambda: load_task(request.param, quick, tokenizer, FEW.get(request.param, 10))


def test_it_keeps_to_the_contract(make, vocabulary, quick):
    contract.check_task(make, vocabulary, quick.context)


def test_all_its_shares_are_in_the_catalog(make, quick):
    task = make()
    assert quick.episodes[task.name] == task.eval_episodes
    assert set(quick.patch_share.get(task.name, {})) == {n for e in task.episodes() for n in e.patches}
    assert load_catalog().task(task.name).model_copy(update={"references": {}}) == record_of(task, {})


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LONG_FAMILIES else ())
        for name in sorted(FAMILIES.keys() - {"images", "metaworld", "text"})
    ],
)
def test_a_task_of_the_family_keeps_to_the_contract(family, whole):
    others = whole.lengths.keys() & family_tasks(family).keys() - set(QUICK)
    short = min(others, key=lambda name: (whole.lengths[name], name))
    contract.check_by_name(short, whole, 20)


@pytest.mark.slow
def test_every_task_keeps_to_the_contract(whole):
    failed = {}
    check = partial(contract.check_by_name, suite=whole, train_episodes=200)
    for name, result in in_processes(check, list(shipped_tasks()), cpu_count()):
        try:
            result()
        except TaskError as error:
            failed[name] = str(error)
    assert failed == {}


def test_every_task_that_ships_is_measured_and_in_the_whole_suite(whole):
    shipped = shipped_tasks()
    catalog = load_catalog()
    assert set(catalog.tasks) == set(shipped) == set(whole.tasks)
    for name, record in catalog.tasks.items():
        assert name in family_tasks(record.family)
        assert {whole.tokens.get(name, 0) > 0, whole.lengths.get(name, 0) > 0, whole.episodes[name] > 0} == {
            True
        }
        for split in ("select", "report"):
            floor, expert = record.checked(split)
            assert floor.n == expert.n
            assert floor.n >= 50 or record.family == "tabular"


def test_there_are_two_hundred_tasks_of_many_families_and_all_senses():
    records = load_catalog().tasks.values()
    assert len(records) >= 200
    assert sum(not record.variant for record in records) >= 150
    assert len({record.family for record in records}) >= 12
    assert {record.modality for record in records} == SENSES


def test_the_generalist_suite_follows_its_rule(whole):
    generalist = load_catalog().suite("generalist")
    assert generalist.tasks == generalist_tasks(load_catalog(), whole)
    assert len(generalist.tasks) == 24
    assert {record.modality for record in generalist.records.values()} == SENSES
    shared = ("context", "batch_tokens", "tokenizer", "prompt_share", "prompted", "encoders")
    assert all(getattr(generalist, key) == getattr(whole, key) for key in shared)
    for key in ("episodes", "tokens", "lengths"):
        assert getattr(generalist, key) == {name: getattr(whole, key)[name] for name in generalist.tasks}


def test_the_quick_suite_has_eight_tasks_of_five_senses(quick):
    assert len(quick.tasks) == 8
    assert {record.modality for record in quick.records.values()} == SENSES


def test_tasks_and_tokens_import_no_torch():
    code = "import sys, trainers.tasks.measure, trainers.tasks.prepare, trainers.tasks.contract"
    code += "\nfrom trainers.tasks.registry import shipped_tasks; shipped_tasks()"
    code += "\nprint(sorted({'torch', 'lightning', 'dm_control', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class OverlappingTaxi(Taxi):
    """Evaluates where it was trained."""

    def session(self, split, index):
        return super().session("train", index)


class ChattyTaxi(Taxi):
    """Says what it does."""

    def session(self, split, index):
        print("driving")
        return super().session(split, index)


class FickleTaxi(Taxi):
    """Never twice the same."""

    def session(self, split, index):
        return super().session(split, int(np.random.default_rng().integers(1000)))


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (OverlappingTaxi, "splits are disjoint"),
        (ChattyTaxi, "a task prints nothing"),
        (FickleTaxi, "the same each time"),
    ],
)
def test_the_contract_notices(broken, rule, quick, tokenizer, vocabulary):
    with pytest.raises(TaskError, match=rule):
        contract.check_task(lambda: broken(quick, tokenizer, 10), vocabulary, quick.context)


class TellingQuestions(AnswerTask):
    """Which answers are legal says which one is right."""

    name, family, domain, modality = "telling", "test", "text", "text"
    metric, unit = "accuracy", "rate"

    def example(self, split, index):
        answer = self.answer(split, index)
        return Example(answer, lambda: answer, prompt=f"{split} {index}")

    def answer(self, split, index):
        return "ab"[int(self.rng(split, index).integers(2))]

    def answer_score(self, answer, right):
        return exact_match(answer, right)

    def session(self, split, index):
        session = super().session(split, index)
        (piece,) = session.expert().tolist()
        session.spec = ActionSpec(1, ((piece, piece + 1),))
        return session


def test_what_is_scored_without_seeing_is_noticed(quick, tokenizer, vocabulary):
    with pytest.raises(TaskError, match="a policy that sees shuffled observations stays below"):
        rules.check_shuffled(TellingQuestions(quick, tokenizer, 40), vocabulary)


class HelplessTaxi(Taxi):
    """Its expert stands still."""

    def expert_policy(self):
        return "helpless", next(iter(self.floor_policies().values()))


def test_an_expert_at_its_floor_is_noticed(quick, tokenizer):
    with pytest.raises(TaskError, match="the expert clears"):
        check_reference(HelplessTaxi(quick, tokenizer), "select", 8)


def test_a_policy_that_acts_gives_no_likelihood():
    with pytest.raises(TypeError, match="ExpertPolicy acts"):
        ExpertPolicy().nats([])


def test_values_are_scored_in_lanes_without_a_difference(quick, tokenizer):
    class NarrowTaxi(task_factory("taxi")):
        lanes = 3

    wide, narrow = (cls(quick, tokenizer) for cls in (Taxi, NarrowTaxi))
    policy = wide.expert_policy()[1]
    assert np.array_equal(wide.score(policy, "report", 7), narrow.score(policy, "report", 7))
