"""What every test shares: no environment of the person who runs them."""

import pytest


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("PATHFRONT_STORAGE", "PATHFRONT_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
