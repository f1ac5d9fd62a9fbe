"""Where data sets of Minari are: folders, and ids below Minari's own folder. Nothing here imports Minari."""

import json
import os
import re
from pathlib import Path

from space.errors import NotFoundError, nearest

ROOT = "MINARI_DATASETS_PATH"
DATA, METADATA = "data", "metadata.json"
MARKS = {"data_format", "total_episodes", "dataset_id"}  # keys of the metadata
ID = re.compile(r"([-\w]+/)*[-\w]+-v\d+")


def minari_root() -> Path:
    """Where Minari keeps its data sets: $MINARI_DATASETS_PATH, or a folder in the user's home."""
    return Path(os.environ.get(ROOT) or Path.home() / ".minari" / "datasets")


def locate(source: str, wanted: bool) -> Path:
    """The folder of a data set from its path or its id.

    Args:
        source: a path, or an id such as "pointmaze/umaze-v2".
        wanted: whether it has to be one of Minari's; if not, a path that does not exist is returned as it is.

    Raises:
        NotFoundError: there is neither such a folder nor such an id.
    """
    path = Path(source)
    if path.exists() or not (wanted or ID.fullmatch(source)):
        return path
    found = minari_root() / source
    if ID.fullmatch(source) and (found / DATA / METADATA).is_file():
        return found
    if not wanted:
        return path
    raise NotFoundError(
        f"control is a folder or an id of Minari, there is no '{source}' here or below"
        f" '{minari_root()}'{nearest(source, _ids())}; download one: minari download {source}"
    )


def data_of(source: Path) -> Path | None:
    """The folder with the metadata of Minari; None where there is none."""
    for folder in (source, source / DATA):
        try:
            if json.loads((folder / METADATA).read_bytes()).keys() >= MARKS:
                return folder
        except (OSError, ValueError, AttributeError):
            continue
    return None


def is_minari(source: Path) -> bool:
    """Whether a folder is a data set of Minari."""
    return source.is_dir() and data_of(source) is not None


def _ids() -> list[str]:
    """Ids of the data sets that are there."""
    found = minari_root().glob(f"**/{DATA}/{METADATA}")
    return [path.parent.parent.relative_to(minari_root()).as_posix() for path in found]
