"""How Lightning is run here: on which device, with which logger, and without a word on the terminal."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from space.errors import PathfrontError, StudyFileError, nearest
from space.plugins import load_object
from space.scores import Budget

LOGGERS = ("csv", "none", "tensorboard")
CHATTER = (
    "The 'train_dataloader' does not have many workers",  # batches are made faster than passed on
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning's combined loader on torch 2.13
)


def accelerator(device: str) -> str:
    """Lightning's name of a device that a budget names.

    Raises:
        PathfrontError: CUDA is asked for where there is none.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise PathfrontError("device: cuda needs a CUDA device, and torch sees none; use device: cpu or auto")
    return "gpu" if device in ("auto", "cuda") and there else "cpu"


def make_logger(budget: Budget) -> Logger | bool:
    """The Lightning logger that a budget names; False for none.

    Raises:
        StudyFileError: there is no such logger, it cannot be made, or it has no folder to write to.
    """
    if budget.logger == "none":
        return False
    if budget.log_dir is None:
        raise StudyFileError(f"logger: '{budget.logger}' writes to a folder, and the trial has none")
    try:
        if budget.logger == "csv":
            return CSVLogger(budget.log_dir, name="")
        if budget.logger == "tensorboard":
            return TensorBoardLogger(budget.log_dir, name="")
        return _logger_class(budget.logger)(save_dir=budget.log_dir)
    except (ImportError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise StudyFileError(f"logger: '{budget.logger}' cannot be made: {reason}") from None


def _logger_class(path: str) -> Callable[..., Logger]:
    """The class at `package.module.Class` or `package.module:Class`."""
    rule = f"logger: one of {', '.join(LOGGERS)}, or the path of a Lightning logger's class"
    module, _, name = path.replace(":", ".").rpartition(".")
    if not module:
        raise StudyFileError(f"{rule}, got '{path}'{nearest(path, LOGGERS)}")
    found = load_object(f"{module}:{name}", rule, StudyFileError)
    if not (isinstance(found, type) and issubclass(found, Logger)):
        raise StudyFileError(f"{rule}, got '{path}'")
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's tips and known warnings off the terminal; others pass."""
    chatty = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in chatty]
    for logger in chatty:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in CHATTER:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)
