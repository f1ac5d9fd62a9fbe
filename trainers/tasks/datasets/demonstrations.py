"""Demonstrations of control that were added, read from the disk episode by episode."""

import json
from functools import cached_property, lru_cache

import numpy as np
from pydantic import ValidationError

from space.errors import TaskError
from trainers.tasks.datasets.content import Arrays
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.recorded import About
from trainers.tasks.datasets.spaces import Rows


class Demonstrations:
    """The demonstrations of a data set.

    Args:
        dataset: of control.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.name = dataset.manifest.name
        self.arrays: Arrays = dataset.arrays
        self.about = read_about(dataset)

    def __len__(self) -> int:
        return len(self.arrays["ends"])

    @cached_property
    def numbers(self) -> np.ndarray:
        """What was observed before each step as numbers, (steps, numbers)."""
        return self.arrays["numbers"].reshape(self.steps, -1)

    @cached_property
    def pixels(self) -> np.ndarray:
        """What was observed before each step as pixels and cells, (steps, bytes)."""
        return self.arrays["pixels"].reshape(self.steps, -1)

    @cached_property
    def actions(self) -> np.ndarray:
        """What was done, (steps, size)."""
        return self.arrays["actions"].reshape(self.steps, -1)

    @property
    def steps(self) -> int:
        """Steps of all episodes."""
        return int(self.arrays["ends"][-1])

    def span(self, index: int) -> slice:
        """The steps of an episode."""
        ends = self.arrays["ends"]
        return slice(int(ends[index - 1]) if index else 0, int(ends[index]))

    def seen(self, index: int, first: bool = False) -> Rows:
        """What was observed in an episode; with `first`, only before its first step."""
        span = self.span(index)
        span = slice(span.start, span.start + 1) if first else span
        return Rows(np.asarray(self.numbers[span]), np.asarray(self.pixels[span]), self.mission(index))

    def mission(self, index: int) -> str:
        """The text of an episode."""
        ends = self.arrays["mission_ends"]
        start = int(ends[index - 1]) if index else 0
        return self.arrays["missions"][start : int(ends[index])].tobytes().decode()

    def longest_mission(self) -> str:
        """The longest text of an episode."""
        return self.mission(int(np.diff(self.arrays["mission_ends"], prepend=0).argmax()))


@lru_cache(maxsize=8)
def demonstrations_of(dataset: Dataset) -> Demonstrations:
    """The demonstrations of a data set."""
    return Demonstrations(dataset)


def read_about(dataset: Dataset) -> About:
    """The record of a data set of control, without its other arrays.

    Raises:
        TaskError: it is damaged.
    """
    try:
        return About.model_validate(json.loads((dataset.folder / "about.bin").read_bytes()))
    except (FileNotFoundError, ValueError, ValidationError):
        name, folder = dataset.manifest.name, dataset.folder
        raise TaskError(f"data set '{name}' is damaged in '{folder}'; add it again with --replace") from None
