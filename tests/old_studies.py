"""Study `old` as earlier versions of our tables hold it: two candidates done at rung 0, one paused."""

import tarfile
from pathlib import Path

DATA = Path(__file__).parent / "data"
VERSIONS = (1, 2)
SCORED = "955aa505b416"  # the better of the two done candidates, trial 1
PAUSED = "2d6701da127d"
ARTIFACTS = {1: "pathfront-artifacts/old", 2: "pathfront-artifacts/old-0cfe913551b0"}


def unpack(version: int, folder: Path) -> str:
    """Unpack the study's folder: pathfront.db, pathfront-artifacts/, old.yaml.

    Returns:
        URL of the database.
    """
    with tarfile.open(DATA / f"version-{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return f"sqlite:///{folder / 'pathfront.db'}"
