"""Classes that `datasets` keeps as numbers have their names in pairs."""

import json

import pyarrow
import pytest
from pyarrow.parquet import write_table

from space.errors import TaskError
from trainers.tasks.datasets.class_names import class_names, named
from trainers.tasks.datasets.library import add_dataset
from trainers.tasks.datasets.pair_rows import PairRows
from trainers.tasks.datasets.records import read_records

NAMES = ["no", "yes", "maybe"]
LABEL = {"names": NAMES, "_type": "ClassLabel"}
# as datasets 5.2 writes it
FEATURES = {
    "question": {"dtype": "string", "_type": "Value"},
    "answer": LABEL,
    "others": {"feature": LABEL, "_type": "List"},
}
METADATA = {b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}


@pytest.fixture
def table():
    columns = {
        "question": [f"is it {i}?" for i in range(60)],
        "answer": [i % 3 for i in range(60)],
        "others": [[i % 3, (i + 1) % 3] for i in range(60)],
    }
    return pyarrow.table(columns).replace_schema_metadata(METADATA)


def write_stream(table, path):
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("name", ["a.parquet", "data.arrow"])
def test_answers_are_the_names_of_their_classes(tmp_path, monkeypatch, table, name):
    monkeypatch.setenv("PATHFRONT_DATA", str(tmp_path / "data"))
    (tmp_path / "in").mkdir()
    (write_table if name == "a.parquet" else write_stream)(table, tmp_path / "in" / name)
    found = add_dataset("asked", tmp_path / "in", lambda *_: None)
    rows = PairRows(found.arrays)
    assert [rows.answers(i) for i in range(4)] == [["no"], ["yes"], ["maybe"], ["no"]]
    assert found.manifest.facts["metric"] == "exact"
    first = next(iter(read_records(tmp_path / "in" / name, tmp_path / "in")))
    assert first.values == {"question": "is it 0?", "answer": "no", "others": ["no", "yes"]}


def test_an_unknown_class_is_none_and_a_wrong_one_is_named():
    names = class_names(METADATA)
    assert names == {"answer": NAMES, "others": NAMES}
    assert named({"answer": -1, "others": [2, -1]}, names, "x:1") == {
        "answer": None,
        "others": ["maybe", None],
    }
    for wrong in (3, -2, "yes", [5]):
        row = named({"answer": wrong}, names, "x:7")
        assert isinstance(row, TaskError)
        assert "'answer' holds one of 3 classes, 'x:7' holds" in str(row)


@pytest.mark.parametrize("metadata", [None, {}, {b"huggingface": b"{"}, {b"huggingface": b'{"info": null}'},
                                      {b"huggingface": b'{"info": {"features": [1]}}'}])  # fmt: skip
def test_tables_of_others_have_no_classes(metadata):
    assert class_names(metadata) == {}
