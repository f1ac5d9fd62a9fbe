"""Tasks by name, by path and by entry point; measuring them; making their data ahead."""

import json
from importlib.metadata import EntryPoint

import pytest

from space.catalog import Catalog, load_catalog
from space.errors import NotFoundError, TaskError
from trainers.tasks import measure, registry
from trainers.tasks.prepare import prepare
from trainers.tasks.registry import load_task, task_class
from trainers.tasks.taxi import Taxi


class ShortTaxi(Taxi):
    """A taxi that is quickly measured."""

    name = "short-taxi"
    reference_episodes = 20


class HelplessTaxi(ShortTaxi):
    """A taxi whose expert is its floor."""

    def expert_policy(self):
        return "helpless", self.floor_policies()["random"]


def test_a_task_is_found_by_name_path_and_entry_point(monkeypatch):
    assert task_class("taxi") is Taxi
    assert task_class("trainers.tasks.taxi:Taxi") is Taxi
    point = EntryPoint("mine", "trainers.tasks.taxi:Taxi", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert task_class("mine") is Taxi


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taxy", "no task is called 'taxy'; did you mean 'taxi'?"),
        ("no_such_module:Task", "no module is called 'no_such_module'"),
        ("trainers.tasks.taxi:Bus", "module 'trainers.tasks.taxi' has no 'Bus'"),
    ],
)
def test_what_does_not_exist_is_named(name, message):
    with pytest.raises(NotFoundError) as error:
        task_class(name)
    assert message in str(error.value)


def test_a_task_is_a_class():
    with pytest.raises(TaskError, match="a task is a class"):
        task_class("trainers.tasks.taxi:LIMIT")


def test_measured_references_are_the_catalogs(quick, tokenizer):
    record = measure.measure(ShortTaxi(quick, tokenizer))
    assert record.references["report"].expert.mean == 1.0
    assert record.references["report"].floor.n == 20
    assert record.references["select"].expert.policy == "value iteration"
    assert "gymnasium" in record.references["select"].expert.versions


def test_an_expert_at_its_floor_is_refused(quick, tokenizer):
    with pytest.raises(TaskError, match="an expert must clear its floor by two standard errors"):
        measure.measure(HelplessTaxi(quick, tokenizer))


def test_a_better_specialist_becomes_the_expert(quick, tokenizer):
    task = HelplessTaxi(quick, tokenizer)
    record = measure.measure(task, lambda it: Taxi.expert_policy(it)[1])
    assert record.references["select"].expert.policy == "specialist"


def test_a_catalog_is_written_as_it_is_read(tmp_path, quick, tokenizer):
    task = load_task("taxi", quick, tokenizer, 5)
    catalog = measure.with_task(load_catalog(), quick, task, load_catalog().task("taxi"))
    measure.write(tmp_path / "catalog.json", catalog)
    text = (tmp_path / "catalog.json").read_text()
    assert Catalog.model_validate_json(text) == catalog
    assert "records" not in json.loads(text)["suites"]["quick"]


def test_an_unknown_suite_is_a_clear_line(capsys):
    assert measure.main(["--suite", "quik"]) == 3
    assert capsys.readouterr().err == "no suite is called 'quik'; did you mean 'quick'?\n"


def test_data_is_made_ahead_and_only_once(quick, tokenizer):
    suite = quick.model_copy(update={"tasks": ("taxi", "python-docs")})
    heard = []
    prepare(suite, 1, lambda *what: heard.append(what))
    assert [what[1:] for what in heard] == [(1, 2), (2, 2)]
    assert all(load_task(name, suite).is_prepared() for name in suite.tasks)
    again = []
    prepare(suite, 1, lambda *what: again.append(what))
    assert again == [("taxi", 1, 2), ("python-docs", 2, 2)]
