import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHAPES = [
    {"depth": 4, "width": 512, "expert_ratio": 4, "head_dim": 64},
    {"depth": 4, "width": 256, "experts": 16, "top_k": 2, "expert_ratio": 1, "head_dim": 32},
    {
        "depth": 12,
        "width": 192,
        "experts": 4,
        "top_k": 2,
        "shared_experts": 1,
        "dense_layers": 2,
        "kv_groups": 3,
    },
    {
        "depth": 2,
        "width": 192,
        "experts": 64,
        "top_k": 8,
        "expert_ratio": 1,
        "qk_norm": False,
        "router": "sigmoid",
    },
]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from Linux's /proc")
def test_memory_to_train_is_what_was_counted():
    allocator = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "262144"}
    paths = os.pathsep.join(str(path) for path in (HERE.parents[1], HERE.parent, HERE))
    told = subprocess.run(
        [sys.executable, HERE / "peak_memory.py", json.dumps(SHAPES)],
        env=os.environ | allocator | {"PYTHONPATH": paths},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for shape, line in zip(SHAPES, told.splitlines(), strict=True):
        counted, measured = json.loads(line)
        assert measured > 200e6, shape
        assert counted == pytest.approx(measured, rel=0.1), shape
