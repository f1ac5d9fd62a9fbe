"""A study of two dozen trials, of which two run and one failed."""

import sys

import pytest
from factories import make_study


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """Streamlit's tests put the app in the place of `__main__`, where processes of later tests begin."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def storage(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('dashboard') / 'pathfront.db'}"
    make_study(url, trials=60, running=2, failed=1, finished=False)
    return url


@pytest.fixture
def study(storage):
    from dashboard import load

    return load.open_study(storage, "quick")
