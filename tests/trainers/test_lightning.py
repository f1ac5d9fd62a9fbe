"""Lightning is imported without torchmetrics's metrics, and torchmetrics is whole for whoever needs them."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from trainers import lightning

CODE = """
import sys
{before}
import trainers.exports.full, trainers.exports.prune, trainers.launched, trainers.loggers, trainers.train
print(*sorted({{"scipy.signal", "transformers", "torchmetrics.classification"}} & set(sys.modules)))
import torchmetrics
from lightning.pytorch.core.module import Metric, MetricCollection
assert torchmetrics.Metric is Metric and torchmetrics.MetricCollection is MetricCollection
assert int(torchmetrics.__version__[0]) >= 1
"""
WHOLE = """
assert issubclass(torchmetrics.MeanMetric, Metric)
from torchmetrics.classification import BinaryAccuracy
assert issubclass(BinaryAccuracy, Metric)
assert not hasattr(torchmetrics, "NoSuchMetric")
"""


def loaded(before: str = "", after: str = "") -> list[str]:
    code = CODE.format(before=before) + after
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_a_training_imports_no_metrics():
    assert loaded() == []


@pytest.mark.slow  # with torchmetrics itself
def test_metrics_are_there_after_a_training():
    assert loaded(after=WHOLE) == []


@pytest.mark.slow  # Lightning itself imports them then
@pytest.mark.parametrize("before", ["import torchmetrics", "import lightning"])
def test_torchmetrics_that_was_imported_before_is_kept(before):
    assert "torchmetrics.classification" in loaded(before, WHOLE)


def test_a_package_runs_once_one_of_its_other_names_is_read(tmp_path):
    (tmp_path / "toy.py").write_text("Mean = object()")
    spec = spec_from_file_location("toy", tmp_path / "toy.py")
    package = module_from_spec(spec)
    package.__class__ = lightning._Metrics
    vars(package).update(_rest=spec.loader, Base=1)
    assert package.Base == 1
    assert not hasattr(package, "__wrapped__")
    assert "Mean" not in vars(package)
    assert package.Mean is package.Mean
    with pytest.raises(AttributeError, match="module 'toy' has no attribute 'Median'"):
        _ = package.Median


def test_another_layout_is_left_to_lightning(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchmetrics.utilities", None)
    lightning._import_base_classes()
    assert not [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]
