"""Every task that ships keeps to the contract of tasks; and the contract notices one that does not."""

import subprocess
import sys

import numpy as np
import pytest

from space.catalog import load_catalog
from space.errors import TaskError
from trainers.tasks import contract
from trainers.tasks.policies import ExpertPolicy
from trainers.tasks.registry import SHIPPED, load_task, task_class
from trainers.tasks.taxi import Taxi

FEW = {"python-docs": 6}


@pytest.fixture(params=SHIPPED)
def make(request, quick, tokenizer):
    return lambda: load_task(request.param, quick, tokenizer, FEW.get(request.param, 10))


def test_it_keeps_to_the_contract(make, vocabulary, quick):
    contract.check_task(make, vocabulary, quick.context)


def test_its_expert_clears_its_floor(make):
    contract.check_reference(make(), "select", 16)


def test_all_its_shares_are_in_the_catalog(make, quick):
    task = make()
    assert quick.episodes[task.name] == task.eval_episodes
    assert set(quick.patch_share.get(task.name, {})) == {n for e in task.episodes() for n in e.patches}
    assert load_catalog().task(task.name).model_copy(update={"references": {}}) == task.record()


def test_the_suite_has_eight_tasks_of_five_senses(quick):
    assert set(quick.tasks) == set(SHIPPED)
    assert {record.modality for record in quick.records.values()} == {
        "text",
        "image",
        "audio",
        "discrete",
        "continuous",
    }
    for record in quick.records.values():
        for split in ("select", "report"):
            floor, expert = record.checked(split)
            assert floor.n == expert.n >= 120
            assert expert.versions == floor.versions


def test_tasks_and_tokens_import_no_torch():
    modules = sorted({path.partition(":")[0] for path in SHIPPED.values()})
    code = f"import sys, {', '.join(modules)}, trainers.tasks.measure, trainers.tasks.prepare"
    code += "\nprint(sorted({'torch', 'lightning'} & set(sys.modules)))"
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


class HelplessTaxi(Taxi):
    """Its expert stands still."""

    def expert_policy(self):
        return "helpless", next(iter(self.floor_policies().values()))


def test_an_expert_at_its_floor_is_noticed(quick, tokenizer):
    with pytest.raises(TaskError, match="the expert clears"):
        contract.check_reference(HelplessTaxi(quick, tokenizer), "select", 8)


def test_a_policy_that_acts_gives_no_likelihood():
    with pytest.raises(TypeError, match="ExpertPolicy acts"):
        ExpertPolicy().nats([])


def test_values_are_scored_in_lanes_without_a_difference(quick, tokenizer):
    class NarrowTaxi(task_class("taxi")):
        lanes = 3

    wide, narrow = (cls(quick, tokenizer) for cls in (Taxi, NarrowTaxi))
    policy = wide.expert_policy()[1]
    assert np.array_equal(wide.score(policy, "report", 7), narrow.score(policy, "report", 7))
