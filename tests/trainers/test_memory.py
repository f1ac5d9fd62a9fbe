import json
import os
import socket
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


LAYOUTS = [
    {},
    {"checkpoint_activations": True},
    {"devices": 2},
    {"devices": 2, "sharded": True},
    {"devices": 2, "sharded": True, "checkpoint_activations": True},
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from Linux's /proc")
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: " ".join(layout) or "one device")
def test_memory_to_train_is_what_was_counted(layout):
    allocator = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "262144", "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join(str(path) for path in (HERE.parents[1], HERE.parent, HERE))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, HERE / "peak_memory.py", json.dumps(SHAPES)),
                *(json.dumps(layout), str(rank), str(port)),
            ],
            env=os.environ | allocator | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(layout.get("devices", 1))
    ]
    told = processes[0].communicate(timeout=500)[0]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    for shape, line in zip(SHAPES, told.splitlines(), strict=True):
        counted, measured = json.loads(line)
        print(shape, counted, measured, counted / measured)
        assert measured > 150e6, shape
        assert counted == pytest.approx(measured, rel=0.1), shape
