"""What every test shares: no environment of the person who runs them."""

import pytest

pytest.register_assert_rewrite("engine_contract")  # its assertions show what differed


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("PATHFRONT_STORAGE", "PATHFRONT_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
