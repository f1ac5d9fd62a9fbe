"""Rows of tables: each in one split, varied in training, with experts that learnt from training alone."""

from collections import Counter

import numpy as np
import pytest

from trainers.tasks.families import tabular
from trainers.tasks.registry import load_task

SPLITS = ("train", "select", "report")
NAMED = {table.name: table for table in tabular.TABLES}


@pytest.mark.parametrize("name", NAMED)
def test_no_row_of_a_split_is_in_another(name):
    rows = {split: tabular.rows_of(NAMED[name], split) for split in SPLITS}
    seen = [{row.tobytes() for row in part.features} for part in rows.values()]
    assert len(set.union(*seen)) == sum(map(len, seen))
    assert len(rows["select"].targets) == len(rows["report"].targets) == NAMED[name].held_out >= 30


def test_held_out_splits_have_all_labels_in_like_shares():
    for table in tabular.TABLES:
        if table.labels:
            select, report = (Counter(tabular.rows_of(table, s).targets.tolist()) for s in SPLITS[1:])
            assert len(select) == len(table.labels)
            assert all(abs(select[label] - report[label]) <= 1 for label in select)


def test_repeats_of_a_training_row_are_varied(quick, tokenizer):
    task = load_task("wine", quick, tokenizer, 10)
    count = len(tabular.rows_of(tabular.WINE, "train").targets)
    first, second = (task.example("train", i) for i in (3, 3 + count))
    assert first.answer == second.answer
    assert not np.array_equal(first.ids, second.ids)
    apart = np.abs(first.ids - second.ids)
    assert np.median(apart) < quick.bins / 10
    held_out = [task.example("select", i).ids for i in (3, 3 + tabular.WINE.held_out)]
    assert np.array_equal(*held_out)


def test_the_mean_of_a_split_is_r2(quick, tokenizer):
    task = load_task("diabetes", quick, tokenizer, 10)
    targets = tabular.rows_of(tabular.DIABETES, "report").targets
    said = tabular.predicted(tabular.DIABETES, "report")
    r2 = 1 - ((said - targets) ** 2).sum() / ((targets - targets.mean()) ** 2).sum()
    values = task.score(task.expert_policy()[1], "report", len(targets))
    assert values.mean() == pytest.approx(r2, abs=0.01)
    assert task.expert_policy()[0] in ("ridge regression", "gradient boosting")


@pytest.mark.parametrize("name", [name for name in NAMED if NAMED[name].labels])
def test_experts_know_most_of_the_labels(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer, 10)
    assert task.score(task.expert_policy()[1], "report", task.reference_episodes).mean() > 0.9
