"""What is used of Lightning, imported in a fraction of the time; every other module imports it from here.

Lightning imports two packages for a few of their names. torchmetrics has all of its metrics, and for them
scipy.signal and transformers; torch._dynamo is the front of torch's compiler. Each takes about as long as
torch itself, in every process that trains. Here they run only if somebody needs more of them.
"""

import logging
import sys
from collections.abc import Callable
from functools import partial, wraps
from importlib import import_module
from typing import Any

from trainers.postponed import Postponed, found, postpone

_disabled: list[Callable[[], None]] = []  # what makes one of them the compiler's own


class _Compiled(type):
    def __instancecheck__(cls, instance: object) -> bool:
        compiler = sys.modules["torch._dynamo"]
        return not isinstance(compiler, Postponed) and isinstance(instance, compiler.OptimizedModule)


class OptimizedModule(metaclass=_Compiled):
    """The class of compiled modules, of which there is none before the compiler has run."""


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, **how: Any) -> Callable[..., Any]:
    """A function that is not compiled: what `torch._dynamo.disable` makes of it once that has run."""
    if fn is None:
        return partial(disable, recursive=recursive, **how)
    now = [fn]

    def replace() -> None:
        now[0] = sys.modules["torch._dynamo"].disable(fn, recursive, **how)

    @wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return now[0](*args, **kwargs)

    _disabled.append(replace)
    return call


def _postpone_compiler() -> None:
    """Let torch's compiler run when something is compiled; three of its names are used before."""
    if (compiler := found("torch._dynamo")) is not None:
        given = {"OptimizedModule": OptimizedModule, "disable": disable, "graph_break": lambda: None}
        postpone(compiler, given, lambda: [replace() for replace in _disabled])


def _postpone_metrics() -> None:
    """Import torchmetrics's base classes alone; if its layout is another one, leave all to Lightning."""
    if (package := found("torchmetrics")) is None:
        return
    vars(package).update(_logger=logging.getLogger("torchmetrics"))
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
        postpone(
            package, {"Metric": Metric, "MetricCollection": MetricCollection, "__version__": __version__}
        )


_postpone_compiler()
_postpone_metrics()

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
