"""A small suite whose references are written by hand, so that scores can be checked by hand."""

import pytest

from space.records import Reference, References, SuiteRecord, TaskRecord


def reference(mean: float, stderr: float = 0.01) -> Reference:
    return Reference(mean=mean, stderr=stderr, n=200, seed=0, policy="test", versions={})


def record(
    name: str, domain: str, floor: float, expert: float, stderr: float = 0.01, **other: bool
) -> TaskRecord:
    pair = References(floor=reference(floor, stderr), expert=reference(expert, stderr))
    return TaskRecord(
        name=name,
        family=domain,
        domain=domain,
        modality="discrete",
        metric="success",
        unit="share",
        references={"select": pair, "report": pair},
        **other,
    )


@pytest.fixture
def suite() -> SuiteRecord:
    records = [
        record("walk", "control", 0.0, 1.0),
        record("run", "control", 10.0, 110.0, memorisable=True),
        record("read", "text", 5.0, 2.0, lower_is_better=True),
    ]
    return SuiteRecord(
        name="small",
        tasks=tuple(r.name for r in records),
        context=32,
        batch_tokens=256,
        text_vocab=64,
        bins=16,
        discrete=8,
        encoders={"image": 48},
        patch_share={"walk": {"image": 0.5}},
        episodes=dict.fromkeys(("walk", "run", "read"), 4),
        records={r.name: r for r in records},
    )
