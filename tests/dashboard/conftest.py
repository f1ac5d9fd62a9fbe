"""A study of two dozen trials, of which two run and one failed."""

import sys
from pathlib import Path

import pytest
from factories import make_study
from streamlit.testing.v1 import AppTest

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """Streamlit's tests put the app in the place of `__main__`, where processes of later tests begin."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    url = f"sqlite:///{folder / 'pathfront.db'}"
    make_study(url, trials=60, running=2, failed=1, finished=False, artifacts=folder / "artifacts")
    return url


@pytest.fixture
def study(storage):
    from dashboard import load

    return load.open_study(storage, "quick")


@pytest.fixture
def visit(monkeypatch):
    """Open a page of the app with parameters in its address."""

    def open_page(storage, page, **address):
        monkeypatch.setenv("PATHFRONT_STORAGE", storage)
        app = AppTest.from_file(str(APP), default_timeout=30).run()
        if page != "studies":
            hashes = {info["url_pathname"]: key for key, info in app._registered_pages.items()}
            app._page_hash = hashes[page]
        for name, value in address.items():
            app.query_params[name] = value
        return app.run()

    return open_page
