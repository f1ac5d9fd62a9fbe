"""Demonstrations of control on disk: arrays that are mapped into memory, and a record of their environment.

`about` (bytes,) is the record as JSON. Each step is a row of `numbers` and of `pixels` (what was observed
before it, as `spaces` reads it) and of `actions`, one after another without a gap. Of each episode there are
its end among the steps (`ends`), its sum of rewards (`returns`), and where its text ends in `missions`, UTF-8
(`mission_ends`).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from space.records import Frozen
from trainers.tasks.datasets.content import MAPPED, Content
from trainers.tasks.datasets.spaces import Actions, Leaf, Rows
from trainers.tasks.mapped import open_columns

RULE = "the demonstrations are the train split; select and report are played in the environment"


class About(Frozen):
    """What a data set of control says besides its arrays.

    Attributes:
        source: the id that its source gives it.
        environment: specification of the environment that scores, as JSON.
        same_environment: whether the demonstrations were made in it too.
        observations: parts of an observation.
        actions: what an action is.
        limit: steps of an episode.
        alike: whether some episodes of the environment start as others do.
        ref_min_score: the source's own reference of a poor policy.
        ref_max_score: the source's own reference of a good policy.
    """

    source: str
    environment: str
    same_environment: bool
    observations: tuple[Leaf, ...]
    actions: Actions
    limit: int
    alike: bool
    ref_min_score: float | None = None
    ref_max_score: float | None = None


class Writer:
    """Writes the arrays of demonstrations, in memory that does not grow with their number.

    Args:
        folder: an empty folder for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = ExitStack()
        self.episodes = self.steps = self.longest = 0
        self._text = 0
        self.least: np.ndarray = np.array(np.inf)
        self.most: np.ndarray = np.array(-np.inf)

    def __enter__(self) -> Self:
        """Open the files."""
        self._open = {
            name: self._files.enter_context((self._folder / f"{name}.bin").open("wb"))
            for name in MAPPED["control"]
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self._files.close()

    def add(self, seen: Rows, actions: np.ndarray, total: float) -> None:
        """Add an episode.

        Args:
            seen: what was observed before each step.
            actions: (steps, size).
            total: sum of its rewards.
        """
        mission = seen.text.encode()
        self.episodes += 1
        self.steps += len(actions)
        self._text += len(mission)
        self.longest = max(self.longest, len(actions))
        self.least = np.minimum(self.least, actions.min(axis=0))
        self.most = np.maximum(self.most, actions.max(axis=0))
        for name, values in {
            "numbers": seen.numbers,
            "pixels": seen.pixels,
            "actions": actions,
            "ends": [self.steps],
            "returns": [total],
            "missions": np.frombuffer(mission, np.uint8),
            "mission_ends": [self._text],
            "splits": [0],
        }.items():
            self._open[name].write(np.asarray(values, dtype=MAPPED["control"][name].kind).tobytes())

    def finish(self, about: About) -> None:
        """Write the record."""
        self._open["about"].write(about.model_dump_json().encode())

    def content(self) -> Content:
        """What was written, once the files are closed."""
        return Content("control", open_columns(self._folder, MAPPED["control"]), (), RULE, 0)


def start_of(seen: Rows) -> bytes:
    """What tells the start of an episode from others, a digest of its first observation."""
    return sha256(seen.numbers[:1].tobytes() + seen.pixels[:1].tobytes() + seen.text.encode()).digest()


def starts_alike(starts: Sequence[bytes]) -> bool:
    """Whether some episodes start as others do."""
    return len(set(starts)) < len(starts)
