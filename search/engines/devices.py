"""What this machine has to train on, found without importing torch."""

import math
import os
import shutil
import subprocess
from pathlib import Path

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cpu_count() -> int:
    """Cores that this process may use: those of its affinity, within the quota of its container."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    if _CGROUP_QUOTA.is_file():
        quota, period = _CGROUP_QUOTA.read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def gpus() -> list[str]:
    """Names by which CUDA_VISIBLE_DEVICES knows this machine's GPUs; those it already names, if it is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
        return found.stdout.split() if found.returncode == 0 else []
    return [str(index) for index in range(len(list(_NVIDIA.iterdir())))] if _NVIDIA.is_dir() else []
