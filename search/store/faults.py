"""Classify failed attempts: whether to retry, and whether the candidate, trainer or machine is at fault."""

import re
from dataclasses import dataclass
from typing import Literal

from space.errors import CheckpointError, Diverged, MachineError, PathfrontError, StorageError, one_line

Kind = Literal["crash", "memory", "permanent", "diverged", "machine"]

LENGTH = 500  # characters of a reason
VARYING = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{12}\b|\d+")  # in errors: addresses, candidates, numbers
OUT_OF_MEMORY = "out of memory"
MEMORY_ERRORS = (OUT_OF_MEMORY, "can't allocate memory")
DEVICE_ERRORS = ("CUDA error", "CUDNN_STATUS", "NCCL error", "no kernel image", "CUDA driver")


@dataclass(frozen=True)
class Failure:
    """A failed attempt.

    Attributes:
        kind: "crash" is retried a few times; "memory" is retried once, while no other trial of the study
            runs; "permanent" is not retried; "diverged" is permanent and counts as a result of the candidate;
            "machine" is the machine's fault and does not count against the candidate.
        reason: one line.
        device_lost: whether this process can no longer use its device.
    """

    kind: Kind
    reason: str
    device_lost: bool = False

    @property
    def lasting(self) -> bool:
        """Whether another attempt would end the same way."""
        return self.kind in ("permanent", "diverged")

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Classify an error that a trainer raised."""
        kind = _kind(error)
        named = "" if isinstance(error, PathfrontError) else f"{type(error).__name__}: "
        named = f"{OUT_OF_MEMORY}: " if kind == "memory" else named
        reason = (named + one_line(str(error)))[:LENGTH].removesuffix(": ")
        return cls(kind, reason, _is_of_device(error))


def same_cause(reason: str) -> str:
    """A reason without its addresses, candidate ids and numbers, to compare errors of the same cause."""
    return VARYING.sub("#", reason)


def _kind(error: BaseException) -> Kind:
    if _is_of_device(error) or isinstance(error, MachineError | StorageError | OSError | ImportError):
        return "machine"
    if _is_of_memory(error):
        return "memory"
    if isinstance(error, CheckpointError):
        return "crash"
    if isinstance(error, ArithmeticError | Diverged):
        return "diverged"
    return "permanent" if isinstance(error, PathfrontError) else "crash"


def _is_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine has too little memory; both can be used further."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in MEMORY_ERRORS)
    )


def _is_of_device(error: BaseException) -> bool:
    """Whether the CUDA context of this process is broken. Running out of memory does not break it."""
    if type(error).__name__ == "AcceleratorError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in DEVICE_ERRORS)
