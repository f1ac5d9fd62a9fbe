"""What this machine has to train on, found without importing torch."""

import os
import shutil
import subprocess
from pathlib import Path

from space.machine import cpu_count

__all__ = ["cpu_count", "gpus"]

_NVIDIA = Path("/proc/driver/nvidia/gpus")


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
