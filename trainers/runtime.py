"""How Lightning and torch run: device, precision, signals, and no output to the terminal."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from space.errors import MachineError
from trainers.lightning import L

CHATTER = (
    "The 'train_dataloader' does not have many workers",  # batches are made faster than passed on
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning's combined loader on torch 2.13
    "FSDP2-wrapped module .* returned a view tensor",  # nothing changes them in place
)


def accelerator(device: str) -> str:
    """Lightning's name of a device that a budget names.

    Raises:
        MachineError: CUDA is asked for where there is none.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise MachineError("device: cuda needs a CUDA device, and torch sees none; use device: cpu or auto")
    return "gpu" if device in ("auto", "cuda") and there else "cpu"


def torch_device(device: str) -> str:
    """Name that torch has for a device that a budget names: "cuda" or "cpu".

    Raises:
        MachineError: CUDA is asked for where there is none.
    """
    return "cuda" if accelerator(device) == "gpu" else "cpu"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a model that was trained at one of Lightning's precisions is scored and timed."""
    return torch.autocast(device.type, torch.bfloat16, enabled="bf16" in precision)


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


class KeepSigterm(L.Callback):
    """Restores the process's own handler of SIGTERM, which Lightning replaces during training.

    Lightning's ends the training after the current step, with exit code 0 and without a checkpoint.
    """

    def __init__(self) -> None:
        self._handler: Any = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the handler."""
        if threading.current_thread() is threading.main_thread() and self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
