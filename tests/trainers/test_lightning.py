"""Processes that train import neither metrics nor torch's compiler; both are whole for whoever needs them."""

import subprocess
import sys

import pytest
import torch
from torch._dynamo.exc import Unsupported

from trainers import lightning
from trainers.postponed import Postponed

CODE = """
import sys
{before}
import search.worker
import trainers.exports.full, trainers.exports.prune, trainers.launched, trainers.loggers, trainers.train
import torch
weight = torch.nn.Parameter(torch.ones(2))
adamw = torch.optim.AdamW([weight])
for optimizer in (adamw, trainers.optimizer.Muon([{{"params": [weight]}}])):
    weight.grad = torch.ones(2)
    optimizer.step()
    optimizer.zero_grad()
heavy = {{"pandas", "scipy", "sklearn", "sympy", "transformers"}}
heavy |= {{"torchmetrics.classification", "torch._dynamo.eval_frame"}}
print(*sorted(heavy & set(sys.modules)))
import torchmetrics
from lightning.pytorch.core.module import Metric, MetricCollection
assert torchmetrics.Metric is Metric and torchmetrics.MetricCollection is MetricCollection
assert int(torchmetrics.__version__[0]) >= 1
"""
WHOLE = """
compiled = torch.compile(torch.nn.Linear(2, 2), backend="eager")
compiled(weight).sum().backward()
assert isinstance(compiled, trainers.lightning.OptimizedModule)
adamw.zero_grad()
assert weight.grad is None
assert issubclass(torchmetrics.MeanMetric, Metric)
from torchmetrics.classification import BinaryAccuracy
assert issubclass(BinaryAccuracy, Metric)
assert not hasattr(torchmetrics, "NoSuchMetric")
"""


def loaded(before: str = "", after: str = "") -> list[str]:
    code = CODE.format(before=before) + after
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_a_training_imports_no_metrics_and_no_compiler():
    assert loaded() == []


@pytest.mark.slow  # with torchmetrics itself
def test_metrics_are_there_after_a_training():
    assert loaded(after=WHOLE) == []


@pytest.mark.slow  # Lightning itself imports them then
@pytest.mark.parametrize("before", ["import torchmetrics", "import lightning"])
def test_torchmetrics_that_was_imported_before_is_kept(before):
    assert "torchmetrics.classification" in loaded(before, WHOLE)


def test_another_layout_is_left_to_lightning(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchmetrics.utilities", None)
    lightning._postpone_metrics()
    assert not [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]


def test_compiled_modules_are_told_from_others_before_and_after_the_compiler_runs(monkeypatch):
    compiled, other = torch.compile(torch.nn.Linear(2, 2), backend="eager"), torch.nn.Linear(2, 2)
    assert isinstance(compiled, lightning.OptimizedModule)
    assert not isinstance(other, lightning.OptimizedModule)
    monkeypatch.setitem(sys.modules, "torch._dynamo", Postponed("torch._dynamo"))
    assert not isinstance(other, lightning.OptimizedModule)


@pytest.mark.parametrize("given", [{}, {"reason": "it counts"}])
def test_what_is_disabled_before_the_compiler_runs_is_not_compiled_after(monkeypatch, given):
    waiting, seen = [], []
    monkeypatch.setattr(lightning, "_disabled", waiting)

    @lightning.disable(**given)
    def count(x):
        """Counts."""
        seen.append(torch.compiler.is_compiling())
        return x + 1

    assert (int(count(torch.tensor(1))), count.__doc__) == (2, "Counts.")
    for replace in waiting:
        replace()
    compiled = torch.compile(lambda x: count(2 * x), backend="eager")
    assert [int(compiled(torch.tensor(n))) for n in (1, 2)] == [3, 5]
    assert seen == [False, False, False]
    with pytest.raises(Unsupported, match=r"torch\.compiler\.disable"):
        torch.compile(lambda x: count(2 * x), backend="eager", fullgraph=True)(torch.tensor(1))
