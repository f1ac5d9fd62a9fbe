"""A folder of a user who adds data: where tests of data sets live."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from search.cli import main

ROOT = Path(__file__).resolve().parents[1]


def live_in(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Work in a folder that has its own data and cache."""
    for name in ("DATA", "CACHE"):
        patch.setenv(f"PATHFRONT_{name}", str(home / name.lower()))
    for name in ("PATHFRONT_TASKS", "PATHFRONT_STORAGE", "PATHFRONT_ARTIFACTS"):
        patch.delenv(name, raising=False)
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.chdir(home)


def add_all(home: Path, sources: Mapping[str, Path]) -> None:
    """Add data sets with the command, by name."""
    with pytest.MonkeyPatch.context() as patch:
        live_in(home, patch)
        for name, source in sources.items():
            with pytest.raises(SystemExit) as ended:
                main(["data", "add", name, str(source)])
            assert ended.value.code in (None, 0)
