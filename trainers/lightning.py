"""What is used of Lightning, imported in half the time; every other module imports it from here.

Lightning needs two base classes of torchmetrics, whose package imports all of its metrics with it, and for
them scipy.signal and transformers: as long as torch itself takes, in every process that trains.
"""

import logging
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


class _Metrics(ModuleType):
    """torchmetrics without its metrics, until one of their names is read."""

    def __getattr__(self, name: str) -> Any:
        if (name.startswith("__") and name != "__all__") or "_rest" not in vars(self):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        vars(self).pop("_rest").exec_module(self)
        return getattr(self, name)


def _import_base_classes() -> None:
    """Import torchmetrics's base classes alone; if its layout is another one, leave all to Lightning."""
    spec = find_spec("torchmetrics")
    if spec is None or "torchmetrics" in sys.modules:
        return
    package = module_from_spec(spec)
    package.__class__ = _Metrics
    vars(package).update(_rest=spec.loader, _logger=logging.getLogger("torchmetrics"))
    sys.modules["torchmetrics"] = package
    try:
        import_module("torchmetrics.utilities")  # before the classes, which it imports in a circle
        from torchmetrics.__about__ import __version__
        from torchmetrics.collections import MetricCollection
        from torchmetrics.metric import Metric
    except ImportError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
            del sys.modules[name]
    else:
        vars(package).update(Metric=Metric, MetricCollection=MetricCollection, __version__=__version__)


_import_base_classes()

import lightning as L  # noqa: E402
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment  # noqa: E402
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment  # noqa: E402
from lightning.fabric.utilities import move_data_to_device  # noqa: E402
from lightning.pytorch.core.optimizer import LightningOptimizer  # noqa: E402
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger  # noqa: E402
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, ParallelStrategy  # noqa: E402
from lightning.pytorch.utilities.exceptions import SIGTERMException  # noqa: E402

__all__ = [
    "CSVLogger",
    "ClusterEnvironment",
    "DDPStrategy",
    "L",
    "LightningOptimizer",
    "Logger",
    "ModelParallelStrategy",
    "ParallelStrategy",
    "SIGTERMException",
    "SLURMEnvironment",
    "TensorBoardLogger",
    "move_data_to_device",
]
