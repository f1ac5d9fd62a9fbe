"""The toy suite, and the trainer made to play it."""

import pytest
import torch
from toys import ToyTask, toy_suite

import trainers.data
import trainers.evaluate
from space.candidate import Architecture, CandidateConfig
from space.mixture import TaskMixture


@pytest.fixture(autouse=True)
def one_thread():
    """Tests run side by side; a tiny model gains nothing from threads."""
    torch.set_num_threads(1)


@pytest.fixture
def suite():
    return toy_suite()


@pytest.fixture
def toys(monkeypatch):
    """The toy tasks in place of the shipped ones."""
    for module in (trainers.data, trainers.evaluate):
        monkeypatch.setattr(module, "load_task", ToyTask)


@pytest.fixture
def sparse_arch():
    return Architecture(depth=2, width=32, experts=4, top_k=2, expert_ratio=1, head_dim=8, kv_groups=2)


@pytest.fixture
def candidate(suite, sparse_arch):
    return CandidateConfig(
        architecture=sparse_arch, mixture=TaskMixture.uniform(suite.tasks), learning_rate=3e-3
    )
