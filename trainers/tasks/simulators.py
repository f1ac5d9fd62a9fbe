"""The packages that simulate the tasks of a family, and how to install a missing one."""

from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

DISTRIBUTION = "pathfront"
SIMULATORS = {  # family -> module to import -> distribution that has it
    "babyai": {"minigrid": "minigrid"},
    "box2d": {"Box2D": "box2d"},
    "dm-control": {"mujoco": "mujoco", "dm_control": "dm-control"},
    "metaworld": {"mujoco": "mujoco", "metaworld": "metaworld"},
    "minigrid": {"minigrid": "minigrid"},
    "mujoco": {"mujoco": "mujoco"},
}


def missing_simulator(family: str) -> str | None:
    """The missing package of a family, with the command that installs it; None if none is missing."""
    for module, distribution in SIMULATORS.get(family, {}).items():
        if find_spec(module) is None:
            return (
                f"'{distribution}', and this Python has no module '{module}':"
                f" pip install '{_requirement(distribution)}'"
            )
    return None


def _requirement(distribution: str) -> str:
    """The requirement of a distribution in Pathfront's own metadata."""
    try:
        stated = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # a checkout that was never installed
        stated = []
    wanted = [line.partition(";")[0].strip() for line in stated]
    fitting = [line for line in wanted if line.lower().startswith(distribution)]
    return fitting[0] if fitting else distribution
