"""Pathfront's sampler in plain Optuna studies: Optuna's own contract of samplers, and what it adds to it."""

import optuna
import pytest
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from search.choose.pathfront_sampler import PathfrontSampler


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class TestContract(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's contract, with the models from the second trial on."""

    @pytest.fixture
    def sampler(self):
        return lambda: PathfrontSampler(seed=0, n_startup_trials=1)


class TestContractOfTheStart(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's contract, with the default arguments."""

    @pytest.fixture
    def sampler(self):
        return PathfrontSampler
