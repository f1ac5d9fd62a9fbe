"""The quick suite over a cache of its own, shared by the tests that run side by side."""

import os

import pytest

from space.catalog import load_catalog
from trainers.tasks.cache import ENVIRONMENT
from trainers.tasks.tokenizer import suite_tokenizer
from trainers.tokens.vocabulary import Vocabulary


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A folder for generated data that no person uses."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "pathfront-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT, str(folder))
        yield folder


@pytest.fixture(scope="session")
def quick():
    return load_catalog().suite("quick")


@pytest.fixture(scope="session")
def tokenizer(cache, quick):
    return suite_tokenizer(quick)


@pytest.fixture(scope="session")
def vocabulary(quick):
    return Vocabulary.of(quick)
