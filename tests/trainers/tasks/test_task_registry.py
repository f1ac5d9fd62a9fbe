"""Tasks by name, by path and by entry point; measuring them; making their data ahead."""

import json
import re
import sys
from importlib.metadata import EntryPoint, requires

import pytest

from space.catalog import Catalog, Measured, load_catalog, local_catalog, local_path, write_local
from space.errors import MachineError, NotFoundError, TaskError
from trainers.tasks import measure, registry
from trainers.tasks.families.toy_text.tasks import Taxi
from trainers.tasks.prepare import prepare
from trainers.tasks.registry import family_tasks, load_task, task_factory
from trainers.tasks.simulators import SIMULATORS


class ShortTaxi(Taxi):
    """A taxi that is quickly measured."""

    name = "short-taxi"
    reference_episodes = 20


class HelplessTaxi(ShortTaxi):
    """A taxi whose expert is its floor."""

    def expert_policy(self):
        return "helpless", self.floor_policies()["random"]


def test_a_task_is_found_by_name_path_and_entry_point(monkeypatch):
    assert task_factory("taxi") is Taxi
    assert task_factory("trainers.tasks.families.toy_text.tasks:Taxi") is Taxi
    point = EntryPoint("mine", "trainers.tasks.families.toy_text.tasks:Taxi", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert task_factory("mine") is Taxi


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taxy", "no task is called 'taxy'; did you mean 'taxi'?"),
        ("no_such_module:Task", "no module is called 'no_such_module'"),
        (
            "trainers.tasks.families.toy_text.tasks:Bus",
            "module 'trainers.tasks.families.toy_text.tasks' has no 'Bus'",
        ),
    ],
)
def test_what_does_not_exist_is_named(name, message):
    with pytest.raises(NotFoundError) as error:
        task_factory(name)
    assert message in str(error.value)


@pytest.mark.parametrize(("family", "package"), [("mujoco", "mujoco==3.3.0"), ("box2d", "box2d==2.3.10")])
def test_a_missing_simulator_is_one_line_with_the_command_that_installs_it(monkeypatch, family, package):
    monkeypatch.setitem(sys.modules, {"box2d": "Box2D"}.get(family, family), None)  # as if not installed
    with pytest.raises(MachineError) as error:
        family_tasks(family)
    assert str(error.value).startswith(f"tasks of family '{family}' need ")
    assert str(error.value).endswith(f"pip install '{package}'")
    with pytest.raises(NotFoundError, match="did you mean 'taxi'"):  # the other tasks are as they were
        task_factory("taxy")


def test_every_simulator_is_a_dependency():
    stated = [line for line in requires("pathfront") or () if "extra ==" not in line]
    for family, packages in SIMULATORS.items():
        assert family in registry.FAMILIES
        for distribution in packages.values():
            assert [line for line in stated if re.match(rf"{distribution}\W", line)], distribution


def test_a_task_is_a_class():
    with pytest.raises(TaskError, match="a task is a class"):
        task_factory("trainers.tasks.families.toy_text.tasks:LIMIT")


def test_measured_references_are_the_catalogs(quick, tokenizer):
    record = measure.measure(ShortTaxi(quick, tokenizer))
    assert record.references["report"].expert.mean == 1.0
    assert record.references["report"].floor.n == 20
    assert record.references["select"].expert.policy == "value iteration"
    assert "gymnasium" in record.references["select"].expert.versions


def test_an_expert_at_its_floor_is_refused(quick, tokenizer):
    with pytest.raises(TaskError, match="an expert must exceed its floor by two standard errors"):
        measure.measure(HelplessTaxi(quick, tokenizer))


def test_a_better_specialist_becomes_the_expert(quick, tokenizer):
    task = HelplessTaxi(quick, tokenizer)
    record = measure.measure(task, lambda it: Taxi.expert_policy(it)[1])
    assert record.references["select"].expert.policy == "specialist"


def measured(name: str) -> Measured:
    """What a measurement of a task that ships would say."""
    catalog = load_catalog()
    record = catalog.task(name)
    return Measured(record=record, patch_share={"grid": 0.5}, episodes=9, tokens=100, length=10.0)


def test_a_catalog_is_written_as_it_is_read(tmp_path):
    catalog = measure.with_measured(load_catalog(), "quick", measured("taxi"))
    measure.write(tmp_path / "catalog.json", catalog)
    text = (tmp_path / "catalog.json").read_text()
    assert Catalog.model_validate_json(text) == catalog
    suite = json.loads(text)["suites"]["quick"]
    assert "records" not in suite
    assert suite["patch_share"]["taxi"] == {"grid": 0.5}
    assert (suite["episodes"]["taxi"], suite["tokens"]["taxi"], suite["lengths"]["taxi"]) == (9, 100, 10.0)
    assert suite["tasks"] == list(load_catalog().suites["quick"].tasks)


def test_a_new_task_stands_among_those_of_its_sense(quick):
    suite = quick.model_copy(update={"tasks": ("python-docs", "cartpole")})
    catalog = load_catalog().model_copy(update={"suites": {"few": suite}})
    assert measure.with_measured(catalog, "few", measured("taxi")).suites["few"].tasks == (
        "python-docs",
        "taxi",
        "cartpole",
    )


def test_what_is_measured_holds_baselines_shares_and_lengths(quick, tokenizer):
    found = measure.measure_own(ShortTaxi(quick, tokenizer, 40), name="own:Taxi")
    assert found.record.name == "own:Taxi"
    baselines = found.record.references["report"].baselines
    assert baselines.keys() == {"random", "best constant", "retrieval"}
    assert baselines["retrieval"].mean > baselines["random"].mean
    assert found.patch_share == {}
    assert found.tokens == pytest.approx(40 * found.length, rel=1e-4)


def test_measuring_again_deviates_by_noise_or_is_noticed(quick, tokenizer):
    task = ShortTaxi(quick, tokenizer)
    record = measure.measure(task)
    assert max(measure.deviation(task, record, "select").values()) < 4
    frozen = record.references["select"]
    wrong = frozen.expert.model_copy(update={"mean": 0.5})
    record = record.model_copy(update={"references": {"select": frozen.model_copy(update={"expert": wrong})}})
    assert measure.deviation(task, record, "select")["expert"] == float("inf")


def test_a_users_tasks_are_kept_in_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert local_catalog() == {}
    mine = measured("taxi").model_copy(update={"record": load_catalog().task("digits")})
    assert write_local(mine).name == "pathfront-tasks.json"
    write_local(measured("taxi"))
    assert local_catalog() == {"digits": mine, "taxi": measured("taxi")}
    local_path().write_text('{"digits": {"record": 3}}')
    with pytest.raises(TaskError, match=r"pathfront-tasks.json.*digits.record"):
        local_catalog()


def test_data_is_made_ahead_and_only_once(quick, tokenizer):
    suite = quick.model_copy(update={"tasks": ("taxi", "python-docs")})
    heard = []
    prepare(suite, 1, lambda *what: heard.append(what))
    assert [what[1:] for what in heard] == [(1, 2), (2, 2)]
    assert all(load_task(name, suite).is_prepared() for name in suite.tasks)
    again = []
    prepare(suite, 1, lambda *what: again.append(what))
    assert again == [("taxi", 1, 2), ("python-docs", 2, 2)]


def test_an_expert_that_was_trained_is_frozen_and_not_compared(quick, tokenizer):
    task, record = load_task("python-docs", quick, tokenizer), load_catalog().task("python-docs")
    assert record.references["report"].expert.policy == measure.SPECIALIST
    assert set(measure.deviation(task, record, "report")) == {"floor"}
