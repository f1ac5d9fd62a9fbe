"""The rule that seats tasks in the suite `generalist`."""

import pytest

from space.catalog import Catalog
from space.records import SuiteRecord, TaskRecord
from space.suites import TASKS, generalist_tasks


def catalog(families: dict[str, int], variants: int = 0) -> tuple[Catalog, SuiteRecord]:
    """So many base tasks a family, each longer than the one before; variants are longest of all."""
    records, lengths = {}, {}
    for family, count in families.items():
        for number in range(count + variants):
            name = f"{family}-{number:02}"
            lengths[name] = 10.0 + number
            records[name] = TaskRecord(
                name=name,
                family=family,
                domain="discrete",
                modality="text" if family == "talk" else "discrete",
                metric="success",
                unit="rate",
                variant=number >= count,
                references={},
            )
    suite = SuiteRecord(
        name="all",
        tasks=tuple(records),
        context=64,
        batch_tokens=64,
        text_vocab=8,
        bins=4,
        discrete=4,
        encoders={},
        patch_share={},
        episodes=dict.fromkeys(records, 8),
        lengths=lengths,
    )
    return Catalog(tasks=records, suites={"all": suite}), suite


@pytest.mark.parametrize("variants", [0, 5])
def test_seats_go_round_the_largest_families_first(variants):
    sizes = {"a": 50, "b": 20, "talk": 9, "d": 2, "e": 1} | {f"f{i}": 4 for i in range(8)}
    chosen = generalist_tasks(*catalog(sizes, variants))
    assert len(chosen) == TASKS
    count = {family: sum(name.startswith(f"{family}-") for name in chosen) for family in sizes}
    assert count == {"a": 2, "b": 2, "talk": 2, "d": 1, "e": 1} | {f"f{i}": 2 for i in range(8)}
    assert chosen[:2] == ("talk-02", "talk-06")
    assert [name for name in chosen if name.startswith("a-")] == ["a-12", "a-37"]
    assert "d-00" in chosen


def test_a_small_catalog_sits_whole_or_at_its_three_quartiles():
    chosen = generalist_tasks(*catalog({"a": 9, "b": 3, "c": 1}))
    assert chosen == ("a-02", "a-04", "a-06", "b-00", "b-01", "b-02", "c-00")
