"""Check what an environment elsewhere observes, before it becomes tokens."""

from typing import Any

import numpy as np

from space.errors import StudyFileError


def floats(task: str, observation: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An observation as an array of numbers.

    Args:
        task: name of the task.
        observation: numbers of that shape.
        shape: what the task's environment gives.

    Raises:
        StudyFileError: it has another shape, or values that are no numbers.
    """
    array = _array(observation)
    if array.shape != shape or array.dtype.kind not in "buif" or np.isnan(array).any():
        raise StudyFileError(
            f"task '{task}' observes numbers of shape {shape}, got {_shown(observation, array)}"
        )
    return array


def whole_numbers(task: str, observation: Any, shape: tuple[int, ...], most: int) -> np.ndarray:
    """An observation as an array of discrete values.

    Args:
        task: name of the task.
        observation: whole numbers of that shape.
        shape: what the task's environment gives.
        most: largest value plus one.

    Raises:
        StudyFileError: it has another shape, or values that are no such numbers.
    """
    array = _array(observation)
    fits = array.shape == shape and array.dtype.kind in "bui"
    if not fits or (array < 0).any() or (array >= most).any():
        raise StudyFileError(
            f"task '{task}' observes whole numbers from 0 to {most - 1} of shape {shape},"
            f" got {_shown(observation, array)}"
        )
    return array


def _array(observation: Any) -> np.ndarray:
    try:
        return np.asarray(observation)
    except ValueError:  # rows of different lengths
        return np.array(observation, dtype=object)


def _shown(observation: Any, array: np.ndarray) -> str:
    if array.dtype.kind not in "buif":
        return f"{type(observation).__name__}"
    return f"{array.dtype} of shape {array.shape}" + (
        f", {array.min()} to {array.max()}" if array.size else ""
    )
